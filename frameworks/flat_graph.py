"""Freezes a graph that contains no functions, with few copies.

TensorFlow's `convert_variables_to_constants_v2` handles every graph, but copies it several times: functions are
wrapped, pruned and lifted. Where the graph itself only reads each variable, replacing each read by a constant is
enough.
"""

from __future__ import annotations

from typing import Any

from .tensorflow import load


def flat_graph(function: Any) -> Any:
    """Return the graph of the concrete `function` as a frozen ``GraphDef`` under the same names.

    None if the graph contains functions, or uses variables in other ways than reading them.
    """
    tf, _ = load()
    held = {id(variable.handle): variable for variable in function.graph.variables}
    variables: dict[str, Any] = {inner.op.name: held.get(id(outer)) for outer, inner in function.graph.captures}
    graph = function.graph.as_graph_def()
    if len(graph.library.function) or any(variable is None for variable in variables.values()):
        return None
    frozen = tf.compat.v1.GraphDef()
    frozen.versions.CopyFrom(graph.versions)
    for node in graph.node:
        if node.name in variables:
            continue
        read = [name.split(":")[0].removeprefix("^") for name in node.input]
        variable_inputs = [name for name in read if name in variables]
        if not variable_inputs:
            frozen.node.add().CopyFrom(node)
        elif node.op == "ReadVariableOp" and len(read) == 1:
            value = variables[variable_inputs[0]].numpy()
            constant = frozen.node.add(name=node.name, op="Const")
            constant.attr["dtype"].type = node.attr["dtype"].type
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        else:
            return None
    return frozen

"""A function's graph with its variables' values written into it: for graphs that hold no functions of their own.

TensorFlow's `convert_variables_to_constants_v2` serves every graph, and copies all of it several times over to do so:
functions are wrapped, pruned and lifted. Where each variable is only read, in the graph itself, it takes no more than
to write a constant in the place of each reading.
"""

from __future__ import annotations

from typing import Any

from .tensorflow import load


def flat_graph(function: Any) -> Any:
    """Return the graph of the concrete `function` as a frozen ``GraphDef`` under the same names.

    None where more is needed: functions in the graph, or variables that are used otherwise than read.
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

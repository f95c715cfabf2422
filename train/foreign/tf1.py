"""SavedModels of TensorFlow 1 whose variables are references: TensorFlow 2 cannot make them constants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..frameworks import load
from ..hub.saved_model import MetaGraph

_REFERENCES = frozenset({"Variable", "VariableV2"})


def has_references(graph: MetaGraph) -> bool:
    """Whether variables of the graph are references, as TensorFlow 1 made them unless it was told otherwise."""
    return any(node.op in _REFERENCES for node in graph.nodes)


def constant_call(path: Path, graph: MetaGraph, signature: str, inputs: list[str], outputs: list[str]) -> Any:
    """Return a signature of `graph` of the SavedModel at `path` as a function of lists of tensors, without variables.

    `inputs` and `outputs` are the signature's own names, in the order of the lists. Restores the variables in a session
    of TensorFlow 1 and writes their values into the graph. Raises whatever TensorFlow raises.
    """
    tf, _ = load()
    v1 = tf.compat.v1
    told = graph.signatures[signature]
    wanted = [told.outputs[name].node for name in outputs]
    with v1.Graph().as_default() as loaded, v1.Session() as session:
        v1.saved_model.loader.load(session, sorted(graph.tags), str(path))
        definition = v1.graph_util.convert_variables_to_constants(
            session, loaded.as_graph_def(), [name.split(":")[0] for name in wanted]
        )

    def call(values: list[Any]) -> list[Any]:
        given = {told.inputs[name].node: value for name, value in zip(inputs, values, strict=True)}
        return list(tf.graph_util.import_graph_def(definition, input_map=given, return_elements=wanted, name=""))

    return call

"""ONNX: one frozen SavedModel in, the file's bytes out, with the SavedModel's own input and output names."""

from __future__ import annotations

import logging
import re
from typing import Any

from ..core.model import Model
from ..core.recipe import Export


def convert(model: Model, options: Export) -> bytes:
    """Return the ``.onnx`` file of `model`: float32, batch 1, NHWC input as the input contract says.

    Raises whatever tf2onnx raises.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    (output_name,) = signature.structured_outputs
    spec = tf.TensorSpec(model.input.shape, tf.float32, name=model.input.name)

    @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
    def serve(image: Any) -> Any:
        return signature(**{model.input.name: image})[output_name]

    proto, _ = tf2onnx.convert.from_function(serve, input_signature=[spec], opset=options.onnx_opset)
    _rename_output(proto, output_name)
    _name_by_place(proto)
    # The oldest format version that holds these operators: older engines then read the file too.
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    proto.producer_name = "edgeproof"
    proto.graph.doc_string = ""
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def _rename_output(proto: Any, name: str) -> None:
    """Give the graph's only output the signature's name (tf2onnx names it after a node)."""
    (output,) = proto.graph.output
    old, output.name = output.name, name
    for node in proto.graph.node:
        node.output[:] = [name if tensor == old else tensor for tensor in node.output]
        node.input[:] = [name if tensor == old else tensor for tensor in node.input]


def _name_by_place(proto: Any) -> None:
    """Name nodes, tensors and weights after where they stand in the graph, and order the weights so.

    tf2onnx numbers what it inserts as it goes and keeps any one name of weights that it merges: without this, one
    model gives a different file each time.
    """
    if any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        return  # a nested graph may use any of them by name
    weights = {weight.name: weight for weight in proto.graph.initializer}
    fixed = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    names: dict[str, str] = {name: name for name in fixed}
    used: set[str] = set(fixed)
    for node in proto.graph.node:
        node.name = _unused(re.sub(r"__\d+", "", node.name.replace("PartitionedCall/", "")) or node.op_type, used)
        for position, tensor in enumerate(node.input):
            if tensor in weights:
                names.setdefault(tensor, f"{node.name}/weight_{position}")
        for position, tensor in enumerate(node.output):
            if tensor:  # an output that nobody asked for has no name
                names.setdefault(tensor, f"{node.name}:{position}")
    for node in proto.graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
    for value in proto.graph.value_info:
        value.name = names.get(value.name, value.name)
    for weight in weights.values():
        weight.name = names.get(weight.name, weight.name)
    by_name = {weight.name: weight.SerializeToString() for weight in weights.values()}
    kind = type(next(iter(weights.values()))) if weights else None
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(
        kind.FromString(by_name[name]) for name in names.values() if kind and name in by_name
    )


def _unused(name: str, used: set[str]) -> str:
    """Return `name`, numbered if it is taken, and take it."""
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    used.add(candidate)
    return candidate

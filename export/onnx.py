"""ONNX: one frozen SavedModel in, the file's bytes out, with the SavedModel's own input and output names."""

from __future__ import annotations

import logging
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
    _name_weights(proto)
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


def _name_weights(proto: Any) -> None:
    """Name each weight after the node that uses it first, and order them so.

    tf2onnx merges equal weights and keeps any one of their names: without this, one model gives a different file each
    time.
    """
    if any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        return  # a nested graph may use any of them by name
    weights = {weight.name: weight for weight in proto.graph.initializer}
    names: dict[str, str] = {}
    for node in proto.graph.node:
        for position, tensor in enumerate(node.input):
            if tensor in weights:
                names.setdefault(tensor, f"{node.name or node.output[0]}/weight_{position}")
    for node in proto.graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
    ordered = []
    for old, new in names.items():
        weights[old].name = new
        ordered.append(weights[old])
    kept = [type(weight).FromString(weight.SerializeToString()) for weight in ordered]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)

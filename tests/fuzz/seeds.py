"""Whole files that the fuzz suite starts from, of every kind that Edgeproof reads; made without a framework."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ..support.bundle_models import mean_colour_model
from ..support.wave_files import stored
from ..support.wave_files import wave as wave_file

RECIPE = """
name = "fuzz"
seed = 3
[data]
source = "folder:missing"
limit_train = 200
[[model]]
name = "net"
backbone = "keras:MobileNetV2"
weights = "none"
image_size = 32
[train]
epochs = 2
metrics = ["accuracy", "f1"]
fine_tune = { layers = 8, epochs = 2 }
[train.schedule]
kind = "cosine"
final = 0.1
[export]
variants = ["tflite:float32", "tflite:int8", "onnx:float32"]
[evaluate]
targets = ["local/litert", "local/onnxruntime"]
[budget]
max_accuracy_drop = 0.02
"""
LABELS = b"T-shirt\nTrouser\nPullover\n"
TABLE = "text,label\n" + "".join(f'"word {i} good, ""quoted""",class{i % 3}\n' for i in range(30))
LINES = "".join(json.dumps({"text": f"word {i}", "label": f"class{i % 3}"}) + "\n" for i in range(30))
KERAS_CONFIG: dict[str, Any] = {
    "module": "keras", "class_name": "Sequential", "registered_name": None,
    "config": {"name": "net", "trainable": True, "layers": [
        {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
         "config": {"batch_shape": [None, 8, 8, 3], "dtype": "float32", "name": "image"}},
        {"module": "keras.layers", "class_name": "Dense", "registered_name": None,
         "config": {"name": "dense", "units": 3, "activation": "softmax", "use_bias": True}},
    ]},
    "build_config": {"input_shape": [None, 8, 8, 3]},
}  # fmt: skip
KERAS_METADATA = {"keras_version": "3.12.0", "date_saved": "2026-11-01@00:00:00"}
TOKENIZER = {"version": 1, "kind": "whitespace", "length": 8, "vocabulary": "vocabulary.txt", "inputs": ["image"]}


def tflite(scale: float = 0.0, shape: list[int] | None = None) -> bytes:
    """Return a small .tflite; with `scale` its input is quantized by it, with `shape` its input has that one."""
    content = mean_colour_model()
    if not scale and not shape:
        return content
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    tensor = model.subgraphs[0].tensors[0]
    tensor.shape = shape or tensor.shape
    if scale:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [3]
        tensor.type = schema.TensorType.INT8
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def onnx() -> bytes:
    """Return a small .onnx."""
    import onnx as library
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], [1.0, 2, 3, 4, 5, 6])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=-1)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    library.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def onnx_of_pictures() -> bytes:
    """Return a small .onnx that takes a picture (1, 8, 8, 3) and gives three scores."""
    import onnx as library
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["mean", "w"], ["m"]),
            helper.make_node("Softmax", ["m"], ["y"], axis=-1),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.eye(3, dtype="float32") / 100, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    library.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def field(number: int, value: int | bytes | str) -> bytes:
    """Return a protobuf field."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def saved_model(*operators: str) -> bytes:
    """Return a saved_model.pb whose graph reads an input, uses `operators` one after another, and offers the last."""
    nodes, last = [field(1, field(1, "image") + field(2, "Placeholder"))], "image"
    for index, operator in enumerate(operators):
        nodes.append(field(1, field(1, f"n{index}") + field(2, operator) + field(3, last)))
        last = f"n{index}"
    shape = field(2, field(1, 1)) + field(2, field(1, 8))
    entry = lambda key, name: field(1, key) + field(2, field(1, f"{name}:0") + field(2, 1) + field(3, shape))  # noqa: E731
    signature = field(1, entry("image", "image")) + field(2, entry("y", last)) + field(3, "tensorflow/serving/predict")
    graph = field(1, field(4, "serve")) + field(2, b"".join(nodes) + field(4, field(1, 1800)))
    graph += field(5, field(1, "serving_default") + field(2, signature))
    return field(1, 1) + field(2, graph)


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a .tar.gz."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def keras(config: Any, metadata: Any, weights: bytes) -> bytes:
    """Return a .keras file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("config.json", json.dumps(config))
        packed.writestr("metadata.json", json.dumps(metadata))
        packed.writestr("model.weights.h5", weights)
    return stream.getvalue()


def hdf5(config: Any = KERAS_CONFIG) -> bytes:
    """Return a Keras .h5 file."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
        file.create_group("model_weights").create_dataset("kernel", data=np.zeros((3, 2), "float32"))
    return stream.getvalue()


def picture(kind: str, shade: int = 90) -> bytes:
    """Return a picture, as PNG, JPEG, GIF, BMP or WEBP."""
    stream = io.BytesIO()
    pixels = np.full((8, 8, 3), shade, "uint8")
    pixels[: shade % 8, :, 0] = 250
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def sound(bits: int) -> bytes:
    """Return a WAV file of a tone."""
    return wave_file(stored(np.sin(np.arange(400) / 5) / 2, bits), bits=bits, rate=8000)


def mask() -> bytes:
    """Return a label picture, in grey, of a `picture`'s size."""
    stream = io.BytesIO()
    Image.fromarray((np.arange(64, dtype="uint8") % 3).reshape(8, 8)).save(stream, "PNG")
    return stream.getvalue()


NUMBERS = b"a,b,t,g,w,split\n1,2.5,0,u,x|y,test\n2,3.5,1,u,,test\n3,4.5,0,v,y,test\n4,1e3,1,v,x,test\n"


def arrays() -> bytes:
    """Return an .npz of four pictures and their classes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.zeros((4, 8, 8, 3), "float32"), y=np.array([0, 1, 1, 0]))
    return stream.getvalue()


def targets() -> bytes:
    """Return an .npy of four classes."""
    stream = io.BytesIO()
    np.save(stream, np.array([0, 1, 1, 0]))
    return stream.getvalue()


def array() -> bytes:
    """Return an .npy of four pictures."""
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 8, 8, 3), "float32"))
    return stream.getvalue()

"""Small .tflite classifiers of pictures of any size, made by hand, and an independent preparation of their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

LABELS = ("a", "b", "c")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def weights_of(shape: tuple[int, ...], seed: int = 5) -> NDArray[np.int8]:
    """The weights (classes, height × width × channels) of `linear_model`, as its int8 file stores them."""
    size = (len(LABELS), int(np.prod(shape)))
    return np.random.default_rng(seed).integers(-127, 128, size).astype(np.int8)


def linear_model(shape: tuple[int, ...], int8: bool = False) -> bytes:
    """Return a file that answers softmax(weights × picture) for pictures (1, *`shape`) with values of 0 to 1.

    An int8 file says that range by the scale of its input.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    types, builtin, options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    stored, step = weights_of(shape), 0.002
    real = types.INT8 if int8 else types.FLOAT32

    def tensor(name: str, sides: tuple[int, ...], buffer: int, scale: float, zero: int) -> Any:
        new = schema.TensorT()
        new.name, new.shape, new.type, new.buffer = name.encode(), list(sides), real, buffer
        if int8:
            new.quantization = schema.QuantizationParametersT()
            new.quantization.scale, new.quantization.zeroPoint = [scale], [zero]
        return new

    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("image", (1, *shape), 0, 1 / 255, -128),
        tensor("weights", stored.shape, 1, step, 0),
        tensor("logits", (1, len(LABELS)), 0, 0.1, 0),
        tensor("scores", (1, len(LABELS)), 0, 1 / 256, -128),
    ]
    dense, soft = schema.OperatorT(), schema.OperatorT()
    dense.opcodeIndex, dense.inputs, dense.outputs = 0, [0, 1, -1], [2]
    dense.builtinOptionsType, dense.builtinOptions = options.FullyConnectedOptions, schema.FullyConnectedOptionsT()
    soft.opcodeIndex, soft.inputs, soft.outputs = 1, [2], [3]
    soft.builtinOptionsType, soft.builtinOptions = options.SoftmaxOptions, schema.SoftmaxOptionsT()
    soft.builtinOptions.beta = 1.0
    graph.operators, graph.inputs, graph.outputs = [dense, soft], [0], [3]
    codes = []
    for kind, version in ((builtin.FULLY_CONNECTED, 4 if int8 else 1), (builtin.SOFTMAX, 2 if int8 else 1)):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = version
        codes.append(code)
    buffers = [schema.BufferT(), schema.BufferT()]
    values = stored if int8 else stored.astype(np.float32) * np.float32(step)
    buffers[1].data = np.frombuffer(values.tobytes(), np.uint8)
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def onnx_model(path: Path, shape: tuple[int, int, int], dtype: str = "float32") -> None:
    """Write `linear_model` as a file that takes (1, channels, height, width): values of 0 to 1, or uint8 pixels."""
    from onnx import TensorProto, helper, numpy_helper, save

    height, width, channels = shape
    stored = weights_of(shape).reshape(-1, *shape).transpose(0, 3, 1, 2).reshape(len(LABELS), -1)
    weights = stored.T.astype(np.float32) * np.float32(0.002) / (255 if dtype == "uint8" else 1)
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "pictures",
        [helper.make_tensor_value_info("image", kind, (1, channels, height, width))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, len(LABELS)))],
        [numpy_helper.from_array(np.ascontiguousarray(weights.astype(np.float32)), "weights")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_pictures(folder: Path, count: int = 12, seed: int = 2) -> dict[Path, int]:
    """Write `count` pictures a class, of sizes and modes of all kinds; return the class of each."""
    random, written = np.random.default_rng(seed), {}
    for label, name in enumerate(LABELS):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            height, width = (int(side) for side in random.integers(20, 140, 2))
            channels = (1, 3, 4)[index % 3]
            coarse = random.integers(0, 256, (6, 6, channels), np.uint8)
            picture = Image.fromarray(coarse[..., 0] if channels == 1 else coarse).resize((width, height))
            path = folder / name / f"{index:02d}.png"
            picture.save(path)
            written[path] = label
    return written


def prepared_pixels(path: Path, shape: tuple[int, int, int], resize: str) -> NDArray[np.uint8]:
    """Return a picture as a model of `shape` takes it, by Pillow alone."""
    height, width, channels = shape
    picture = Image.open(path)
    if picture.mode == "RGBA" and channels != 4:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    picture = picture.convert(MODES[channels])
    if resize == "crop":
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    elif resize == "pad":
        inner = ImageOps.contain(picture, (width, height), Image.Resampling.BILINEAR)
        canvas = Image.new(picture.mode, (width, height))
        canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        picture = canvas
    else:
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(shape)


def litert_answers(model: bytes, values: NDArray[Any]) -> list[int]:
    """Return the top class of each row of real values (N, height, width, channels) of 0 to 1, as LiteRT answers."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = takes["quantization"]
    top = []
    for row in values.astype(np.float32):
        fed = np.clip(np.round(row / np.float32(scale)) + zero, -128, 127).astype(np.int8) if scale else row
        interpreter.set_tensor(takes["index"], fed[None])
        interpreter.invoke()
        top.append(int(interpreter.get_tensor(gives["index"])[0].argmax()))
    return top

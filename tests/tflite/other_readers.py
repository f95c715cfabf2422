"""``python other_readers.py READER PICTURES.npy FILE…``: what a reader of another make answers, as JSON by file.

An answer is the classes of the pictures, or why there are none. Alone in a process: runtimes disturb each other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def fed(pictures: Any, dtype: Any) -> Any:
    """Pictures of bytes as an input of this type takes them; int8 ones have the zero point −128."""
    return (pictures.astype(np.int16) - 128).astype(np.int8) if dtype == np.int8 else pictures.astype(dtype)


def openvino(path: Path) -> Callable[[Any], Any]:
    from openvino import Core

    model = Core().compile_model(str(path), "CPU")
    dtype = model.inputs[0].get_element_type().to_dtype()
    return lambda picture: model([fed(picture, dtype)])[0]


def tflite_micro(path: Path) -> Callable[[Any], Any]:
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(str(path), arena_size=4 << 20)
    dtype = interpreter.get_input_details(0)["dtype"]

    def run(picture: Any) -> Any:
        interpreter.set_input(fed(picture, dtype), 0)
        interpreter.invoke()
        return interpreter.get_output(0)

    return run


def tf2onnx(path: Path) -> Callable[[Any], Any]:
    import onnxruntime
    from tf2onnx.convert import from_tflite

    with tempfile.TemporaryDirectory() as folder:
        from_tflite(str(path), opset=17, output_path=f"{folder}/model.onnx")
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
    (source,) = session.get_inputs()
    dtype = {"tensor(int8)": np.int8, "tensor(uint8)": np.uint8}.get(source.type, np.float32)
    return lambda picture: session.run(None, {source.name: fed(picture, dtype)})[0]


def main(reader: str, samples: str, *paths: str) -> None:
    """Write what `reader`, one of the functions above, answers."""
    pictures, answers = np.load(samples), {}
    for path in paths:
        try:
            run = globals()[reader](Path(path))
            answers[path] = [int(np.argmax(run(picture[None]))) for picture in pictures]
        except Exception as error:
            answers[path] = f"{type(error).__name__}: {error}"
    sys.stdout.write("\n" + json.dumps(answers) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

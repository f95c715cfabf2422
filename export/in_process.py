"""Runs files in this process, by tensor name, with float inputs and outputs. For checks, never for measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.runtime import RUNTIMES, Runtime

Answers = dict[str, NDArray[Any]]
Run = Callable[[dict[str, Any]], Answers]
Described = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]  # an input's shape and dtype by its name


def litert(content: bytes, threads: int = 1) -> Run:
    """Return a function that runs a ``.tflite`` by its signature; other inputs are ignored. Raises as LiteRT does."""
    interpreter, runner, takes, gives = _opened(content, threads)

    def run(feed: dict[str, Any]) -> Answers:
        interpreter.reset_all_variables()  # the state of a fused LSTM or RNN outlives a run
        answers = runner(**{name: _stored(value, takes[name]) for name, value in feed.items() if name in takes})
        return {name: _real(value, gives[name]) for name, value in answers.items()}

    return run


def litert_inputs(content: bytes) -> Described:
    """Return the inputs of a ``.tflite``'s signature. Raises as LiteRT does."""
    _, _, takes, _ = _opened(content, 1)
    return {name: (tuple(map(int, one["shape"])), np.dtype(one["dtype"])) for name, one in takes.items()}


def onnxruntime(content: bytes, threads: int = 0) -> Run:
    """Return a function that runs an ``.onnx`` file; other inputs are ignored. Raises as ONNX Runtime does."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.x64quantprecision", "1")  # see `core.variant.X86_SUMS`
    try:
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception:  # the option makes ONNX Runtime 1.32 refuse files in which two nodes share an int8 tensor
        options.add_session_config_entry("session.x64quantprecision", "0")
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = {tensor.name for tensor in session.get_inputs()}
    names = [tensor.name for tensor in session.get_outputs()]

    def run(feed: dict[str, Any]) -> Answers:
        return dict(zip(names, session.run(names, {n: v for n, v in feed.items() if n in inputs}), strict=True))

    return run


def in_parallel(runs: Sequence[Run], samples: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Answers]]:
    """Yield each sample with its answers; as many run at the same time as there are `runs`, all of one file."""
    left = iter(samples)
    with ThreadPoolExecutor(len(runs)) as pool:
        while group := list(islice(left, len(runs))):
            yield from zip(group, pool.map(lambda run, feed: run(feed), runs, group), strict=True)


# What runs the files of a format in this process: the runtime, and the function above.
ENGINES: dict[str, tuple[Runtime, Callable[[bytes, int], Run]]] = {
    "tflite": (RUNTIMES["litert"], litert),
    "onnx": (RUNTIMES["onnxruntime"], onnxruntime),
}


def _opened(content: bytes, threads: int) -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    return interpreter, runner, runner.get_input_details(), runner.get_output_details()


def _stored(value: NDArray[Any], tensor: dict[str, Any]) -> NDArray[Any]:
    scale, zero = tensor["quantization"]
    dtype = np.dtype(tensor["dtype"])
    if not scale or value.dtype.kind != "f" or dtype.kind == "f":
        return value.astype(dtype)
    limits = np.iinfo(dtype)
    stored: NDArray[Any] = np.clip(np.round(value / scale) + zero, limits.min, limits.max).astype(dtype)
    return stored


def _real(value: NDArray[Any], tensor: dict[str, Any]) -> NDArray[Any]:
    scale, zero = tensor["quantization"]
    return (value.astype(np.float32) - zero) * scale if scale and value.dtype.kind != "f" else value.copy()

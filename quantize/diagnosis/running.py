"""Runs a file in LiteRT and gives access to all its tensors, by their index in the main graph.

Default delegates are off: they hide the tensors inside fused operators, and LiteRT preserves all tensors only without
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def quantize_input(value: NDArray[Any], dtype: Any, scale: float, zero_point: int) -> NDArray[Any]:
    """Return real values as an input of `dtype` stores them (value = scale × (stored - zero_point))."""
    if np.dtype(dtype).kind not in "iu" or not scale:
        return value.astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.round(value.astype(np.float32) / scale) + zero_point
    return np.asarray(np.clip(stored, limits.min, limits.max).astype(dtype))


class FileRunner:
    """An opened file. Without `keep` only its outputs can be read, and it runs with the default delegates."""

    def __init__(self, content: str | bytes, *, keep: bool = True, threads: int = 1) -> None:
        from ai_edge_litert import interpreter

        source = {"model_path": content} if isinstance(content, str) else {"model_content": content}
        kernels = interpreter.OpResolverType
        self.interpreter = interpreter.Interpreter(
            **source,
            num_threads=threads,
            experimental_preserve_all_tensors=keep,
            experimental_op_resolver_type=kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep else kernels.AUTO,
        )
        self.interpreter.allocate_tensors()
        self.details = {d["index"]: d for d in self.interpreter.get_tensor_details()}

    def shapes(self) -> dict[int, tuple[int, ...]]:
        """Return the tensors' shapes at run time."""
        return {i: tuple(int(side) for side in d["shape"]) for i, d in self.details.items()}

    def set(self, inputs: dict[int, NDArray[Any]]) -> None:
        """Set inputs to real values."""
        for index, value in inputs.items():
            about = self.details[index]
            stored = quantize_input(value.reshape(about["shape"]), about["dtype"], *about["quantization"])
            self.interpreter.set_tensor(index, stored)

    def run(self, inputs: dict[int, NDArray[Any]]) -> None:
        """Set inputs and run; the other inputs keep their values."""
        self.set(inputs)
        self.interpreter.reset_all_variables()  # the state of a fused LSTM or RNN outlives a run
        self.interpreter.invoke()

    def stored(self, index: int) -> NDArray[Any]:
        """Return a tensor's stored values."""
        return np.asarray(self.interpreter.get_tensor(index))

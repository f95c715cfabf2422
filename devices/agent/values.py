"""Arrays on their way into a file and out of it."""

from typing import Any, List

from .errors import Unsupported


def fit(batch: Any, sides: int) -> Any:
    """Return a batch of one sample for an input with that number of dimensions: a scalar has no batch."""
    return batch.reshape(()) if sides == 0 and batch.size == 1 else batch


def quantize(batch: Any, dtype: Any, scale: float, zero_point: int) -> Any:
    """Return real values in the file's input dtype (value = scale x (stored - zero_point))."""
    import numpy

    if dtype not in (numpy.int8, numpy.uint8) or not scale:
        return batch.astype(dtype)
    limits = numpy.iinfo(dtype)
    stored = numpy.round(batch.astype("float32") / scale) + zero_point
    return numpy.clip(stored, limits.min, limits.max).astype(dtype)


def dequantize(output: Any, scale: float = 0.0, zero_point: int = 0) -> Any:
    """Return an output of any shape as real values: (values,) float32."""
    if output.dtype.kind not in "fiub":
        raise Unsupported("the answer holds {}, not numbers".format(output.dtype))
    values = output.astype("float32").reshape(-1)
    return values if output.dtype.kind == "f" or not scale else ((values - zero_point) * scale).astype("float32")


def pick(name: str, outputs: List[str]) -> str:
    """Return the output called `name`; the first one if `name` is empty or there is only one."""
    if name in outputs:
        return name
    if name and len(outputs) > 1:
        raise Unsupported("the file has no output {}; it has {}".format(name, listed(outputs)))
    return outputs[0]


def listed(names: List[str]) -> str:
    return ", ".join(name or "(without a name)" for name in names)

"""The limits of ``verify.py``: how far a right answer may be from a golden one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.artifact import Artifact
from ...tflite.objects import operator_name, read
from . import closeness

# Of what rounding alone may make of a value: steps of a quantized answer, and parts of the largest value where the
# answer is computed in float (1.1e-5 was measured on a GPU), in halves, or of integers that are found as it runs.
STEPS, FLOAT, HALF, DYNAMIC, LEAST = 1.5, 1e-5, 1e-3, 1e-3, 5e-4


def limits(
    artifact: Artifact, answer: int, outputs: NDArray[np.float32], columns: int, *, random: bool = False
) -> dict[str, Any]:
    """Return the ``tolerance`` of golden.json for golden `outputs` (N, values), see `closeness`.

    A constant answer differs by 1 of the spread or more over all samples, shuffled ones by more, and ones that are off
    by a tenth of their range by a fifth or more in the median: `Arithmetic.between_runtimes` is below all of these.
    `random` inputs may be answered nearly alike; rounding may then make of them what is twice as far.
    """
    median, most = artifact.variant.scheme.arithmetic.between_runtimes
    spread = closeness.spread_of(outputs, columns)
    reach = np.abs(outputs.astype(np.float64)).reshape(-1, columns).max(axis=0, initial=0.0)
    kernels, dtype = artifact.variant.scheme.arithmetic.kernels, artifact.outputs[answer].dtype
    if kernels == "integer":
        # Integers keep zero, so that a step is no less than this part of the largest value.
        step = step_of(artifact, answer) or float(reach.max()) / 255
        slack = np.maximum(STEPS * step, LEAST * reach)
    else:
        slack = (DYNAMIC if kernels == "dynamic" else HALF if dtype == "float16" else FLOAT) * reach
    slack = slack * (2 if random else 1)
    unit = np.maximum(spread, slack)
    return {
        "median": median,
        "most": most,
        "all": most / 2,
        "slack": slack.tolist(),
        "spread": spread.tolist(),
        # A decision turns by the differences of two values, each within twice what is usual.
        "near": 2 * float((slack + 2 * median * unit).max()),
        "flips": most / 8,
    }


def step_of(artifact: Artifact, answer: int) -> float:
    """Return what a quantized answer's neighbouring values differ by, also if it leaves as float; 0: not known."""
    if artifact.outputs[answer].scale:
        return float(artifact.outputs[answer].scale or 0)
    if artifact.format != "tflite" or artifact.path is None:
        return 0.0
    model = read(artifact.path.read_bytes())
    graph = model.subgraphs[0]
    index = graph.outputs[answer]
    for operator in graph.operators or ():
        if index in operator.outputs and operator_name(model, operator) == "DEQUANTIZE":
            scales = getattr(graph.tensors[operator.inputs[0]].quantization, "scale", None)
            return float(scales[0]) if scales is not None and len(scales) else 0.0
    return 0.0

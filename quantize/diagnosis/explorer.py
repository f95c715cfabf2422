"""A diagnosis for Model Explorer, Google's viewer of .tflite graphs: a coloured number on each operator.

The format is its *custom node data*: a graph's id maps to ``results`` (a value by node or by name of an output tensor)
and ``thresholds`` of colours. Source: ``node_data_builder.py`` of the PyPI package ai-edge-model-explorer. To use it,
open the .tflite in the viewer and choose "Load node data".
"""

from __future__ import annotations

from typing import Any

from ...core.diagnosis import Diagnosis

# Up to (decibels) → colour: below 10 dB a third of the signal is error, above 40 a hundredth.
_THRESHOLDS = ((10.0, "#d73027"), (20.0, "#fc8d59"), (30.0, "#fee08b"), (40.0, "#d9ef8b"), (1000.0, "#91cf60"))
# The name that its TFLite adapter gives the main graph.
GRAPH = "main"


def node_data(diagnosis: Diagnosis, figure: str) -> dict[str, Any]:
    """Return one column for the viewer: `figure` is ``own_snr_db``, ``snr_db`` or ``answer_snr_db``."""
    results: dict[str, Any] = {}
    for tensor in diagnosis.tensors:
        value = getattr(tensor, figure)
        if tensor.kind != "weight" and value is not None:
            results[tensor.name] = {"value": round(float(value), 2)}
    names = {
        "own_snr_db": "own SNR (dB)",
        "snr_db": "SNR (dB)",
        "answer_snr_db": "answer's SNR with this error alone (dB)",
    }
    return {
        GRAPH: {
            "name": names[figure],
            "results": results,
            "thresholds": [{"value": value, "bgColor": colour} for value, colour in _THRESHOLDS],
        }
    }

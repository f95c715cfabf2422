"""A diagnosis as node data for Model Explorer (`core.explorer`)."""

from __future__ import annotations

from typing import Any

from ...core import explorer
from ...core.diagnosis import Diagnosis

# Up to (decibels) → colour: below 10 dB a third of the signal is error, above 40 a hundredth.
_THRESHOLDS = ((10.0, "#d73027"), (20.0, "#fc8d59"), (30.0, "#fee08b"), (40.0, "#d9ef8b"), (1000.0, "#91cf60"))


def node_data(diagnosis: Diagnosis, figure: str) -> dict[str, Any]:
    """Return one column for the viewer: `figure` is ``own_snr_db``, ``snr_db`` or ``answer_snr_db``."""
    values = {
        tensor.name: round(float(value), 2)
        for tensor in diagnosis.tensors
        if tensor.kind != "weight" and (value := getattr(tensor, figure)) is not None
    }
    names = {
        "own_snr_db": "own SNR (dB)",
        "snr_db": "SNR (dB)",
        "answer_snr_db": "answer's SNR with this error alone (dB)",
    }
    return explorer.node_data(names[figure], values, _THRESHOLDS)

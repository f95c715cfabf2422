"""Node data for Model Explorer, Google's viewer of .tflite graphs: a coloured number on each operator.

The format is its *custom node data*: a graph's id maps to ``results`` (a value by node or by name of an output tensor)
and ``thresholds`` of colours. Source: ``node_data_builder.py`` of the PyPI package ai-edge-model-explorer. To use it,
open the .tflite in the viewer and choose "Load node data".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The name that its TFLite adapter gives the main graph.
GRAPH = "main"


def node_data(name: str, values: Mapping[str, float], thresholds: Sequence[tuple[float, str]]) -> dict[str, Any]:
    """Return one column for the viewer: values by output tensor; colours up to each of the rising `thresholds`."""
    return {
        GRAPH: {
            "name": name,
            "results": {tensor: {"value": value} for tensor, value in values.items()},
            "thresholds": [{"value": value, "bgColor": colour} for value, colour in thresholds],
        }
    }

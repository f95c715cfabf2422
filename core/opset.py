"""ONNX's operator sets: which ones a file may have, what runs them, and up to which one files are written."""

from __future__ import annotations

# First ONNX Runtime release with each default-domain opset; source: onnxruntime.ai, "ONNX Runtime compatibility".
RUNTIME_OF = {
    13: "1.7",
    14: "1.8",
    15: "1.10",
    16: "1.11",
    17: "1.12",
    18: "1.14",
    19: "1.15",
    20: "1.17",
    21: "1.18",
}
OLDEST, NEWEST = min(RUNTIME_OF), max(RUNTIME_OF)
WRITTEN = 18  # the newest that tf2onnx 1.17 writes (its constants.OPSET_TO_IR_VERSION)

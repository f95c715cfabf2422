"""The process that runs some of the calibration samples through the converter's calibrator.

The calibrator holds Python's lock while it runs, so more cores need more processes. This one imports numpy and
TensorFlow's calibrator, and nothing else of TensorFlow: it starts in two tenths of a second instead of three seconds.

Arguments: TensorFlow's folder, the float model, the file for the result, and for each input of the model, in its order,
a ``.npy`` (samples, …). The result is the model with the ranges of these samples.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np


def main() -> None:
    """Do what the arguments say. An exception ends the process with a status other than 0."""
    tensorflow, model, result, *inputs = sys.argv[1:]
    for name in ("tensorflow", "tensorflow.lite", "tensorflow.lite.python"):
        package = ModuleType(name)
        package.__path__ = [str(Path(tensorflow, *name.split(".")[1:]))]
        sys.modules[name] = package
    wrapper = import_module("tensorflow.lite.python._pywrap_tensorflow_lite_calibration_wrapper")
    content = Path(model).read_bytes()  # the calibrator refers to it
    calibrator = wrapper.CalibrationWrapper(content, [], [])
    arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in inputs]
    calibrator.Prepare([list(array.shape[1:]) for array in arrays])
    for sample in zip(*arrays, strict=True):
        calibrator.FeedTensor([np.asarray(values) for values in sample])
    Path(result).write_bytes(calibrator.Calibrate())


if __name__ == "__main__":
    main()

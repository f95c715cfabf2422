"""The process of Keras 3: opens one file, saves it as a plain SavedModel, and records its outputs on examples.

It is separate because Keras 2, which tensorflow_hub needs, and Keras 3 cannot share a process. Run as
``python -I -m edgeproof.train.external.keras3_process JOB.json``. The job names the file and an output folder for
``saved_model/``, ``answers.npz`` and ``result.json``, which has the result or the error.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import EdgeproofError
from ...frameworks.as_written import as_written
from .tensors import Tensor, answered_examples, fixed_shapes, safe_names

EXAMPLES = 3


def main(job_file: Path) -> None:
    """Do the job and write ``result.json``."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    folder = Path(job["folder"])
    try:
        result = _feature_model(job, folder) if job["task"] == "features" else _plain_model(job, folder)
    except EdgeproofError as error:
        result = {"error": type(error).__name__, "message": error.message, "remedy": error.remedy}
    except Exception as error:  # Keras may raise anything for a file from outside
        result = {"error": "", "message": f"{type(error).__name__}: {error}"[:2000]}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _open(job: dict[str, Any]) -> tuple[Any, Any, Any]:
    import keras
    import tensorflow as tf

    from .custom import Definitions
    from .keras_model import open_keras

    config = json.loads(Path(job["config"]).read_text(encoding="utf-8"))
    definitions = Definitions(tuple(job["custom_objects"]))
    return tf, keras, open_keras(tf, keras, Path(job["path"]), config, job["trust"], definitions)


def _plain_model(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Save the model at fixed shapes, and its answers to example inputs."""
    tf, keras, opened = _open(job)
    requested = {name: tuple(shape) for name, shape in job["shapes"].items()}
    shapes = fixed_shapes(opened.inputs, size=job["size"], shapes=requested)
    names = safe_names([tensor.name for tensor in opened.inputs])
    outputs = safe_names(opened.outputs, names)
    specs = [
        tf.TensorSpec(shape, tensor.dtype, name=name)
        for tensor, shape, name in zip(opened.inputs, shapes, names, strict=True)
    ]

    def serve(*values: Any) -> dict[str, Any]:
        return dict(zip(outputs, opened.call(tf, list(values)), strict=True))

    module = tf.Module()
    module.model = opened.model  # its tracked parts are saved with it
    module.serve = tf.function(serve, input_signature=specs, autograph=False)
    # TensorFlow does not track the seeds of random layers; some layers read them in inference too.
    module.rest = list(module.serve.get_concrete_function().graph.variables)
    tf.saved_model.save(module, str(folder / "saved_model"), signatures={"serving_default": module.serve})
    value_range = tuple(job["value_range"]) if job["value_range"] else None

    def answer(values: list[Any]) -> dict[str, Any]:
        # As in fit and predict: called eagerly, a few layers compute differently (Resizing of uint8 rounds).
        expected: dict[str, Any] = module.serve(*map(tf.constant, values))
        return expected

    with as_written(tf):
        examples, expected = answered_examples(answer, opened.inputs, shapes, value_range, EXAMPLES)
    stored = {f"{number}/{place}": value for number, one in enumerate(examples) for place, value in enumerate(one)}
    for number, answers in enumerate(expected):
        stored |= {f"{number}/{name}": np.asarray(value) for name, value in answers.items()}
    # NumPy would pickle objects, and lose the type bfloat16.
    kinds = {"O": "S", "V": "float32"}
    plain = {key: value.astype(kinds.get(value.dtype.kind, value.dtype)) for key, value in stored.items()}
    np.savez(folder / "answers.npz", **plain)
    return {
        "inputs": [[t.name, t.shape, t.dtype, t.limit] for t in opened.inputs],
        "outputs": list(opened.outputs),
        "keras": keras.__version__,
    }


def _feature_model(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Save the model up to its features as a reusable SavedModel."""
    from ...frameworks.reusable import save_reusable
    from .feature_cut import check_picture, check_wave, cut_features

    tf, keras, opened = _open(job)
    if "samples" in job:
        shape = check_wave(opened, job["samples"])
        sample: tuple[int, ...] = (job["samples"], *([1] if len(shape) == 2 else []))
    else:
        check_picture(opened, job["size"])
        sample = (job["size"], job["size"], 3)
    model, source = cut_features(keras, opened, job["output"], own=job["own"])
    save_reusable(tf, model, sample, folder / "saved_model")
    return {"taken": source, "keras": keras.__version__, "singular": len(sample) == 2}


def tensor(described: list[Any]) -> Tensor:
    """Return an input as `_plain_model` described it."""
    name, shape, dtype, limit = described
    return Tensor(name, None if shape is None else tuple(shape), dtype, limit)


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "tensorflow"  # before Keras is imported
    main(Path(sys.argv[1]))

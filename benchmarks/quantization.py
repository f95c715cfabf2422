"""Quantized files of one float model: each made from the start, compared with Edgeproof, which calibrates once.

Both sides start from the same frozen SavedModel, with the same calibration samples; by hand nothing of Keras is saved
again, as it would be by `from_keras_model` (see `conversion`). int8 and int16x8 are made by TensorFlow's converter,
weight-int8 and int4 by ai-edge-quantizer, on both sides. Neither time includes importing TensorFlow. Edgeproof's time
includes the comparison with the float model, the sidecars and the files' hashes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from . import fixtures
from .conversion import files_row
from .sides import Job, Row, Scale, in_turns, run_side, serve

CLAIM, AGREEMENT = 1.5, 0.97
SCHEMES = ("int8", "int16x8", "weight-int8", "int4")
QUICK_SCHEMES = ("int8", "int4")


# --- By hand: the converter and ai-edge-quantizer as their guides use them --------------------------------------------


def convert_by_hand(saved_model: str, scheme: str, samples: Any) -> bytes:
    import tensorflow as tf

    def representative_dataset() -> Any:
        for image in samples:
            yield [image[np.newaxis].astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    if scheme == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if scheme == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
    if scheme in ("int8", "int16x8"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative_dataset
    return bytes(converter.convert())


def quantize_by_hand(float_file: Path, scheme: str, out: Path) -> None:
    from ai_edge_quantizer import quantizer, recipe

    recipes = {"weight-int8": recipe.weight_only_wi8_afp32, "int4": recipe.dynamic_wi4_afp32}
    tool = quantizer.Quantizer(str(float_file))
    tool.load_quantization_recipe(recipes[scheme]())
    tool.quantize().export_model(str(out))


# --- The two sides ----------------------------------------------------------------------------------------------------


def _freeze(job: Job) -> Job:
    """Freeze the classifier once, for both sides."""
    from edgeproof.core.model import save_model
    from edgeproof.frameworks.tensorflow import load

    _, keras = load()
    folder = Path(job["model"])
    folder.mkdir()
    model = fixtures.freeze_classifier(keras.models.load_model(job["classifier"]), folder)
    save_model(model, folder)
    return {"saved_model": str(model.saved_model)}


def _by_hand(job: Job) -> Job:
    from edgeproof.frameworks.tensorflow import load

    load()
    folder = Path(job["folder"])
    folder.mkdir()
    files = {scheme: folder / f"{scheme}.tflite" for scheme in job["schemes"]}
    began = time.perf_counter()
    samples, float_file = np.load(job["calibration"]), folder / "float32.tflite"
    for scheme, file in files.items():
        if scheme in ("int8", "int16x8"):
            file.write_bytes(convert_by_hand(job["saved_model"], scheme, samples))
            continue
        if not float_file.exists():  # a script would convert once for ai-edge-quantizer
            float_file.write_bytes(convert_by_hand(job["saved_model"], "float32", samples))
        quantize_by_hand(float_file, scheme, file)
    return {"seconds": time.perf_counter() - began, "files": {scheme: str(file) for scheme, file in files.items()}}


def _edgeproof(job: Job) -> Job:
    from edgeproof.core.model import load_model
    from edgeproof.core.recipe import Export
    from edgeproof.core.variant import Variant
    from edgeproof.export import export
    from edgeproof.frameworks.tensorflow import load

    load()
    model, folder = load_model(Path(job["model"])), Path(job["folder"])
    folder.mkdir()
    began = time.perf_counter()
    artifacts = [
        export(model, Variant("tflite", scheme), options=Export(), folder=folder, calibration=Path(job["calibration"]))
        for scheme in job["schemes"]
    ]
    spent = time.perf_counter() - began
    if failed := [f"{a.id}: {a.reason}" for a in artifacts if a.status != "ok"]:
        raise RuntimeError("; ".join(failed))
    return {"seconds": spent, "files": {a.scheme: str(a.path) for a in artifacts}}


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time both sides, and compare their files' answers to the same images."""
    inputs, mine = fixtures.classifier(scale, folder), folder / "quantization"
    schemes = QUICK_SCHEMES if scale.quick else SCHEMES
    job = {
        "classifier": str(inputs.classifier),
        "model": str(mine / "model"),
        "calibration": str(inputs.calibration),
        "schemes": schemes,
    }
    job |= run_side("quantization", "freeze", job, mine)

    def side(name: str, number: int) -> Job:
        return run_side("quantization", name, {**job, "folder": str(mine / f"{name}-{number}")}, mine)

    by_hand, ours = in_turns(scale.long_repeats, lambda n: side("by-hand", n), lambda n: side("edgeproof", n))
    what = f"Quantization: {len(schemes)} TFLite files of one frozen model ({', '.join(schemes)}; "
    return [files_row(what, CLAIM, schemes, by_hand, ours, inputs.data / "test.npy", scale, mine)]


if __name__ == "__main__":
    serve({"freeze": _freeze, "by-hand": _by_hand, "edgeproof": _edgeproof})

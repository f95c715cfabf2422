"""Five TFLite files of one Keras model: five `from_keras_model` conversions, compared with one freeze and five exports.

Both sides load the same ``.keras`` file first. Neither time includes loading it or importing TensorFlow. Edgeproof's
time includes freezing, the sidecars with their operator lists, and the files' hashes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import fixtures
from .sides import BenchmarkError, Job, Row, Scale, in_turns, run_side, seconds, serve

CLAIM, AGREEMENT = 10.0, 0.97


# --- By hand: the converter as TensorFlow's guides use it -------------------------------------------------------------


def convert_by_hand(model: Any, scheme: str, samples: Any) -> bytes:
    import tensorflow as tf

    def representative_dataset() -> Any:
        for image in samples:
            yield [image[np.newaxis].astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if scheme != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme == "int8":
        converter.representative_dataset = representative_dataset
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if scheme == "int16x8":
        converter.representative_dataset = representative_dataset
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
    return bytes(converter.convert())


# --- The two sides ----------------------------------------------------------------------------------------------------


def _by_hand(job: Job) -> Job:
    from edgeproof.frameworks.tensorflow import load

    _, keras = load()
    model = keras.models.load_model(job["classifier"])
    folder = Path(job["folder"])
    folder.mkdir()
    began = time.perf_counter()
    samples = np.load(job["calibration"])
    for scheme in job["schemes"]:
        (folder / f"{scheme}.tflite").write_bytes(convert_by_hand(model, scheme, samples))
    return {
        "seconds": time.perf_counter() - began,
        "files": {scheme: str(folder / f"{scheme}.tflite") for scheme in job["schemes"]},
    }


def _edgeproof(job: Job) -> Job:
    from edgeproof.core.recipe import Export
    from edgeproof.core.variant import Variant
    from edgeproof.export import export
    from edgeproof.frameworks.tensorflow import load

    _, keras = load()
    classifier = keras.models.load_model(job["classifier"])
    folder = Path(job["folder"])
    folder.mkdir()
    began = time.perf_counter()
    model = fixtures.freeze_classifier(classifier, folder)
    artifacts = [
        export(
            model,
            Variant("tflite", scheme),
            options=Export(),
            folder=folder,
            calibration=Path(job["calibration"]),
        )
        for scheme in job["schemes"]
    ]
    spent = time.perf_counter() - began
    if failed := [f"{a.id}: {a.reason}" for a in artifacts if a.status != "ok"]:
        raise RuntimeError("; ".join(failed))
    return {"seconds": spent, "files": {a.scheme: str(a.path) for a in artifacts}}


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time both sides, and compare their files' answers to the same images."""
    inputs = fixtures.classifier(scale, folder)
    mine = folder / "conversion"
    job = {"classifier": str(inputs.classifier), "calibration": str(inputs.calibration), "schemes": scale.schemes}

    def side(name: str, number: int) -> Job:
        return run_side("conversion", name, {**job, "folder": str(mine / f"{name}-{number}")}, mine)

    by_hand, ours = in_turns(scale.long_repeats, lambda n: side("by-hand", n), lambda n: side("edgeproof", n))
    what = f"{len(scale.schemes)} TFLite files of one Keras model ({', '.join(scale.schemes)}; "
    return [files_row(what, CLAIM, scale.schemes, by_hand, ours, inputs.data / "test.npy", scale, mine)]


def files_row(
    what: str, claim: float, schemes: Sequence[str], by_hand: list[Job], ours: list[Job], images: Path, scale: Scale,
    folder: Path,
) -> Row:  # fmt: skip
    """Return the row of both sides' times; the claim is met if the ratio is, and the files answer `images` alike.

    `what` is completed by the number of calibration samples.
    """
    agreements = {}
    for scheme in schemes:
        hand, edge = (
            top_classes(side[0]["files"][scheme], scheme, images, scale.compared, folder) for side in (by_hand, ours)
        )
        agreements[scheme] = float((hand == edge).mean())
    ratio = float(np.median(seconds(by_hand)) / np.median(seconds(ours)))
    return Row(
        f"{what}{scale.calibration} calibration samples)",
        seconds(by_hand),
        seconds(ours),
        f"≥ {claim:g}×, files that answer alike",
        None if scale.quick else ratio >= claim and min(agreements.values()) >= AGREEMENT,
        f"both sides' files have the same top class on {scale.compared} test images in litert: "
        + ", ".join(f"{scheme} {share:.0%}" for scheme, share in agreements.items()),
    )


def top_classes(file: str, scheme: str, inputs: Path, count: int, folder: Path) -> Any:
    """Return a file's top classes (count,) for the first images, run by Edgeproof's agent."""
    from edgeproof.core.artifact import Artifact
    from edgeproof.core.target import Target
    from edgeproof.devices import open_runner

    artifact = Artifact(id=scheme, model=scheme, format="tflite", scheme=scheme, path=Path(file))
    outputs = folder / "outputs.npy"
    outcome = open_runner(artifact, Target("local", "litert")).infer(inputs, outputs, 0, count)
    if not outcome.ok:
        raise BenchmarkError(f"{file}: {outcome.reason}")
    return np.load(outputs).argmax(axis=1)


if __name__ == "__main__":
    serve({"by-hand": _by_hand, "edgeproof": _edgeproof})

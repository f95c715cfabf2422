"""Freezing: what is in the way of one SavedModel with constants in it, and that nothing of the answers changes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import StageError
from edgeproof.core.model import InputContract, Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export
from edgeproof.core.runtime import RUNTIMES
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks.freeze import freeze, graph_sha256, verify
from edgeproof.frameworks.tensorflow import fresh
from edgeproof.train.external import import_model

from ..conftest import made_by_plain_keras, made_once

slow = pytest.mark.slow
CONTRACT, LABELS = InputContract("image", (1, 12, 12, 3)), ("a", "b", "c")
# What LiteRT's kernels of exp, tanh and GELU differ by from TensorFlow's; answers are of the size of one.
TOLERANCE = {"gelu": 3e-4, "tflite:dynamic": 0.02, "tflite:float16": 1e-3}
FILES = [
    "swish2.keras", "swish2.h5", "swish3.keras", "recurrent2.keras", "recurrent3.keras", "recurrent3", "masked2",
    "streaming2.keras", "streaming3", "augmented2.h5", "augmented3.keras", "gelu2.keras", "gelu3",
    "float162.keras", "float162.h5", "float163", "bfloat162", "bfloat163.h5",
]  # fmt: skip


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of plain Keras 2 and 3, and their answers, made by processes without any code of ours."""
    return made_once(tmp_path_factory, "freeze", lambda folder: made_by_plain_keras("freeze_files.py", folder).name)


def rows(files: Path, name: str, model: Model) -> list[tuple[dict[str, Any], list[Any]]]:
    """What plain Keras was given, by the names of `model`'s inputs, and its answers, in their order by name."""
    with np.load(files / f"{name}.npz") as stored:
        inputs = {key[3:]: stored[key] for key in stored.files if key.startswith("in/")}
        answers = {key[4:]: stored[key] for key in stored.files if key.startswith("out/")}
    names = [one["name"] for one in model.provenance["inputs"]]
    if set(names) != set(inputs):
        inputs = dict(zip(names, inputs.values(), strict=True))
    ordered = [answers[key] for key in answers]
    return [({k: v[at : at + 1] for k, v in inputs.items()}, [v[at : at + 1] for v in ordered]) for at in range(3)]


def runner(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path)).get_signature_runner("serving_default")


def check(model: Model, files: Path, name: str, folder: Path, variant: str = "tflite:float32") -> None:
    """Export, and compare the file on LiteRT with what plain Keras answered, in the order of the calls."""
    artifact = export(model, Variant.parse(variant), options=Export(), folder=folder)
    assert artifact.status == "ok" and artifact.path is not None, artifact.reason
    run = runner(artifact.path)
    for given, expected in rows(files, name, model):
        outputs = list(run(**given).values())
        for value in expected:  # outputs of SavedModels have other names: shapes tell them apart here
            same = [one for one in outputs if one.shape == value.shape]
            np.testing.assert_allclose(
                same[0], value, atol=TOLERANCE.get(name[:-1] if variant.endswith("32") else variant, 1e-5)
            )


@slow
@pytest.mark.parametrize("file", FILES)
def test_a_file_answers_on_litert_what_plain_keras_answered(file: str, files: Path, tmp_path: Path) -> None:
    model = import_model(files / file, name="theirs", workspace=tmp_path / "model", listener=Silent())
    assert model.provenance["constant"] and not model.provenance["state"]
    check(model, files, file.split(".", maxsplit=1)[0], tmp_path)


@slow
@pytest.mark.parametrize("version", ["2", "3"])
def test_a_stateful_model_keeps_its_state_in_a_tflite_file_and_names_it(
    version: str, files: Path, tmp_path: Path
) -> None:
    model = import_model(
        files / f"remembering{version}.keras", name="m", workspace=tmp_path / "model", listener=Silent()
    )
    assert not model.provenance["constant"]
    assert len(model.provenance["state"]) == 2 and all("memory" in name for name in model.provenance["state"])
    check(model, files, f"remembering{version}", tmp_path)
    given, expected = rows(files, f"remembering{version}", model)[0]
    artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path / "again")
    assert artifact.path is not None
    run = runner(artifact.path)
    first, second = (next(iter(run(**given).values())) for _ in range(2))
    np.testing.assert_allclose(first, expected[0], atol=1e-5)
    assert np.abs(first - second).max() > 1e-3  # the same steps again, after a past
    artifact = export(model, Variant.parse("onnx:float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "unsupported" and "memory" in artifact.reason and "return_state" in artifact.remedy


@slow
def test_a_state_that_is_an_input_and_an_output_goes_to_onnx_too(files: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = import_model(files / "streaming2.keras", name="m", workspace=tmp_path / "model", listener=Silent())
    artifact = export(model, Variant.parse("onnx:float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "ok" and artifact.path is not None, artifact.reason
    session = onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])
    for given, expected in rows(files, "streaming2", model):
        for value, output in zip(expected, session.run(["y", "next"], given), strict=True):
            np.testing.assert_allclose(output, value, atol=1e-5)


@slow
def test_in_evaluations_every_sample_starts_from_the_state_that_was_saved(files: Path, tmp_path: Path) -> None:
    from edgeproof.devices.agent_program import AGENT

    model = import_model(files / "remembering2.keras", name="m", workspace=tmp_path / "model", listener=Silent())
    artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    given, expected = rows(files, "remembering2", model)[0]
    np.save(tmp_path / "same.npy", np.repeat(given["x"], 3, axis=0))
    for runtime, path in (("litert", artifact.path), ("tensorflow", model.saved_model)):
        job = {**RUNTIMES[runtime].job(), "artifact": str(path), "inputs": str(tmp_path / "same.npy"), "threads": 1,
               "verb": "infer", "start": 0, "stop": 3, "outputs": str(tmp_path / f"{runtime}.npy"),
               "feed": {"kind": "tensor", "input": "x"}}  # fmt: skip
        reply = run_agent(AGENT, job)
        assert reply["status"] == "ok", reply["reason"]
        answers = np.load(tmp_path / f"{runtime}.npy")
        np.testing.assert_allclose(answers, np.repeat(expected[0], 3, axis=0), atol=1e-5)


def run_agent(program: Path, job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(program), "-"], input=json.dumps(job), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


@slow
def test_a_savedmodel_whose_answers_are_random_is_refused_with_a_remedy_that_works(files: Path, tmp_path: Path) -> None:
    """Keras 3's `export` of a model with random layers draws numbers; the .keras file of the same model does not."""
    with pytest.raises(StageError, match="draws random numbers while it infers") as refused:
        import_model(files / "augmented3", name="theirs", workspace=tmp_path / "model", listener=Silent())
    assert ".keras file itself" in refused.value.remedy  # which FILES has


@slow
def test_int8_of_a_loop_is_a_reason_with_a_remedy_that_works(files: Path, tmp_path: Path) -> None:
    model = import_model(files / "masked2.keras", name="theirs", workspace=tmp_path / "model", listener=Silent())
    for variant in ("tflite:dynamic", "tflite:float16"):
        check(model, files, "masked2", tmp_path, variant)
    np.save(tmp_path / "ids.npy", np.ones((4, 8), np.int32))
    artifact = export(model, Variant.parse("tflite:int8"), options=Export(), folder=tmp_path,
                      calibration=tmp_path / "ids.npy")  # fmt: skip
    assert artifact.status == "failed" and "loops" in artifact.reason and "unroll=True" in artifact.remedy

    _, keras = fresh(0)
    layers = keras.layers
    steps = keras.Input((5, 4), name="x")
    unrolled = keras.Model(
        steps, layers.Dense(3)(layers.LSTM(6, unroll=True)(layers.GRU(6, return_sequences=True, unroll=True)(steps)))
    )
    unrolled.save(str(tmp_path / "unrolled.keras"))
    model = import_model(tmp_path / "unrolled.keras", name="theirs", workspace=tmp_path / "other", listener=Silent())
    samples = np.random.default_rng(0).uniform(-1, 1, (64, 5, 4)).astype(np.float32)
    np.save(tmp_path / "steps.npy", samples)
    artifact = export(model, Variant.parse("tflite:int8"), options=Export(), folder=tmp_path,
                      calibration=tmp_path / "steps.npy")  # fmt: skip
    if artifact.status != "ok":  # of some weights the converter leaves one SPLIT in float, which has a remedy as well
        assert "SPLIT" in artifact.reason and "tflite:int8-fallback" in artifact.remedy
        artifact = export(model, Variant.parse("tflite:int8-fallback"), options=Export(), folder=tmp_path,
                          calibration=tmp_path / "steps.npy")  # fmt: skip
    assert artifact.status == "ok" and artifact.path is not None, artifact.reason
    run, expected = runner(artifact.path), np.asarray(unrolled(samples))
    answers = np.concatenate([next(iter(run(x=one[None]).values())) for one in samples])
    assert np.sqrt(((answers - expected) ** 2).mean()) < 0.05 * np.abs(expected).max()


def swish_and_loops() -> Any:
    """Pictures through a convolution with swish, and their pixels as a sequence through two recurrent layers."""
    _, keras = fresh(3)
    layers = keras.layers
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Reshape((100, 4))(layers.Conv2D(4, 3, activation="swish")(image))
    x = layers.GRU(4)(layers.LSTM(5, return_sequences=True)(x))
    return keras.Model(image, layers.Dense(3, activation="softmax")(x))


@slow
def test_the_hash_of_a_graph_with_loops_is_that_of_what_it_computes(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (3, 12, 12, 3)).astype(np.uint8)
    hashes = []
    for number in range(2):
        model = swish_and_loops()
        saved = freeze(model, LABELS, CONTRACT, tmp_path / str(number))
        assert verify(saved, model, pictures) < 1e-6
        hashes.append(graph_sha256(saved, LABELS))
    assert hashes[0] == hashes[1]
    recurrent = model.layers[-2]  # its weights stand in the function that the loop calls
    recurrent.set_weights([weights + 1e-3 for weights in recurrent.get_weights()])
    other = freeze(model, LABELS, CONTRACT, tmp_path / "other")
    assert graph_sha256(other, LABELS) != hashes[0]
    assert graph_sha256(saved, ("a", "b", "d")) != hashes[0]

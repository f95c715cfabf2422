"""Accuracy of every file on every runtime: sequential Python loops, compared with Edgeproof's shards on all cores.

By hand there is one process per runtime (two runtimes in one process interfere), which runs file after file and image
after image with the interpreter's default settings. Both times are wall-clock and include the start of the processes;
Edgeproof's also includes the check that each file loads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from . import fixtures
from .sides import BenchmarkError, Job, Row, Scale, in_turns, run_side, seconds, serve

CLAIM = 1.7


# --- By hand: one loop per runtime ------------------------------------------------------------------------------------


def loop_tflite(interpreter_class: Any, file: str, images: Any) -> list[Any]:
    interpreter = interpreter_class(model_path=file)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    answers = []
    for image in images:
        interpreter.set_tensor(source, image[np.newaxis].astype(np.float32))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(target)[0])
    return answers


def loop_onnx(file: str, images: Any) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return [session.run(None, {name: image[np.newaxis].astype(np.float32)})[0][0] for image in images]


def loop_tensorflow(folder: str, images: Any) -> list[Any]:
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)
    model = loaded.signatures["serving_default"]
    return [model(image=tf.constant(image[np.newaxis], tf.float32))["probabilities"].numpy()[0] for image in images]


# --- The two sides ----------------------------------------------------------------------------------------------------


def _by_hand(job: Job) -> Job:
    images = np.load(job["inputs"])
    if job["runtime"] == "litert":
        from ai_edge_litert.interpreter import Interpreter
    elif job["runtime"] == "tflite-runtime":
        from tflite_runtime.interpreter import Interpreter
    tops: dict[str, list[int]] = {}
    for name, file in job["files"].items():
        try:
            if job["runtime"] == "onnxruntime":
                answers = loop_onnx(file, images)
            elif job["runtime"] == "tensorflow":
                answers = loop_tensorflow(file, images)
            else:
                answers = loop_tflite(Interpreter, file, images)
        except ValueError as error:  # the runtime refuses the file
            print(name, error)
        else:
            tops[name] = np.asarray(answers).argmax(axis=1).tolist()
    return {"tops": tops}


def _edgeproof(job: Job) -> Job:
    from edgeproof.core.artifact import Artifact
    from edgeproof.core.environment import usable_cores
    from edgeproof.core.model import load_model
    from edgeproof.core.progress import Silent
    from edgeproof.core.target import Target
    from edgeproof.devices import open_runner
    from edgeproof.evaluate import predictions
    from edgeproof.export import load, reference

    artifacts: list[Artifact] = [load(Path(sidecar)) for sidecar in job["sidecars"]]
    artifacts.append(reference(load_model(Path(job["model"]))))
    targets = [Target.parse(text) for text in job["targets"]]
    inputs, cores = Path(job["inputs"]), usable_cores()
    runners = [open_runner(a, t) for t in targets for a in artifacts if t.reads(a.format)]
    with ThreadPoolExecutor(cores) as pool:
        loaded = list(pool.map(lambda runner: runner.load(inputs), runners))
    alive = [(runner, outcome.data) for runner, outcome in zip(runners, loaded, strict=True) if outcome.ok]
    tops: dict[str, dict[str, list[int]]] = {}

    def done(index: int, outcome: Any, outputs: Any) -> None:
        if outputs is None:
            raise RuntimeError(f"{alive[index][0].artifact.id} on {alive[index][0].target}: {outcome.reason}")
        runner = alive[index][0]
        tops.setdefault(runner.target.runtime, {})[runner.artifact.id] = outputs.argmax(axis=1).tolist()

    predictions.predict(
        [
            predictions.Cell(
                runner,
                Path(job["folder"]) / str(index),
                run_ms=facts["run_ms"],
                start_ms=sum(facts[part] for part in ("import_ms", "load_ms", "first_ms")),
            )
            for index, (runner, facts) in enumerate(alive)
        ],
        inputs,
        len(np.load(inputs, mmap_mode="r")),
        workers=cores,
        listener=Silent(),
        done=done,
    )
    return {"tops": tops, "cores": cores}


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time both sides and compare their answers."""
    inputs = fixtures.artifacts(scale, folder)
    mine = folder / "accuracy"
    images_path = str(inputs.data / "test.npy")

    def by_hand(_number: int) -> Job:
        parts = {
            runtime: run_side(
                "accuracy",
                "by-hand",
                {"runtime": runtime, "files": inputs.files_for(runtime), "inputs": images_path},
                mine,
            )
            for runtime in (target.split("/")[1] for target in scale.targets)
        }
        return {
            "wall": sum(part["wall"] for part in parts.values()),
            "tops": {runtime: part["tops"] for runtime, part in parts.items()},
        }

    def edgeproof(number: int) -> Job:
        job = {
            "sidecars": [str(path) for path in inputs.sidecars],
            "model": str(inputs.model),
            "targets": scale.targets,
            "inputs": images_path,
            "folder": str(mine / f"shards-{number}"),
        }
        return run_side("accuracy", "edgeproof", job, mine)

    hand, ours = in_turns(scale.long_repeats, by_hand, edgeproof)
    expected, actual = (_flat(answer["tops"]) for answer in (hand[0], ours[0]))
    if expected.keys() != actual.keys():
        unpaired = sorted(expected.keys() ^ actual.keys())
        raise BenchmarkError(f"the two sides do not run the same pairs of file and runtime: {unpaired}")
    images = len(next(iter(expected.values())))
    differing = {pair: int((expected[pair] != actual[pair]).sum()) for pair in expected}
    wrong = {pair: count for pair, count in differing.items() if count}
    ratio = float(np.median(seconds(hand, "wall")) / np.median(seconds(ours, "wall")))
    return [
        Row(
            f"Accuracy of {len(expected)} pairs of file and runtime on {images:,} images, {ours[0]['cores']} cores",
            seconds(hand, "wall"),
            seconds(ours, "wall"),
            f"≥ {CLAIM:g}× on 2 cores, same answers",
            None if scale.quick else ratio >= CLAIM and not wrong,
            f"{len(expected) - len(wrong)} of {len(expected)} pairs have the same top class on every image"
            + "".join(f"; {pair} differs on {count}" for pair, count in wrong.items()),
        )
    ]


def _flat(tops: dict[str, dict[str, list[int]]]) -> dict[str, Any]:
    """Return top classes (N,) by "FILE on RUNTIME"."""
    return {f"{name} on {runtime}": np.asarray(top) for runtime, files in tops.items() for name, top in files.items()}


if __name__ == "__main__":
    serve({"by-hand": _by_hand, "edgeproof": _edgeproof})

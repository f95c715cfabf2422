"""Head training compared with its lower bound: one pass of the images through the backbone on all cores.

From images to a trained head, `train.fit.fit` builds the backbone, makes its LiteRT copy and compares it with Keras,
passes every image through it, and trains. In each process one training is timed with an empty cache (*cold*: the copy
is made), one more with another seed (*warm*: the copy exists), and right after them the pass alone, so that all three
run on the machine in the same state. The times exclude importing TensorFlow, freezing and saving.

A second comparison is of Keras' ``fit`` with its callbacks, as `train.head` uses it, with a hand-written loop of one
TensorFlow function an epoch, which ``fit`` replaced: the epochs of both on the same features, alternately in one
process, and the effect on the time of the whole training.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from . import fixtures
from .heads import PHASE_ONE
from .sides import Job, Row, Scale, run_side, seconds, serve

LARGE = 60_000
CLAIMS = {"small": 2.0, "large": 1.2}  # times one pass
FIT_CLAIM = 1.1  # times the loop
LOOP_TURNS = 5


# --- By hand: the pass, and an epoch as one TensorFlow function ------------------------------------------------------


def one_pass(content: bytes, images: Any, cores: int) -> Any:
    """Return the features of all `images` from the .tflite file `content`, by one interpreter on all cores."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=cores)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    batch = np.zeros(source["shape"], np.float32)
    features = np.empty((len(images), target["shape"][-1]), np.float32)
    for at in range(0, len(images), len(batch)):
        part = images[at : at + len(batch)]
        batch[: len(part)] = part
        interpreter.set_tensor(source["index"], batch)
        interpreter.invoke()
        features[at : at + len(part)] = interpreter.get_tensor(target["index"])[: len(part)]
    return features


def loop(features: Any, labels: Any, validation: tuple[Any, Any], epochs: int, batch: int, rate: float) -> None:
    """Train dropout → dense → softmax with Adam; one call runs an epoch, its rows gathered in a new order."""
    import tensorflow as tf
    import tf_keras as keras

    kernel = tf.Variable(keras.initializers.GlorotUniform(seed=1)((features.shape[1], 10)))
    bias = tf.Variable(tf.zeros(10))
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build([kernel, bias])

    @tf.function
    def epoch(rows: Any, y: Any) -> Any:
        loss, right = 0.0, 0.0
        for at in tf.range(0, tf.shape(y)[0], batch):
            x, now = rows[at : at + batch], y[at : at + batch]
            x = tf.nn.experimental.stateless_dropout(x, 0.2, seed=tf.stack([1, at]))
            with tf.GradientTape() as tape:
                logits = x @ kernel + bias
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(now, logits)
                mean = tf.reduce_mean(losses)
            optimizer.apply_gradients(zip(tape.gradient(mean, [kernel, bias]), [kernel, bias]))  # noqa: B905
            loss += tf.reduce_sum(losses)
            right += tf.reduce_sum(tf.cast(tf.argmax(logits, 1, tf.int32) == now, tf.float32))
        return loss, right

    for number in range(epochs):
        order = np.random.default_rng(number).permutation(len(labels))
        epoch(features[order], labels[order].astype(np.int32))
        logits = validation[0] @ kernel.numpy() + bias.numpy()
        (logits.argmax(axis=1) == validation[1]).mean()


# --- The sides --------------------------------------------------------------------------------------------------------


def _training(job: Job) -> Job:
    """Time a cold training, a warm training, and the pass alone."""
    os.environ["EDGEPROOF_CACHE"] = str(Path(job["workspace"]) / "cache")  # empty: no results of earlier runs
    from edgeproof.core.dataset import load_prepared
    from edgeproof.core.environment import usable_cores
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe import ModelSpec, Train
    from edgeproof.frameworks.tensorflow import load
    from edgeproof.train import copies, feature_pass
    from edgeproof.train.backbones import identity
    from edgeproof.train.fit import fit

    load()
    feature_pass.FEW_IMAGES = 0  # with a quick run's few images no copy of the backbone would be made
    data = load_prepared(Path(job["data"]))
    train = Train(patience=0, epochs=job["epochs"])
    spec = ModelSpec(name="mobilenet_v2", backbone="package:mobilenet_v2", image_size=job["image_size"])
    spent: dict[str, float] = {}
    steps: dict[str, Any] = {}
    for number, name in enumerate(("cold", "warm")):
        model = fit(
            spec, train, seed=number + 1, data=data, folder=Path(), workspace=Path(job["workspace"]) / name,
            listener=Silent(),
        )  # fmt: skip
        steps[name] = model.provenance["seconds"]
        spent[name] = sum(steps[name][step] for step in PHASE_ONE)
    content = copies.take(copies.copy_path(identity(spec, folder=Path()), train.head.pooling))
    if content is None:
        raise RuntimeError("the LiteRT copy of the backbone was not kept")
    images = [data.rows("train")[:], data.rows("validation")]
    began = time.perf_counter()
    for split in images:
        one_pass(content, split, usable_cores())
    return {"pass": time.perf_counter() - began, **spent, "steps": steps}


def _epochs(job: Job) -> Job:
    """Time the loop and ``fit`` alternately on the same features; each traces its functions, as a training does."""
    from edgeproof.core.progress import Silent
    from edgeproof.core.recipe import Train
    from edgeproof.frameworks.tensorflow import fresh
    from edgeproof.train import keras_fit
    from edgeproof.train.head import Labelled, head_phase, new_head

    rng = np.random.default_rng(0)
    features = rng.random((job["images"], 1280), np.float32)
    labels = rng.integers(0, 10, len(features))
    validation = features[: len(features) // 9], labels[: len(features) // 9]
    train = Train(epochs=job["epochs"], patience=0)
    spent: dict[str, list[float]] = {"loop": [], "fit": []}
    for turn in range(job["turns"] + 1):
        began = time.perf_counter()
        loop(features, labels, validation, train.epochs, train.batch_size, train.learning_rate)
        middle = time.perf_counter()
        fresh(1)
        head = new_head(1280, 10, train, 1)
        phase = head_phase(head, Labelled([features], labels), Labelled([validation[0]], validation[1]), train,
                           np.ones(10, np.float32), 1)  # fmt: skip
        keras_fit.run(phase, patience=0, schedule=train.schedule, start=keras_fit.State(),
                      checkpoint=Path(job["workspace"]) / f"epochs-{turn}.npz", listener=Silent())  # fmt: skip
        if turn:  # the first turn is a warm-up: TensorFlow loads parts of itself late
            spent["loop"].append(middle - began)
            spent["fit"].append(time.perf_counter() - middle)
    return spent


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Compare head training with one pass, and ``fit`` with the loop."""
    data, mine = fixtures.prepared(scale, folder), folder / "head_passes"
    mine.mkdir(exist_ok=True)
    small = _trainings(scale, data, mine, "small")
    rows = [_in_passes(scale, data, small, "small")]
    if not scale.quick:
        large = _repeated(data, mine / "large")
        rows.append(_in_passes(scale, large, _trainings(scale, large, mine, "large"), "large"))
    return [*rows, _in_loops(scale, mine, small)]


def _trainings(scale: Scale, data: Path, mine: Path, size: str) -> list[Job]:
    """Train in new processes, and return the times of each."""
    answers = []
    for number in range(scale.long_repeats):
        workspace = mine / f"{size}-{number}"
        job = {"data": str(data), "image_size": scale.image_size, "epochs": scale.epochs, "workspace": str(workspace)}
        answers.append(run_side("head_passes", "training", job, mine))
    return answers


def _in_passes(scale: Scale, data: Path, answers: list[Job], size: str) -> Row:
    passes, cold = seconds(answers, "pass"), seconds(answers, "cold")
    ratios = {name: float(np.median(np.array(seconds(answers, name)) / passes)) for name in ("cold", "warm")}
    count = sum(len(np.load(data / f"{split}-labels.npy")) for split in ("train", "validation"))
    steps = ", ".join(f"{name} {spent:.1f} s" for name, spent in answers[0]["steps"]["cold"].items())
    return Row(
        f"Head training from {count:,} images of {scale.image_size} px, against one pass of them through MobileNetV2",
        passes,
        cold,
        f"≤ {CLAIMS[size]:g} × one pass, the backbone's copy made anew",
        None if scale.quick else ratios["cold"] <= CLAIMS[size],
        f"cold {ratios['cold']:.2f} × one pass ({steps}), with the copy of an earlier run {ratios['warm']:.2f} ×",
    )


def _in_loops(scale: Scale, mine: Path, trainings: list[Job]) -> Row:
    """Return the row of the small trainings: measured, and computed with the loop's epochs instead of ``fit``'s."""
    job = {"images": 200 if scale.quick else 4500, "epochs": scale.epochs, "workspace": str(mine),
           "turns": 1 if scale.quick else LOOP_TURNS}  # fmt: skip
    spent = run_side("head_passes", "epochs", job, mine)
    loops, fits = (np.array(spent[name]) for name in ("loop", "fit"))
    extra = float(np.median(fits - loops))
    totals = np.array(seconds(trainings, "cold"))
    ratio = float(np.median(totals / (totals - extra)))
    return Row(
        f"Head training with Keras' fit, against a loop by hand for its {scale.epochs} epochs",
        tuple((totals - extra).tolist()),
        tuple(totals.tolist()),
        f"≤ {FIT_CLAIM:g} × the loop",
        None if scale.quick else ratio <= FIT_CLAIM,
        f"whole training {ratio:.2f} ×: its time was measured, with the loop it is less by what {len(loops)} pairs of "
        f"the epochs alone differ by on {job['images']:,} features: fit {float(np.median(fits)):.2f} s, the loop "
        f"{float(np.median(loops)):.2f} s, {float(np.median(fits / loops)):.2f} × (median of pairs), with tracing, "
        "validation and checkpoints",
    )


def _repeated(data: Path, folder: Path) -> Path:
    """Return prepared data whose training images are repeated to a number of `LARGE`."""
    from dataclasses import replace

    from edgeproof.core.dataset import load_prepared, save_prepared
    from edgeproof.core.encoded_images import ENTRY

    folder.mkdir()
    prepared = load_prepared(data)
    for split in ("validation", "test"):
        for name in (f"{split}.npy", f"{split}-labels.npy"):
            (folder / name).symlink_to(data / name)
    (folder / "train.pack").symlink_to(data / "train.pack")
    (folder / "train.index").write_bytes(np.resize(np.fromfile(data / "train.index", ENTRY), LARGE).tobytes())
    np.save(folder / "train-labels.npy", np.resize(np.load(data / "train-labels.npy"), LARGE))
    counts = {**prepared.counts, "train": LARGE}
    save_prepared(replace(prepared, folder=folder, counts=counts, sha256="f" * 64), folder)
    return folder


if __name__ == "__main__":
    serve({"training": _training, "epochs": _epochs})

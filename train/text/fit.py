"""Training on texts from end to end: from a backbone and prepared texts to an ids model, its reference and tokenizer.

The guarantees are those of training on images (`train.fit`): unfinished work is in the workspace and survives a kill;
random numbers follow from the seed and the epoch. A frozen backbone's features are computed once and the head is
trained on them; a model that is trained as a whole (from scratch, or ``trainable = true``) is trained on its ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.codec import sha256_of
from ...core.dataset import PreparedData, read_texts
from ...core.encoded import encode_texts
from ...core.errors import InputError, StageError
from ...core.files import discard
from ...core.model import InputContract, Model, TokenizerRecord, tokenizer_sha256
from ...core.progress import Listener
from ...core.recipe import ModelSpec, Train
from ...core.store import package_versions
from ...core.tokenizer import Tokenizer, open_tokenizer, read_settings
from ...frameworks.freeze import compare
from ...frameworks.tensorflow import fresh
from ..answers import Answer, answer_of
from ..backbones import text_source
from ..callbacks import check_callbacks
from ..feature_file import grow
from ..head import Labelled, head_phase, new_head
from ..keras_fit import State
from ..workspace import Work
from .base import IDS, LENGTHS, Cut, TextBase, TextRequest
from .features import extractor
from .freeze import (
    TEXT,
    ids_sha256,
    open_ids_model,
    run_texts,
    save_ids_model,
    save_text_model,
    strings_sha256,
)  # fmt: skip
from .joint_training import Samples, joint_phase, tokenize
from .settings import check_text_training
from .tokenizer_parity import choose_golden, measure_parity, write_golden

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "numpy")
CHECKED_SAMPLES = 8
ENOUGH = 0.99  # of the test texts: below this rate the device's tokenizer is not equivalent to the model's
OWN_OPERATORS = "tensorflow"
SPLITS = ("train", "validation")


class _Work(Work):
    """A training on texts."""

    @cached_property
    def answer(self) -> Answer:
        """What the model answers with."""
        return answer_of(self.data, self.train)

    def targets(self, split: str) -> NDArray[Any]:
        """A split's targets, as Keras takes them; (0, …) if there is no such file."""
        return self.answer.targets(self.labels(split))

    def texts(self, split: str) -> list[str]:
        """A split's texts; empty if there is no such file."""
        path = self.data.inputs(split)
        return read_texts(path) if path.is_file() else []

    def samples(self, count: int) -> list[str]:
        """About `count` training texts, spread over the split."""
        texts = self.texts("train")
        return texts[:: max(1, len(texts) // count)][:count]


def fit_text(
    spec: ModelSpec,
    train: Train,
    *,
    seed: int,
    data: PreparedData,
    folder: Path,
    workspace: Path,
    listener: Listener,
    shared: Path | None = None,
) -> Model:
    """Train `spec` on the texts of `data` as `train` says and return the frozen model.

    `folder` is the recipe's folder, where relative handles start. To resume after a kill, call this again with the same
    `workspace`; when this returns it holds ``saved_model/`` (from the ids on), ``text_model/``, ``tokenizer/``,
    ``model.json`` and, if the recipe sets it, ``tensorboard/``. A backbone that cannot be cut at its ids has a
    ``saved_model/`` that takes strings, and provenance ``uncut`` says why. `shared` is a folder that stores a frozen
    backbone's features for other seeds.

    `Model.sha256` covers the ids model's graph, the labels and the tokenizer: the same seed, data and versions on the
    same machine give the same hash. The parity of the device tokenizer is measured over the test split.

    Raises InputError when the backbone cannot be built or the data do not fit it, StageError when a model cannot be
    fetched, training diverges, the two models differ or the disk is full. Starts TensorFlow.
    """
    source = text_source(spec)
    source.check(spec, folder)
    check_text_training(train)
    check_callbacks(train, folder)
    if data.kind != "text":
        raise InputError(f"model {spec.name!r} takes texts, but the data are of kind {data.kind}")
    answer = answer_of(data, train)
    identity = source.identity(spec, folder)
    work = _Work(spec, train, seed, data, folder, workspace, listener, PACKAGES + source.packages, shared)
    if (finished := work.open(identity)) is not None:
        return finished
    fresh(seed)
    work.tell_float32("texts are trained")

    base: TextBase = work.timed("build", lambda: _build(work))
    if base.cut is None:
        listener.note("warning", f"model {spec.name!r} cannot be cut at its token ids: {base.note}")
    head = new_head(base.features, answer, train, seed)
    state, history = _train(work, base, head, identity)

    if base.recut is not None and work.spec.trainable:  # its cut holds the weights from before training
        base = replace(base, cut=work.timed("freeze", base.recut))
    answer.rescale(head)
    saved = work.timed("freeze", lambda: _save(work, base, head, identity))
    facts = {
        "features": base.features,
        "learned": "all" if base.from_scratch or spec.trainable else "head",
        **base.facts,
        **({"uncut": base.note} if base.cut is None else {}),
        **saved.pop("facts"),
    }
    return work.finish(state, history, identity, facts, answer=answer.output, **saved)


def _build(work: _Work) -> TextBase:
    request = TextRequest(
        work.folder, work.scratch, work.seed, lambda: work.texts("train"), work.samples, work.listener
    )
    return text_source(work.spec).build(work.spec, request)


def _train(work: _Work, base: TextBase, head: Any, identity: Any) -> tuple[State, list[dict[str, float]]]:
    """Run the phases that the backbone needs; return the state of the last one, and the history of all."""
    if base.from_scratch:
        state = work.timed("train", lambda: _train_jointly(work, base, head, 1, State()))
        return state, state.history
    splits = work.timed("features", lambda: _features(work, base, identity))
    phase = head_phase(head, splits[0], splits[1], work.train, work.weights(), work.seed, work.answer)
    state = work.timed("head", lambda: work.run(phase, State(), "head.npz"))
    history = state.history
    if work.spec.trainable:
        before = State(best=state.best, best_accuracy=state.best_accuracy)
        state = work.timed("fine_tune", lambda: _train_jointly(work, base, head, 2, before))
        history = [*history, *state.history]
    return state, history


def _train_jointly(work: _Work, base: TextBase, head: Any, number: int, start: State) -> State:
    training, validation = (Samples(base, work.texts(split), work.targets(split)) for split in SPLITS)
    phase = joint_phase(
        base, head, training, validation, work.train, work.weights(), number=number, seed=work.seed, answer=work.answer
    )
    return work.run(phase, start, f"together-{number}.npz")


def _features(work: _Work, base: TextBase, identity: Any) -> tuple[Labelled, Labelled]:
    """Compute the features of training and validation, reusing those of a killed run or of another seed."""
    place = work.scratch
    if work.shared is not None:
        place = work.shared / sha256_of([identity, work.data.sha256, package_versions(work.packages)])[:32]
    texts = {split: work.texts(split) for split in SPLITS}
    extract, done = extractor(base), 0
    total = sum(len(part) for part in texts.values())

    def progress(more: int) -> None:
        nonlocal done
        done += more
        work.listener.progress("features", done, total)

    def compute(split: str) -> NDArray[Any]:
        part = texts[split]
        path = place / f"text-{split}.npy"
        blocks = lambda spans: (extract(part[start:stop]) for start, stop in spans)  # noqa: E731
        return grow(path, len(part), base.features, blocks, progress)

    features = {split: compute(split) for split in SPLITS}
    training, validation = (Labelled([features[split]], work.targets(split)) for split in SPLITS)
    return training, validation


def _save(work: _Work, base: TextBase, head: Any, identity: Any) -> dict[str, Any]:
    """Save and verify all files, then give them their final names. Return the fields of `Model` that they decide."""
    save_text_model(base, head, work.scratch / "text_model", work.answer.output)
    if base.cut is not None:
        return _save_cut(work, base, base.cut, head)
    for name in ("text_model", "tokenizer"):  # from other work in this workspace
        discard(work.workspace / name, root=work.workspace)
    return {
        "saved_model": work.place("text_model", "saved_model"),
        "sha256": strings_sha256(base, head, work.data.labels, identity),
        "input": InputContract(TEXT, (1,), dtype="string", kind="text", colour="", resize="", high=0.0),
        "facts": {},
    }


def _save_cut(work: _Work, base: TextBase, cut: Cut, head: Any) -> dict[str, Any]:
    scratch, labels = work.scratch, work.data.labels
    output = work.answer.output
    save_ids_model(cut, head, scratch / "saved_model", output)
    ids_model = open_ids_model(scratch / "saved_model", output)
    samples = work.samples(CHECKED_SAMPLES)
    arrays = tokenize(cut, samples)
    size = work.answer.size
    strings = run_texts(scratch / "text_model", samples, output) / size
    difference = compare(strings, ids_model(*arrays) / size, "the string model and the ids model")
    device = open_tokenizer(cut.tokenizer)
    encoded = device_arrays(device, samples)
    same = [
        all(np.array_equal(e[at], a[at]) for e, a in zip(encoded, arrays, strict=True)) for at in range(len(samples))
    ]
    if not any(same):
        raise StageError(
            f"the device tokenizer gives other ids than the model's own on all of {len(samples)} training texts",
            "please report this with the recipe and a text",
        )
    sha256, kind = tokenizer_sha256(cut.tokenizer), str(read_settings(cut.tokenizer)["kind"])
    tests = work.texts("test")
    parity = work.timed("parity", lambda: measure_parity(cut.tokenizer, tests, work.listener, cut.tokenize))
    facts: dict[str, Any] = {"freeze_difference": difference}
    if parity["rate"] < ENOUGH and cut.string_part is not None and kind != OWN_OPERATORS:
        why = f"the best tokenizer for devices gives its ids for {parity['rate']:.1%} of the test texts"
        facts |= cut.string_part(cut.tokenizer, why)
        sha256, kind, device = tokenizer_sha256(cut.tokenizer), OWN_OPERATORS, open_tokenizer(cut.tokenizer)
        parity = work.timed("parity", lambda: measure_parity(cut.tokenizer, tests, work.listener, cut.tokenize))
    if kind == OWN_OPERATORS:
        work.listener.note(
            "warning",
            f"model {work.spec.name!r}: no tokenizer for devices gives its token ids. Its files are made and measured "
            "with ids from its own operators, which need TensorFlow; an app has to compute these ids itself "
            f"({', '.join(cut.names)}: golden.json lists the expected ones)",
        )
    _golden(work, device, ids_model)
    length = cut.inputs[0].length
    return {
        "sha256": ids_sha256(scratch / "saved_model", labels, sha256),
        "saved_model": work.place("saved_model"),
        "text_model": work.place("text_model"),
        "input": InputContract(
            IDS, (1, length), dtype="int32", high=float(device.size - 1), colour="", resize="", kind="text",
            lengths=LENGTHS if cut.inputs[0].lengths else "",
        ),
        "tokenizer": TokenizerRecord(work.place("tokenizer"), kind, length, sha256, parity),
        "facts": facts,
    }  # fmt: skip


def _golden(work: _Work, device: Any, ids_model: Callable[..., NDArray[Any]]) -> None:
    """Write the golden vectors: texts, their ids from the device tokenizer, and the ids model's answers."""
    texts = work.texts("test") or work.texts("train")
    chosen = [texts[index] for index in choose_golden(texts)]
    answers = ids_model(*device_arrays(device, chosen))
    write_golden(work.scratch / "tokenizer", chosen, answers, work.data.labels, work.answer.output)


def device_arrays(device: Tokenizer, texts: Sequence[str]) -> list[NDArray[Any]]:
    """Return the device tokenizer's output for `texts`: an array (n, …) int32 for each of the model's inputs."""
    encoded = encode_texts(device, texts)
    return [encoded[name] for name in encoded.dtype.names or ()]

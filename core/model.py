"""A model: one frozen inference SavedModel, its labels and its input contract. Export reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .bounds import Count, Finite, Seconds, Shape
from .codec import from_json, read_json, sha256_file, sha256_of, to_json, write_json
from .dataset import Kind
from .errors import InputError
from .files import plain_files

SIGNATURE = "serving_default"  # of every SavedModel and file that is made here


def plain_name(tensor: str) -> str:
    """Return a tensor's name without what TensorFlow's converter wraps it in: ``serving_default_image:0`` is image."""
    return tensor.removeprefix(f"{SIGNATURE}_").removesuffix(":0")


def sample_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one sample for an input of `shape`: what follows the batch of 1, or all of it where there is
    no such batch, as of a waveform (16000,).
    """
    return tuple(shape[1:]) if shape and shape[0] in (1, -1) else tuple(shape)


@dataclass(frozen=True)
class InputContract:
    """What a caller feeds: a tensor `name` of `shape` and `dtype`, and for token ids a second one.

    ``image``: shape (batch, height, width, channels); pixels of 0–255 are mapped linearly onto [`low`, `high`].
    `resize` says how pictures of other sizes were brought to this one in training (and must be in the app):
    ``stretch`` (both sides scaled), ``crop`` (shorter side scaled, centre cut out), ``pad`` (longer side scaled,
    black borders). Interpolation is bilinear with antialiasing, as Pillow does it.

    ``text``: with dtype ``string`` the text itself, shape (batch,). Otherwise token ids (batch, length) int32, padded
    behind, and `lengths`, the name of a second input (batch,) int32 that says how many of them are real; `low` and
    `high` bound the ids. The model's tokenizer makes both.

    ``tensor``: values as the model takes them, of any shape (batch, …), or of one without a batch (see `sample_shape`).
    """

    name: str
    shape: Shape
    dtype: str = "float32"
    low: Finite = 0.0
    high: Finite = 255.0
    colour: str = "RGB"
    resize: str = "stretch"
    kind: Kind = "image"
    lengths: str = ""

    @property
    def scale(self) -> tuple[float, float]:
        """Factor and offset from samples as they are stored, pixels of 0–255, to the values that the model takes."""
        if self.kind != "image" or (self.low, self.high) == (0.0, 255.0):
            return 1.0, 0.0
        return (self.high - self.low) / 255.0, self.low

    @property
    def batchless(self) -> bool:
        """Whether the tensor is one sample, without a batch of 1 before it (see `sample_shape`)."""
        return self.kind == "tensor" and sample_shape(self.shape) == self.shape

    @property
    def height(self) -> int:
        """Pixels."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.shape[2]


@dataclass(frozen=True)
class TokenizerRecord:
    """The tokenizer that a text model's files need, as `core.tokenizer` reads it.

    `folder` holds ``tokenizer.json``, the vocabulary or SentencePiece model, and ``golden.json`` (texts with their
    ids and the float model's probabilities). `length` is the number of ids a file takes. `sha256` is over the folder
    without the golden vectors. `parity` says how often its ids equal those of the reference inside the string model:
    ``samples``, ``same``, ``examples`` [{``text``, ``reference``, ``device``}], ``truncated``.
    """

    folder: Path
    kind: str
    length: Count
    sha256: str
    parity: dict[str, Any] = field(default_factory=dict)


def tokenizer_sha256(folder: Path) -> str:
    """Return the hash of what a tokenizer's ids depend on: the folder's files but golden vectors and reference code."""
    files = sorted(part for part in folder.iterdir() if part.name not in ("golden.json", "tokenizer.py"))
    return sha256_of({part.name: sha256_file(part) for part in files if part.name != "__pycache__"})


@dataclass(frozen=True)
class Model:
    """A trained network, frozen: what every file is made from."""

    name: str
    """Names its rows and files."""
    backbone: str
    """What it started from, as the recipe names it."""
    saved_model: Path
    """A SavedModel with one signature ``serving_default``. The output called `answer` has shape (1, number of labels);
    a model from elsewhere may have others beside it."""
    sha256: str
    """Over the frozen graph's nodes and the labels: a SavedModel's bytes differ from one writing to the next."""
    labels: tuple[str, ...]
    """The classes, in the order of the output; empty where they are not known."""
    input: InputContract
    """What the input is. A text model's is token ids, or strings where it could not be cut at its token ids."""
    train_seconds: Seconds
    """What training took."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Those of training; they never stand for the test split."""
    history: list[dict[str, float]] = field(default_factory=list)
    """A row an epoch: ``phase``, ``epoch``, losses and metrics."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What it was made from."""
    answer: str = "probabilities"
    """The output that is judged."""
    text_model: Path | None = None
    """Of a text model: the same network behind the original tokenizer, with an input ``text`` (1,) string. It is the
    reference that everything is compared with."""
    tokenizer: TokenizerRecord | None = None
    """Of a text model: what makes the token ids; None where it could not be cut at its token ids."""
    network: Path | None = None
    """The folder of what it was frozen from, for further training; None: there can be none."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """What further training it went through: ``kind`` (qat, pruned, clustered), ``of`` (the float model's sha256), and
    what came of it. Its files belong to that float model, whose name it has."""


def save_model(model: Model, folder: Path) -> None:
    """Write ``model.json`` into `folder`, where the parts stand under their fields' names (``saved_model/``, …).

    It has the hashes of their files too, for `check_model`.
    """
    write_json(folder / "model.json", to_json(_in(model, Path())) | {"files": _hashes(folder)})


def load_model(folder: Path) -> Model:
    """Read what `save_model` wrote. Raises InputError when there is no model there."""
    return _in(from_json(Model, read_json(folder / "model.json"), str(folder / "model.json")), folder)


def check_model(folder: Path) -> None:
    """Raise InputError unless the files of the model in `folder` are those that `save_model` found there.

    Its hash does not tell: it is of the graph, whose bytes differ from one writing to the next.
    """
    saved = read_json(folder / "model.json")
    expected = saved.get("files") if isinstance(saved, dict) else None
    if not isinstance(expected, dict):  # of an earlier version
        return
    found = _hashes(folder)
    if wrong := sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name)):
        raise InputError(
            f"the model in {folder} is damaged: {wrong[0]} is not what it was when the model was made",
            "make it anew: the same command that made it replaces what is damaged; or copy the folder again",
        )


def _hashes(folder: Path) -> dict[str, str]:
    paths = [path for part in ("saved_model", "text_model", "tokenizer") for path in plain_files(folder / part)]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}


def _in(model: Model, folder: Path) -> Model:
    """Return `model` with its parts where they stand in `folder`, whatever it said before."""
    tokenizer = model.tokenizer
    return replace(
        model,
        saved_model=folder / "saved_model",
        text_model=folder / "text_model" if model.text_model else None,
        network=folder / "network" if model.network else None,
        tokenizer=replace(tokenizer, folder=folder / "tokenizer") if tokenizer else None,
    )

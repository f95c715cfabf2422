"""A model: one frozen inference SavedModel, its labels and its input contract. Export reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from .bounds import LATER, Count, Finite, Seconds, Shape
from .codec import from_json, read_json, sha256_file, sha256_of, to_json, write_json
from .dataset import Kind
from .errors import InputError
from .files import plain_files
from .picture_size import layout_of, sides_of, size_of

SIGNATURE = "serving_default"  # of every SavedModel and file that is made here
VALUES = "values"  # the output of models that are trained here to answer with numbers


def plain_name(tensor: str) -> str:
    """Return a tensor's name without what TensorFlow's converter wraps it in: ``serving_default_image:0`` is image."""
    return tensor.removeprefix(f"{SIGNATURE}_").removesuffix(":0")


def pixel_scale(low: float, high: float) -> tuple[float, float]:
    """Return factor and offset that map pixels of 0–255 to [`low`, `high`]; (1, 0) for 0–255 itself."""
    return (high - low) / 255.0, low


def sample_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one sample for an input of `shape`: without the batch dimension (1 or -1), if it has one.

    A waveform's input (16000,) has none.
    """
    return tuple(shape[1:]) if shape and shape[0] in (1, -1) else tuple(shape)


@dataclass(frozen=True)
class InputContract:
    """The input that a model expects: a tensor `name` of `shape` and `dtype`, and for token ids a second one.

    ``image``: shape (batch, height, width, channels), or (batch, channels, height, width): `layout` tells. Pixels of
    0–255 are mapped linearly to [`low`, `high`]. `colour` is RGB, BGR, ``grey`` (1 channel, ITU-R 601 luma) or RGBA.
    `mean` and `std` are those of each channel, in the file's order, which takes (value - mean) / std; none: as it is.
    `resize` is how images of other sizes were resized in training (and must be in the app): ``stretch`` (both sides
    scaled), ``crop`` (scaled until they cover the input, centre cropped), ``pad`` (scaled until they fit into it,
    black borders). Interpolation is bilinear with antialiasing, as in Pillow.

    ``text``: with dtype ``string`` the text itself, shape (batch,). Otherwise token ids (batch, length) int32, padded
    at the end, and `lengths`, the name of a second input (batch,) int32 with the number of ids that are not padding;
    `low` and `high` bound the ids. The model's tokenizer computes both.

    ``tensor``: values as the model takes them, of any shape (batch, …), or without a batch (see `sample_shape`).
    `columns` are the names of those of the table that it was trained on, in the order of the last axis; empty: unknown.
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
    mean: Annotated[tuple[Finite, ...], LATER] = ()
    std: Annotated[tuple[Finite, ...], LATER] = ()
    columns: Annotated[tuple[str, ...], LATER] = ()

    def __post_init__(self) -> None:
        """Raise InputError unless mean and std have a number for each channel of a picture."""
        wrong = [one for one in (self.mean, self.std) if one and (len(self.shape) != 4 or len(one) != self.channels)]
        if wrong or not all(number > 0 for number in self.std):
            raise InputError(
                f"mean {self.mean} and std {self.std} are not those of the channels of {self.shape}",
                "give one number for each channel; a std is above 0",
            )

    @property
    def by_channel(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Step and low of each channel: a pixel becomes pixel × step + low. None: the same for all, see `scale`."""
        if not self.mean and not self.std:
            return None
        step, low = self.scale
        mean, std = self.mean or (0.0,) * self.channels, self.std or (1.0,) * self.channels
        return tuple(step / s for s in std), tuple((low - m) / s for m, s in zip(mean, std, strict=True))

    @property
    def scale(self) -> tuple[float, float]:
        """Factor and offset from samples as they are stored, pixels of 0–255, to the values that the model takes."""
        return pixel_scale(self.low, self.high) if self.kind == "image" else (1.0, 0.0)

    @property
    def batchless(self) -> bool:
        """Whether the tensor has no batch dimension (see `sample_shape`)."""
        return self.kind == "tensor" and sample_shape(self.shape) == self.shape

    @property
    def height(self) -> int:
        """Pixels."""
        return sides_of(self.shape)[0]

    @property
    def width(self) -> int:
        """Pixels."""
        return sides_of(self.shape)[1]

    @property
    def channels(self) -> int:
        """1 (grey), 3 or 4."""
        return sides_of(self.shape)[2]

    @property
    def size(self) -> int | tuple[int, int, int]:
        """The size of its pictures, as `picture_size.Size`."""
        return size_of(*sides_of(self.shape))

    @property
    def layout(self) -> str:
        """Where the channels of its pictures are: ``NHWC``, or ``NCHW`` as in most ONNX files."""
        return layout_of(self.shape)


@dataclass(frozen=True)
class TokenizerRecord:
    """The tokenizer of a text model's files, in the format of `core.tokenizer`.

    `folder` holds ``tokenizer.json``, the vocabulary or SentencePiece model, and ``golden.json`` (texts with their
    ids and the float model's probabilities). `length` is the number of ids that a file takes. `sha256` is over the
    folder without the golden vectors. `parity` counts how often its ids equal those of the string model's tokenizer:
    ``samples``, ``same``, ``examples`` [{``text``, ``reference``, ``device``}], ``truncated``.
    """

    folder: Path
    kind: str
    length: Count
    sha256: str
    parity: dict[str, Any] = field(default_factory=dict)


def tokenizer_sha256(folder: Path) -> str:
    """Return the hash of a tokenizer's folder, without golden vectors and reference code: what the ids depend on."""
    files = sorted(part for part in folder.iterdir() if part.name not in ("golden.json", "tokenizer.py"))
    return sha256_of({part.name: sha256_file(part) for part in files if part.name != "__pycache__"})


@dataclass(frozen=True)
class Model:
    """A frozen trained network, from which every file is made."""

    name: str
    """Names its rows and files."""
    backbone: str
    """The backbone, as the recipe names it."""
    saved_model: Path
    """A SavedModel with one signature ``serving_default``. The output called `answer` has shape (1, number of labels);
    an external model may have other outputs too."""
    sha256: str
    """Hash of the frozen graph's nodes and the labels. (A SavedModel's bytes differ each time it is written.)"""
    labels: tuple[str, ...]
    """The classes, in the order of the output; empty if unknown."""
    input: InputContract
    """The input. A text model takes token ids, or strings if it could not be divided behind its tokenizer."""
    train_seconds: Seconds
    """Training time."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics of training and validation, never of the test split."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per epoch: ``phase``, ``epoch``, losses and metrics."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Sources, versions and settings that it was made from."""
    answer: str = "probabilities"
    """The output that is evaluated."""
    text_model: Path | None = None
    """Text models: the same network behind the original tokenizer, with an input ``text`` (1,) string. It is the
    reference of every comparison."""
    tokenizer: TokenizerRecord | None = None
    """Text models: the tokenizer; None if the model could not be divided behind its own."""
    network: Path | None = None
    """The folder of the unfrozen network, for further training; None if that is not possible."""
    tuning: dict[str, Any] = field(default_factory=dict)
    """Further training: ``kind`` (qat, pruned, clustered), ``of`` (the float model's sha256), and its results. The
    files belong to that float model, and have its name."""

    @property
    def task(self) -> str:
        """The task other than classification that it was trained for here; empty: classification, or not known."""
        name = str(self.provenance.get("task") or "")
        return "" if name == "classification" else name


def save_model(model: Model, folder: Path) -> None:
    """Write ``model.json`` into `folder`, which holds the parts under their fields' names (``saved_model/``, …).

    It includes the hashes of the parts' files, for `check_model`.
    """
    write_json(folder / "model.json", to_json(_relocated(model, Path())) | {"files": _hashes(folder)})


def load_model(folder: Path) -> Model:
    """Read what `save_model` wrote. Raises InputError when `folder` holds no model."""
    return _relocated(from_json(Model, read_json(folder / "model.json"), str(folder / "model.json")), folder)


def check_model(folder: Path) -> None:
    """Raise InputError if a file of the model in `folder` has changed since `save_model`.

    `Model.sha256` cannot show this: it covers the graph, not the files' bytes.
    """
    saved = read_json(folder / "model.json")
    expected = saved.get("files") if isinstance(saved, dict) else None
    if not isinstance(expected, dict):  # written by an earlier version
        return
    actual = _hashes(folder)
    if wrong := sorted(name for name in {*expected, *actual} if expected.get(name) != actual.get(name)):
        raise InputError(
            f"the model in {folder} is damaged: {wrong[0]} has changed since the model was made",
            "run the command that made it again: it replaces what is damaged; or copy the folder again",
        )


def _hashes(folder: Path) -> dict[str, str]:
    paths = [path for part in ("saved_model", "text_model", "tokenizer") for path in plain_files(folder / part)]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}


def _relocated(model: Model, folder: Path) -> Model:
    """Return `model` with the paths of its parts below `folder`."""
    tokenizer = model.tokenizer
    return replace(
        model,
        saved_model=folder / "saved_model",
        text_model=folder / "text_model" if model.text_model else None,
        network=folder / "network" if model.network else None,
        tokenizer=replace(tokenizer, folder=folder / "tokenizer") if tokenizer else None,
    )

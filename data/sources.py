"""The table of schemes that a recipe's ``data.source`` may begin with."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError
from ..core.recipe_data import Data
from ..core.sanitize import shorten
from .catalogs import KERAS, KerasSource, TfdsSource
from .classless import PicturesSource, without_classes
from .files import FolderSource
from .idx import IdxSource
from .listing import SampleKind, Source
from .packages import PackageSource
from .rows import Columns, split_columns
from .tables import Format, ImageTable, TextTable

_TFDS_NAME = re.compile(r"\w[\w:/.=,*+%-]*")
BUILTIN = Path(__file__).parent / "builtin"
BUILTIN_SETS = ("fashion-mnist-mini",)
# Sources that measure and calibrate, and what they hold; `run` does not train on them.
MEASURED = {
    "npy": "arrays, which have no classes and",
    "npz": "arrays or numbers, which",
    "parquet": "arrays or numbers, which",
    "wav": "sound, which",
    "masks": "pictures with maps of classes, which",
    "coco": "pictures with boxes, which",
}
# Keys of the recipe's data table that only apply to texts.
_TEXT_KEYS = ("text_column", "label_column", "encoding")


def kind_of(data: Data, folder: Path) -> SampleKind:
    """Return whether `data.source` holds images or texts. Raises nothing.

    A ``csv:`` holds texts when its header has the column data.text_column. If it has a column ``path`` too, it holds
    images, unless data.text_column was set. If the header decides nothing (it has neither column, or cannot be read),
    it holds texts when a key for texts was set, so that opening the source reports that key. Everything else (an
    unknown scheme, a missing file) counts as images; opening the source reports the problem.
    """
    scheme, _, rest = data.source.partition(":")
    if scheme not in SCHEMES:
        return "image"
    kinds = SCHEMES[scheme].kinds
    if len(kinds) == 1:
        return kinds[0]
    set_keys = {key for key in _TEXT_KEYS if getattr(data, key) != Data.model_fields[key].default}
    try:
        header = {cell.strip().casefold() for cell in split_columns(resolve_path(rest, folder), data.encoding)}
    except (InputError, ValueError, LookupError, csv.Error):
        header = set()
    has_text_column = data.text_column.strip().casefold() in header
    if "path" in header:
        return "text" if has_text_column and "text_column" in set_keys else "image"
    return "text" if has_text_column or set_keys else "image"


def open_source(text: str, data: Data, folder: Path, kind: SampleKind, *, classes: bool = True) -> Source:
    """Return the source of images or texts that `text` names. Relative paths start from `folder`.

    With `classes` false the samples may have none: a folder of files, a table without labels. Raises InputError for an
    unknown scheme or name, or one of the other kind. The source's own methods check that the data exist.
    """
    scheme, colon, rest = text.partition(":")
    numbers = data.features or data.window or (data.target and kind != "text")
    if colon and (scheme in MEASURED or numbers):
        held = MEASURED.get(scheme, MEASURED["npz"])
        raise InputError(
            f"data source {shorten(text, 200)!r} holds {held} cannot be trained on with this model",
            'train a network for numbers on them (backbone = "scratch:dense" or "scratch:conv1d"), or another model on '
            "images or texts with classes; others serve to calibrate (export --calibrate) and to compare a file with "
            "its float model or with their targets (evaluate --data)",
        )
    if not colon or scheme not in SCHEMES:
        close = get_close_matches(scheme, (*SCHEMES, *MEASURED), n=1)
        hint = f"did you mean {close[0]}:…? " if close else ""
        if not colon:
            hint = (
                f"for a folder of class folders write folder:{shorten(text)}, for images without classes "
                f"images:{shorten(text)}. "
            )
        raise InputError(
            f"data source {shorten(text, 200)!r} begins with no known scheme",
            f"{hint}Known: {', '.join(f'{name}:{row.what}' for name, row in SCHEMES.items())}; to measure and "
            f"calibrate also {', '.join(f'{name}:' for name in MEASURED)}",
        )
    row = SCHEMES[scheme]
    if kind not in row.kinds:
        alternatives = ", ".join(f"{name}:{other.what}" for name, other in SCHEMES.items() if kind in other.kinds)
        raise InputError(
            f"data source {shorten(text, 200)!r} holds {row.kinds[0]}s, and {kind}s are expected",
            f"write {alternatives}",
        )
    if not rest.strip():
        raise InputError(f"data source {text!r} names nothing", f"write {scheme}:{row.what}")
    if "\0" in rest:
        raise InputError("data source: the name holds a zero byte", f"write {scheme}:{row.what}")
    source = row.make(text, rest, data, folder, kind)
    return source if classes else without_classes(source)


def check_source(data: Data, folder: Path) -> None:
    """Raise InputError when the source's path does not exist, or its table lacks a column. Reads no samples."""
    kind = kind_of(data, folder)
    open_source(data.source, data, folder, kind)
    scheme, _, rest = data.source.partition(":")
    if SCHEMES[scheme].what not in ("PATH", "FILE"):
        return
    path = resolve_path(rest, folder)
    if not path.exists():
        raise InputError(
            f"data source {shorten(data.source, 200)!r}: {path} does not exist", _missing_path_remedy(path, folder)
        )
    if scheme not in ("csv", "tsv"):
        return
    try:
        header = split_columns(path, data.encoding, "," if scheme == "csv" else "\t")
    except (ValueError, LookupError, csv.Error) as error:
        raise InputError(f"{path}: its header cannot be read: {error}", "give its encoding with --encoding") from error
    columns = {cell.strip().casefold() for cell in header}
    required = ("path", "label") if kind == "image" else (data.text_column, data.target or data.label_column)
    texts = scheme == "tsv" or kind == "text" or "path" not in columns
    if missing := [name for name in required if name.strip().casefold() not in columns]:
        raise InputError(
            f"{path} has the columns {', '.join(shorten(cell, 40) for cell in header[:12])}, and none called "
            f"{' or '.join(('text' if texts and name == 'path' else name) for name in missing)}",
            "name the columns of the texts and the classes: --text-column NAME --label-column NAME"
            if texts
            else "a table of images needs the columns path and label",
        )


def _missing_path_remedy(path: Path, folder: Path) -> str:
    """Return the remedy for a path that does not exist."""
    if not folder.is_dir():
        return f"create the recipe's folder, {folder}, first: relative paths start from it"
    with suppress(OSError):
        close = get_close_matches(path.name, [sibling.name for sibling in path.parent.iterdir()], n=1)
        if close:
            return f"did you mean {shorten(close[0])!r}? Relative paths start from the recipe's folder"
    return "give a path that exists; relative paths start from the recipe's folder"


def resolve_path(path: str, folder: Path) -> Path:
    """Return a path of the recipe with ``~`` expanded; relative paths start from `folder`."""
    try:
        return folder / Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path!r}: {error}", "write the path out") from error


def _columns(data: Data) -> Columns:
    return Columns(data.text_column, data.target or data.label_column)


def _folder(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    return FolderSource(text, resolve_path(rest, folder), kind)


def _images(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    return PicturesSource(text, resolve_path(rest, folder))


def _csv(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    if kind == "text":
        return TextTable(text, resolve_path(rest, folder), "csv", _columns(data), data.encoding)
    return ImageTable(text, resolve_path(rest, folder), resolve_path(data.root, folder) if data.root else None)


def _table(format_: Format) -> Callable[[str, str, Data, Path, SampleKind], Source]:
    def make(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
        return TextTable(text, resolve_path(rest, folder), format_, _columns(data), data.encoding)

    return make


def _package(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    name, _, path = rest.partition("/")
    return PackageSource(text, name, path, _columns(data), data.encoding)


def _tfds(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    if not _TFDS_NAME.fullmatch(rest) or ".." in rest.split("/"):
        raise InputError(
            f"data source {shorten(text, 200)!r}: unknown name", "write tfds:NAME or tfds:NAME/CONFIG:VERSION"
        )
    return TfdsSource(text, rest, resolve_path(data.root, folder) if data.root else None)


def _keras(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    _check_name(text, rest, tuple(KERAS))
    return KerasSource(text, rest)


def _idx(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    return IdxSource(text, resolve_path(rest, folder), data.max_pixels)


def _builtin(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    _check_name(text, rest, BUILTIN_SETS)
    return IdxSource(text, BUILTIN / rest, data.max_pixels, by_content=True)


def _check_name(text: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"data source {shorten(text, 200)!r}: unknown name", f"{hint}Known: {', '.join(names)}")


class _Scheme(NamedTuple):
    """What follows the colon, the kinds of samples, and the function that makes the source."""

    what: str
    kinds: tuple[SampleKind, ...]
    make: Callable[[str, str, Data, Path, SampleKind], Source]


SCHEMES = {
    "folder": _Scheme("PATH", ("image",), _folder),
    "images": _Scheme("PATH", ("image",), _images),
    "csv": _Scheme("FILE", ("image", "text"), _csv),
    "idx": _Scheme("PATH", ("image",), _idx),
    "tfds": _Scheme("NAME", ("image",), _tfds),
    "keras": _Scheme("NAME", ("image",), _keras),
    "builtin": _Scheme("fashion-mnist-mini", ("image",), _builtin),
    "textfolder": _Scheme("PATH", ("text",), _folder),
    "tsv": _Scheme("FILE", ("text",), _table("tsv")),
    "jsonl": _Scheme("FILE", ("text",), _table("jsonl")),
    "package": _Scheme("DIST/PATH", ("text",), _package),
}

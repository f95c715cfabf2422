"""The schemes a recipe's ``data.source`` may begin with. What is supported is a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError
from ..core.recipe import Data
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
# Keys of the recipe's data table that say how texts are read.
_OF_TEXTS = ("text_column", "label_column", "encoding")


def kind_of(data: Data, folder: Path) -> SampleKind:
    """Return what the samples of `data.source` are.

    A ``csv:`` holds texts when its header has the column data.text_column; unless it has a column ``path`` too, which
    makes it a table of images, while data.text_column is left as it is (``text``). Where the header does not tell (it
    has neither, or cannot be read), it counts as texts if a key says how texts are read, so that opening the source
    names that key's mistake. What else cannot be looked at (an unknown scheme, a missing file) counts as images:
    opening the source says what is wrong. Raises nothing.
    """
    scheme, _, rest = data.source.partition(":")
    if scheme not in SCHEMES:
        return "image"
    kinds = SCHEMES[scheme].kinds
    if len(kinds) == 1:
        return kinds[0]
    chosen = {key for key in _OF_TEXTS if getattr(data, key) != Data.model_fields[key].default}
    try:
        header = {cell.strip().casefold() for cell in split_columns(at(rest, folder), data.encoding)}
    except (InputError, ValueError, LookupError, csv.Error):
        header = set()
    named = data.text_column.strip().casefold() in header
    if "path" in header:
        return "text" if named and "text_column" in chosen else "image"
    return "text" if named or chosen else "image"


def open_source(text: str, data: Data, folder: Path, kind: SampleKind, *, classes: bool = True) -> Source:
    """Return the source of images or texts that `text` names; relative paths are meant from `folder`.

    With `classes` false the samples may be without any: files beside each other, a table without labels.
    Raises InputError for an unknown scheme or name, or one of the other kind. Whether the data are there is said by the
    source's own verbs.
    """
    scheme, colon, rest = text.partition(":")
    if scheme == "npy" and colon:
        raise InputError(
            f"data source {shorten(text, 200)!r} holds arrays, which have no classes: nothing is trained on them",
            "train on pictures or texts with classes; arrays serve to calibrate with (export --calibrate) and to "
            "compare a file with its float model (evaluate --data)",
        )
    if not colon or scheme not in SCHEMES:
        close = get_close_matches(scheme, SCHEMES, n=1)
        hint = f"did you mean {close[0]}:…? " if close else ""
        if not colon:
            hint = (
                f"for a folder of class folders write folder:{shorten(text)}, for pictures without classes "
                f"images:{shorten(text)}. "
            )
        raise InputError(
            f"data source {shorten(text, 200)!r} begins with no known scheme",
            f"{hint}Known: {', '.join(f'{name}:{known.what}' for name, known in SCHEMES.items())}",
        )
    known = SCHEMES[scheme]
    if kind not in known.kinds:
        fitting = ", ".join(f"{name}:{other.what}" for name, other in SCHEMES.items() if kind in other.kinds)
        raise InputError(
            f"data source {shorten(text, 200)!r} holds {known.kinds[0]}s, and {kind}s are wanted", f"write {fitting}"
        )
    if not rest.strip():
        raise InputError(f"data source {text!r} names nothing", f"write {scheme}:{known.what}")
    if "\0" in rest:
        raise InputError("data source: the name holds a zero byte", f"write {scheme}:{known.what}")
    source = known.make(text, rest, data, folder, kind)
    return source if classes else without_classes(source)


def check_source(data: Data, folder: Path) -> None:
    """Raise InputError where a recipe with this source could not be run: nothing is there, or its columns are others.

    It looks at the path and at a table's header, and reads no samples.
    """
    kind = kind_of(data, folder)
    open_source(data.source, data, folder, kind)
    scheme, _, rest = data.source.partition(":")
    if SCHEMES[scheme].what not in ("PATH", "FILE"):
        return
    path = at(rest, folder)
    if not path.exists():
        raise InputError(f"data source {shorten(data.source, 200)!r}: {path} does not exist", _instead(path, folder))
    if scheme not in ("csv", "tsv"):
        return
    try:
        header = split_columns(path, data.encoding, "," if scheme == "csv" else "\t")
    except (ValueError, LookupError, csv.Error) as error:
        raise InputError(f"{path}: its header cannot be read: {error}", "say its --encoding") from error
    known = {cell.strip().casefold() for cell in header}
    wanted = ("path", "label") if kind == "image" else (data.text_column, data.label_column)
    texts = scheme == "tsv" or kind == "text" or "path" not in known
    if missing := [name for name in wanted if name.strip().casefold() not in known]:
        raise InputError(
            f"{path} has the columns {', '.join(shorten(cell, 40) for cell in header[:12])}, and none called "
            f"{' or '.join(('text' if texts and name == 'path' else name) for name in missing)}",
            "say which column holds the texts and which the classes: --text-column NAME --label-column NAME"
            if texts
            else "a table of images has the columns path and label",
        )


def _instead(path: Path, folder: Path) -> str:
    """Return what to do about a path that is not there."""
    if not folder.is_dir():
        return f"make the recipe's folder, {folder}, first: relative paths are meant from it"
    with suppress(OSError):
        close = get_close_matches(path.name, [beside.name for beside in path.parent.iterdir()], n=1)
        if close:
            return f"did you mean {shorten(close[0])!r}? Relative paths are meant from the recipe's folder"
    return "give a path that is there; relative ones are meant from the recipe's folder"


def at(path: str, folder: Path) -> Path:
    """Return a path of the recipe: ``~`` expanded, relative ones from `folder`."""
    try:
        return folder / Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path!r}: {error}", "write the path out") from error


def _columns(data: Data) -> Columns:
    return Columns(data.text_column, data.label_column)


def _folder(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    return FolderSource(text, at(rest, folder), kind)


def _images(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    return PicturesSource(text, at(rest, folder))


def _csv(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    if kind == "text":
        return TextTable(text, at(rest, folder), "csv", _columns(data), data.encoding)
    return ImageTable(text, at(rest, folder), at(data.root, folder) if data.root else None)


def _table(format_: Format) -> Callable[[str, str, Data, Path, SampleKind], Source]:
    def make(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
        return TextTable(text, at(rest, folder), format_, _columns(data), data.encoding)

    return make


def _package(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    name, _, path = rest.partition("/")
    return PackageSource(text, name, path, _columns(data), data.encoding)


def _tfds(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    if not _TFDS_NAME.fullmatch(rest) or ".." in rest.split("/"):
        raise InputError(
            f"data source {shorten(text, 200)!r}: unknown name", "write tfds:NAME or tfds:NAME/CONFIG:VERSION"
        )
    return TfdsSource(text, rest, at(data.root, folder) if data.root else None)


def _keras(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    _known(text, rest, tuple(KERAS))
    return KerasSource(text, rest)


def _idx(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    return IdxSource(text, at(rest, folder), data.max_pixels)


def _builtin(text: str, rest: str, data: Data, folder: Path, kind: SampleKind) -> Source:
    _known(text, rest, BUILTIN_SETS)
    return IdxSource(text, BUILTIN / rest, data.max_pixels, by_content=True)


def _known(text: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"data source {shorten(text, 200)!r}: unknown name", f"{hint}Known: {', '.join(names)}")


class _Scheme(NamedTuple):
    """What follows the colon, what the samples may be, and who reads them."""

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

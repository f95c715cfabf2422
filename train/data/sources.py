"""The schemes a recipe's ``data.source`` may begin with. What is supported is a table."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from ...core.errors import InputError
from ...core.names import shorten
from ...core.recipe import Data
from .catalogs import KERAS, KerasSource, TfdsSource
from .files import CsvSource, FolderSource
from .idx import IdxSource
from .listing import Source

BUILTIN = Path(__file__).parent / "builtin"
BUILTIN_SETS = ("fashion-mnist-mini",)


def open_source(text: str, data: Data, folder: Path) -> Source:
    """Return the source that `text` names; relative paths are meant from `folder`.

    Raises InputError for an unknown scheme or name. Whether the data are there is said by the source's own verbs.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        close = get_close_matches(scheme, SCHEMES, n=1)
        hint = f"did you mean {close[0]}:…? " if close else ""
        if not colon:
            hint = f"for a folder of class folders write folder:{shorten(text)}. "
        raise InputError(
            f"data source {shorten(text, 200)!r} begins with no known scheme",
            f"{hint}Known: {', '.join(f'{name}:{what}' for name, (what, _) in SCHEMES.items())}",
        )
    what, make = SCHEMES[scheme]
    if not rest.strip():
        raise InputError(f"data source {text!r} names nothing", f"write {scheme}:{what}")
    if "\0" in rest:
        raise InputError("data source: the name holds a zero byte", f"write {scheme}:{what}")
    return make(text, rest, data, folder)


def at(path: str, folder: Path) -> Path:
    """Return a path of the recipe: ``~`` expanded, relative ones from `folder`."""
    try:
        return folder / Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path!r}: {error}", "write the path out") from error


def _folder(text: str, rest: str, data: Data, folder: Path) -> Source:
    return FolderSource(text, at(rest, folder))


def _csv(text: str, rest: str, data: Data, folder: Path) -> Source:
    return CsvSource(text, at(rest, folder), at(data.root, folder) if data.root else None)


def _tfds(text: str, rest: str, data: Data, folder: Path) -> Source:
    return TfdsSource(text, rest, at(data.root, folder) if data.root else None)


def _keras(text: str, rest: str, data: Data, folder: Path) -> Source:
    _known(text, rest, tuple(KERAS))
    return KerasSource(text, rest)


def _idx(text: str, rest: str, data: Data, folder: Path) -> Source:
    return IdxSource(text, at(rest, folder), data.max_pixels)


def _builtin(text: str, rest: str, data: Data, folder: Path) -> Source:
    _known(text, rest, BUILTIN_SETS)
    return IdxSource(text, BUILTIN / rest, data.max_pixels, by_content=True)


def _known(text: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"data source {shorten(text, 200)!r}: unknown name", f"{hint}Known: {', '.join(names)}")


SCHEMES: dict[str, tuple[str, Callable[[str, str, Data, Path], Source]]] = {
    "folder": ("PATH", _folder),
    "csv": ("FILE", _csv),
    "idx": ("PATH", _idx),
    "tfds": ("NAME", _tfds),
    "keras": ("NAME", _keras),
    "builtin": ("fashion-mnist-mini", _builtin),
}

"""Nouns to JSON and back, checked: a file that somebody edited by hand is told what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from .documents import MAX_JSON_BYTES, check_bounds, encode_json, parse_json, read_text
from .errors import InputError, explain_disk_errors
from .files import move

T = TypeVar("T")

_MEND = "copy it again from where it was made, or make it anew; it is not meant to be edited"

# What pydantic says of Python's types, in the words of JSON.
_IN_JSON = dict.fromkeys(("model_type", "dict_type", "dataclass_type"), "Input should be an object")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a dataclass; building one takes milliseconds, so each is built once."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_json(noun: Any) -> Any:
    """Return a dataclass as plain dictionaries, lists, strings and numbers; paths as POSIX strings."""
    return _adapter(type(noun)).dump_python(noun, mode="json")


def from_json(kind: type[T], data: Any, where: str = "data") -> T:
    """Build a `kind` from what `to_json` gave. Raises InputError naming `where` when the data does not fit.

    Nothing is converted: a number in quotes is none, and every figure lies within what its noun allows.
    """
    check_bounds(data, where)
    try:
        noun: T = _adapter(kind).validate_json(json.dumps(data), strict=True)
        return noun
    except InputError as error:  # what a noun itself refuses
        raise InputError(f"{where}: {error.message}", error.remedy) from error
    except ValidationError as error:
        expected = f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
        raise InputError(f"{where} does not describe {expected}: {explain(error)}", _MEND) from error


def check(noun: Any, where: str) -> None:
    """Check a noun that was built from what a file says as its record is. Raises InputError."""
    from_json(type(noun), to_json(noun), where)


def explain(error: ValidationError) -> str:
    """Return where the first mistake is, what was expected and what stands there."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    found = json.dumps(first["input"], default=str)
    message = _IN_JSON.get(first["type"], first["msg"])
    return f"{place}: {message} (found {found if len(found) <= 80 else found[:79] + '…'})"


def canonical(data: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal data give equal text, so that it can be hashed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def sha256_of(data: Any) -> str:
    """Return the hex SHA-256 of `data`'s canonical JSON."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes, or of a folder's files with their relative names."""
    digest = hashlib.sha256()
    for part in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        if part is not path:
            digest.update(part.relative_to(path).as_posix().encode() + b"\0")
        with part.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Write `text` so that a reader, a crash or a power failure leaves the old file or the new, never half of one.

    What is soon written again need not be `durable`: that takes a tenth of the time, and a power failure may leave an
    empty file.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            Path(temporary).chmod(0o644)
            move(Path(temporary), path, root=path.parent, durable=durable)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Write `data` as indented strict JSON, atomically (see `write_atomic`)."""
    write_atomic(path, encode_json(data, indent=2) + "\n", durable=durable)


def read_json(path: Path) -> Any:
    """Read a file of strict JSON. Raises InputError when it is missing, none, or exceeds the bounds of `documents`."""
    try:
        text = read_text(path, MAX_JSON_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", _MEND) from error
    return parse_json(text, str(path), _MEND)

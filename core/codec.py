"""Converts dataclasses to JSON and back, with validation; hashes and atomic writing of files."""

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

_REMEDY = "copy it again from where it was made, or make it again; do not edit it"

# Pydantic's messages about Python types, in JSON's terms.
_IN_JSON = dict.fromkeys(("model_type", "dict_type", "dataclass_type"), "Input should be an object")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a dataclass. Building one takes milliseconds, so each is built once."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_json(record: Any) -> Any:
    """Return a dataclass as plain dictionaries, lists, strings and numbers; paths become POSIX strings."""
    return _adapter(type(record)).dump_python(record, mode="json")


def from_json(kind: type[T], data: Any, where: str = "data") -> T:
    """Build a `kind` from the output of `to_json`. Raises InputError naming `where` when the data does not fit.

    Validation is strict: a number in quotes is refused, and every figure must be within the bounds of its field.
    """
    check_bounds(data, where)
    try:
        record: T = _adapter(kind).validate_json(json.dumps(data), strict=True)
        return record
    except InputError as error:  # raised by the dataclass itself
        raise InputError(f"{where}: {error.message}", error.remedy) from error
    except ValidationError as error:
        expected = f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
        raise InputError(f"{where} does not describe {expected}: {explain(error)}", _REMEDY) from error


def check(record: Any, where: str) -> None:
    """Validate a dataclass that was built from a file's content. Raises InputError."""
    from_json(type(record), to_json(record), where)


def explain(error: ValidationError) -> str:
    """Return the first error: where it is, what was expected and what was found."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the document"
    value = json.dumps(first["input"], default=str)
    message = _IN_JSON.get(first["type"], first["msg"])
    return f"{place}: {message} (found {value if len(value) <= 80 else value[:79] + '…'})"


def canonical(data: Any) -> str:
    """Return JSON with sorted keys and no spaces, for hashing: equal data give equal text."""
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


def write_atomic(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write `content` atomically: a reader, or a crash or power failure, gets the old file or the new one, not a part.

    Text is written as UTF-8. Without `durable` it takes a tenth of the time, but a power failure may leave an empty
    file: for files that are soon written again.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
            Path(temporary).chmod(0o644)
            move(Path(temporary), path, root=path.parent, durable=durable)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Write `data` as indented strict JSON, atomically (see `write_atomic`)."""
    write_atomic(path, encode_json(data, indent=2) + "\n", durable=durable)


def read_json(path: Path) -> Any:
    """Read a file of strict JSON. Raises InputError if it is missing, invalid, or exceeds the bounds of `documents`."""
    try:
        text = read_text(path, MAX_JSON_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", _REMEDY) from error
    return parse_json(text, str(path), _REMEDY)

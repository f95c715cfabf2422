"""What a page may answer: every reply is checked before anything is done with it, as in `remote/replies.py`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ...core.artifact import Status
from ...core.documents import parse_json
from ...core.errors import InputError
from ...core.sanitize import shorten
from ..remote.replies import REASON_LIMIT, Count, Number, Reply, ReplyError, Report, Runs, Text

DType = Literal[
    "float32", "float64", "float16", "int64", "uint64", "int32", "uint32", "int16", "uint16", "int8", "uint8", "bool"
]


class Battery(Reply):
    """The charge, and whether it is being charged."""

    percent: Annotated[float, Field(ge=0, le=100)]
    charging: bool = False


class Adapter(Reply):
    """The GPU that WebGPU finds; `fallback`: the browser says that a processor emulates it."""

    name: Text = ""
    fallback: bool = False

    @property
    def software(self) -> bool:
        """Whether a processor emulates it."""
        return self.fallback or "swiftshader" in self.name.lower() or "llvmpipe" in self.name.lower()


class AboutPage(Reply):
    """What a page says of its browser and its device."""

    agent: Text
    platform: Text = ""
    model: Text = ""
    cores: Annotated[int, Field(ge=1, le=4096)]
    memory_gb: Annotated[float, Field(ge=0, le=1e6)] | None = None
    isolated: bool
    secure: bool
    battery: Battery | None = None
    adapter: Adapter | None = None


class Imported(Reply):
    """The import of a runtime."""

    import_ms: Number
    import_memory_bytes: Count


class Edge(Reply):
    """An input or an output of a file; a size of -1 is not fixed."""

    name: Text
    dtype: DType
    shape: Annotated[list[Annotated[int, Field(ge=-1, le=2**31)]], Field(max_length=16)]


class Opened(Reply):
    """A file that is open. `whole`: the runtime says that the accelerator takes all of it."""

    inputs: Annotated[list[Edge], Field(min_length=1, max_length=1000)]
    outputs: Annotated[list[Edge], Field(min_length=1, max_length=1000)]
    load_ms: Number
    whole: bool


class Answers(Reply):
    """Answers, one after the other."""

    dtype: DType
    answers: str
    peak_memory_bytes: Count


class First(Answers):
    """The first two runs, and the answer to the second; `timer_us` is the step of the page's clock."""

    first_ms: Number
    run_ms: Number
    timer_us: Annotated[float, Field(gt=0, le=1e6)]


class Warm(Reply):
    """A warm-up; each burst is timed in groups of so many runs."""

    warmup_ms: Runs
    steady: bool
    runs_per_timing: Annotated[int, Field(ge=1, le=1_000_000)]


class Burst(Reply):
    """A burst of runs."""

    runs_ms: Runs


class State(Reply):
    """The state of a worker."""

    peak_memory_bytes: Count
    at: Number


class Nothing(Reply):
    """No data."""


Kind = TypeVar("Kind", bound=Reply)


class RefusedError(Exception):
    """The page answers that it did not work: the status and the reason, in the page's words."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def read_page_reply(answer: bytes, kind: type[Kind]) -> Kind:
    """Return the checked data of a reply. Raises ReplyError, and RefusedError where the page says that it failed."""
    try:
        report = Report.model_validate(parse_json(answer, "the reply"))
        if report.status != "ok":
            raise RefusedError(report.status, report.reason[:REASON_LIMIT])
        return kind.model_validate(report.data)
    except InputError as error:
        begins = shorten(answer[:80].decode("utf-8", "replace"), 60)
        raise ReplyError(f"{shorten(error.message, 200)}; it begins {begins!r}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ReplyError(f"the reply's {shorten(place, 80)} is not what it must be: {first['msg']}") from None


def read_about(content: bytes) -> AboutPage:
    """Return what a page says of itself. Raises ReplyError."""
    try:
        return AboutPage.model_validate(parse_json(content, "what the page says of itself"))
    except (InputError, ValidationError):
        raise ReplyError("what the page says of itself is not what it must be") from None


def numbers_of(reply: Answers, samples: int, *, maybe_none: bool = False) -> NDArray[Any]:
    """Return the answers of a reply: (samples, values). Raises ReplyError, of no values unless `maybe_none`."""
    try:
        content = base64.b64decode(reply.answers, validate=True)
    except (binascii.Error, ValueError):
        raise ReplyError("the reply's answers are not base64") from None
    dtype = np.dtype(reply.dtype).newbyteorder("<")
    if not (content or maybe_none) or len(content) % (dtype.itemsize * samples):
        raise ReplyError(f"the reply has {len(content)} bytes of {reply.dtype} for {samples} answers")
    return np.frombuffer(content, dtype).reshape(samples, len(content) // (dtype.itemsize * samples))

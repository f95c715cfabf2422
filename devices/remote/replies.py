"""What another device may answer: every reply is checked before anything is done with it.

A reply comes from a machine that may be damaged or hostile. Numbers are finite and within bounds, texts are on one line
and short, lists have the length that was asked for, and what is not named here is dropped.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ...core.artifact import Status
from ...core.documents import parse_json
from ...core.errors import InputError
from ...core.sanitize import shorten

REASON_LIMIT = 4000

Text = Annotated[str, AfterValidator(lambda text: shorten(text, 200))]
Number = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**60)]
Runs = Annotated[
    list[Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]], Field(min_length=1, max_length=1_000_000)
]
Times = list[Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]]


class Reply(BaseModel):
    """Data of a reply. What is not named is dropped, and no type is converted."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=(), strict=True)


class Report(Reply):
    """A reply: the status, the reason, and the data of the verb."""

    status: Status
    reason: str = ""
    data: dict[str, Any]


class Conditions(Reply):
    """`agent.machine.conditions`."""

    at: Number
    load: Number | None = None
    busy_s: Number | None = None
    steal_s: Number | None = None
    mhz: Number | None = None
    celsius: Annotated[float, Field(ge=-100, le=1000)] | None = None
    throttled: Count | None = None
    throttling_flags: Count | None = None


class About(Reply):
    """What a device says of itself: `agent.about.about`."""

    cpu: Text
    model: Text = ""
    architecture: Text
    cores: Annotated[int, Field(ge=1, le=4096)]
    memory_bytes: Count
    available_bytes: Count
    os: Text
    python: Text
    executable: Text = ""
    libc: Text = ""
    boot: Text = ""
    governor: Text = ""
    max_mhz: Number = 0.0
    battery_percent: Number | None = None
    clock: Number
    folder: Text
    writable: bool
    free_bytes: Count
    temporary: Text = ""
    conditions: Conditions
    hardware: list[Text] = Field([], max_length=20)
    packages: dict[Text, Text] = Field(max_length=1000)


class _Import(Reply):
    import_ms: Number
    import_memory_bytes: Count


class _Placement(Reply):
    delegated: Count
    operators: Count
    partitions: Count | None = None
    kept: dict[Text, Count] = Field({}, max_length=1000)
    adapter: Text = ""
    software: bool = False


class _Arena(Reply):
    bytes: Count
    activations: Count
    persistent: Count
    bits: Count = 64


class _Loaded(_Import):
    load_ms: Number
    first_ms: Number
    run_ms: Number
    peak_memory_bytes: Count
    finite: bool
    kernels: Text
    runtime_version: Text
    python: Text
    numpy: Text
    tokenizer_ms: Number | None = None
    placement: _Placement | None = None
    arena: _Arena | None = None


class _Answers(_Loaded):
    shape: Annotated[list[Count], Field(min_length=2, max_length=2)]
    answers: str


class _Opened(_Loaded):
    cores: list[Count] | None = None
    core_facts: list[Annotated[dict[Text, Count | Text], Field(max_length=20)]] = Field([], max_length=4096)


class _Warm(Reply):
    warmup_ms: Runs
    steady: bool


class _Burst(Reply):
    runs_ms: Runs
    tokenize_ms: Times | None = None
    infer_ms: Times | None = None
    set_ms: Times | None = None
    invoke_ms: Times | None = None
    get_ms: Times | None = None


class _State(Reply):
    peak_memory_bytes: Count
    conditions: Conditions


class _Shapes(Reply):
    inputs: list[list[int]]
    outputs: list[list[int]]
    bytes: Count


class _Operator(Reply):
    op: Text
    name: Text
    kernel: Text
    node: Count | None
    shapes: _Shapes | None
    us: Annotated[Times, Field(min_length=1)]


class _Profile(_Loaded):
    operators: list[_Operator]
    runs_ms: Runs
    engine: Text


class _There(Reply):
    there: list[Text]


class _Cleaned(Reply):
    files: Count
    bytes: Count


_OF_VERB: dict[str, type[Reply]] = {
    "about": About, "load": _Loaded, "infer": _Answers, "serve": _Import, "profile": _Profile, "have": _There,
    "put": Reply, "tree": Reply, "venv": Reply, "unpack": Reply, "clean": _Cleaned,
    "import": _Import, "open": _Opened, "warm": _Warm, "burst": _Burst, "state": _State,
}  # fmt: skip


class ReplyError(Exception):
    """A reply is not what a device may answer; the message says what is wrong with it."""


def read_reply(answer: bytes, request: dict[str, Any]) -> tuple[Status, str, dict[str, Any]]:
    """Return (status, reason, data) of the reply to a job or to a request of a server. Raises ReplyError."""
    try:
        report = Report.model_validate(parse_json(answer, "the reply"))
        if report.status != "ok":
            return report.status, report.reason[:REASON_LIMIT], {}
        reply = _OF_VERB[request.get("do") or request["verb"]].model_validate(report.data)
    except InputError as error:
        begins = shorten(answer[:80].decode("utf-8", "replace"), 60)
        raise ReplyError(f"{shorten(error.message, 200)}; it begins {begins!r}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ReplyError(f"the reply's {shorten(place, 80)} is not what it must be: {first['msg']}") from None
    if isinstance(reply, _Burst):
        lengths = {len(values) for values in reply.model_dump(exclude_none=True).values()}
        if lengths != {request["runs"]}:
            raise ReplyError(f"the reply has {sorted(lengths)} runs, {request['runs']} were asked for")
    data = reply.model_dump(exclude_unset=True)
    if "conditions" in data:
        data["conditions"] = {name: value for name, value in data["conditions"].items() if value is not None}
    return report.status, "", data


def answers_of(data: dict[str, Any], samples: int) -> NDArray[np.float32]:
    """Return the answers of the reply to ``infer``: (samples, values) float32. Raises ReplyError."""
    rows, values = data["shape"]
    try:
        content = base64.b64decode(data["answers"], validate=True)
    except (binascii.Error, ValueError):
        raise ReplyError("the reply's answers are not base64") from None
    if rows != samples or len(content) != 4 * rows * values:
        raise ReplyError(f"the reply has {len(content)} bytes for {rows} × {values} answers; {samples} were asked for")
    return np.frombuffer(content, "<f4").reshape(rows, values).astype(np.float32)

"""What a worker of a cluster does, called by name through Dask: says what it is, and answers samples.

Arguments and results are plain data. A worker keeps no files: what a task needs comes with it, by content hash.
"""

from __future__ import annotations

import io
import platform
import re
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...core.artifact import Artifact
from ...core.codec import canonical, from_json, sha256_file, sha256_of, to_json
from ...core.environment import cpu_name
from ...core.helpers import sha256 as hashed
from ...core.runner import Runner
from ...core.sanitize import checked_path
from ...core.store import package_versions, recorded_version
from ...core.target import Target
from .. import OpenDevices
from ..agent_program import program
from ..runtimes import installed_versions

_FLAGS = re.compile(r"^(?:flags|Features)\s*:\s*(.*)$", re.MULTILINE)
# A tree of files: for each name, relative to a folder, the SHA-256 of its bytes. A single file has the name "".
Tree = Mapping[str, str]


@cache
def arithmetic() -> dict[str, str]:
    """Return what the last digits of a result depend on, beside the versions of packages and runtimes."""
    try:
        flags = _FLAGS.search(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        flags = None
    return {
        "cpu": cpu_name(),
        "flags": hashed(flags[1].encode()) if flags else "",
        "system": f"{platform.machine()} {' '.join(platform.libc_ver())}",
        "numpy": np.__version__,
    }


def about() -> dict[str, Any]:
    """Return what this process is: host, version, what results depend on, and its runtimes."""
    return {
        "host": socket.gethostname(),
        "edgeproof": recorded_version("edgeproof"),
        "code": sha256_of(
            [hashed(program()), *(sha256_file(path) for path in sorted(Path(__file__).parent.glob("*.py")))]
        ),
        "arithmetic": dict(arithmetic()),
        "runtimes": installed_versions(),
    }


def version() -> tuple[str, str]:
    """Return the version, and a hash of the code of which two sides must have the same."""
    facts = about()
    return facts["edgeproof"], facts["code"]


def depends_on(runner: Runner) -> str:
    """Return what a runner's answers depend on beside the file and the samples."""
    return canonical({key: value for key, value in runner.identity().items() if key != "cores"})


def answer(job: dict[str, Any], *blobs: bytes) -> dict[str, Any]:
    """Run a file on samples; `blobs` are the files of the job, in the order of ``job["blobs"]``, their SHA-256.

    Returns ``outcome`` and the ``.npy`` of the answers; only ``different`` where this worker's answers could be others.
    """
    content = dict(zip(job["blobs"], blobs, strict=True))
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as name, OpenDevices() as devices:
        folder = Path(name)

        def put(sha256: str, path: Path) -> None:
            path.write_bytes(checked(content, sha256))

        artifact = placed(job, put, folder)
        runner = devices.open_runner(artifact, Target.parse(job["target"]), timeout_seconds=job["seconds"])
        if depends_on(runner) != job["depends_on"] or arithmetic() != job["arithmetic"]:
            return {"different": True}
        inputs, outputs = folder / f"inputs{job['suffix']}", folder / "outputs.npy"
        join([checked(content, sha256) for sha256 in job["pieces"]], inputs)
        outcome = runner.infer(inputs, outputs, job["start"], job["stop"])
        return {"outcome": to_json(outcome), "answers": outputs.read_bytes() if outcome.ok else b""}


def compute(job: dict[str, Any], *blobs: bytes) -> dict[str, Any]:
    """Return the result of a pure function of this package; `blobs` are as of `answer`.

    Only ``different`` where it could be another one here than on the machine that asks.
    """
    if package_versions(list(job["versions"])) != job["versions"] or arithmetic() != job["arithmetic"]:
        return {"different": True}
    content = dict(zip(job["blobs"], blobs, strict=True))
    return {"result": job["function"](job["job"], *(checked(content, sha256) for sha256 in job["order"]))}


def placed(job: Mapping[str, Any], put: Callable[[str, Path], None], folder: Path) -> Artifact:
    """Return the artifact of a job; `put` makes each of its files in a folder, given its hash and path."""
    artifact = from_json(Artifact, job["artifact"], "the artifact")
    path = _placed(job["file"], put, folder / f"file{job['file_suffix']}")
    tokenizer = _placed(job["tokenizer"], put, folder / "tokenizer")
    return replace(artifact, path=path, tokenizer=tokenizer)


def _placed(tree: Tree, put: Callable[[str, Path], None], place: Path) -> Path | None:
    for name, sha256 in tree.items():
        path = place / checked_path(name, "a file's name")
        path.parent.mkdir(parents=True, exist_ok=True)
        put(sha256, path)
    return place if tree else None


def checked(content: Mapping[str, bytes], sha256: str) -> bytes:
    """Return the bytes of that hash. Raises ValueError if they have another one."""
    blob = content[sha256]
    if hashed(blob) != sha256:
        raise ValueError(f"a file has arrived damaged: {sha256[:12]}")
    return blob


def join(pieces: Sequence[bytes], path: Path) -> None:
    """Write the pieces of a file of samples, each a whole file of its kind, as one."""
    if path.suffix != ".npy":
        path.write_bytes(b"".join(pieces))
        return
    with path.open("wb") as stream:
        np.save(stream, np.concatenate([np.load(io.BytesIO(piece), allow_pickle=False) for piece in pieces]))


def on_worker(function: Any, *arguments: Any) -> tuple[str, Any]:
    """Return this worker's address, and what a function of this module returns."""
    from distributed import get_worker

    return get_worker().address, function(*arguments)

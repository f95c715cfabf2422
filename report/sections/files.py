"""The exported files: size, calibration, tensors, operators and what each was made by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.artifact import Artifact
from ...core.formatting import seconds, size
from ...core.sanitize import shorten
from ...core.variant import SCHEMES
from ...evaluate.cells import artifact_name
from ..content import Content
from ..palette import scheme_colour
from ..reading import counted
from ..section import Section


@dataclass(frozen=True)
class FileRow:
    """One exported file. `share` is its size relative to the largest, in per cent."""

    name: str
    summary: str
    caution: str
    colour: str
    size: str
    bytes: str
    share: str
    path: str
    sha256: str
    min_runtime: str
    calibration: str
    compressed: str
    storage: tuple[tuple[str, str], ...]
    origin: str
    ops: tuple[str, ...]
    ops_summary: str
    io: tuple[str, ...]
    tokenizer: str


def files(content: Content) -> list[FileRow]:
    """Return the files that were made, in the run's order; the SavedModel has none of its own."""
    exported = [a for a in content.results.artifacts if a.status == "ok" and a.format != "savedmodel"]
    largest = max((a.bytes for a in exported), default=0) or 1
    return [_file(a, largest, content) for a in exported]


def _file(artifact: Artifact, largest: int, content: Content) -> FileRow:
    scheme = SCHEMES.get(artifact.format, {}).get(artifact.scheme)
    kinds, count = len(artifact.ops), sum(op.count for op in artifact.ops)
    calibration = artifact.calibration
    samples = calibration.get("samples", calibration.get("count"))
    tools = [shorten(artifact.made_by, 120)] if artifact.made_by else []
    return FileRow(
        name=artifact_name(artifact, content.several),
        summary=scheme.summary if scheme else "",
        caution=artifact.caution,
        colour=scheme_colour(artifact.scheme).name,
        size=size(artifact.bytes),
        bytes=f"{artifact.bytes:,} bytes",
        share=f"{100 * artifact.bytes / largest:.1f}",
        path=shorten(artifact.path.name, 100) if artifact.path else "",
        sha256=shorten(artifact.sha256, 80),
        min_runtime=shorten(artifact.min_runtime, 40) or "–",
        calibration=f"{samples} training {content.noun}s" if samples else "given" if calibration else "none",
        compressed=size(artifact.compressed_bytes) if artifact.compressed_bytes else "",
        storage=tuple(counted(artifact.storage)),
        origin=", ".join([*tools, *([f"in {seconds(artifact.seconds)}"] if artifact.seconds else [])]),
        ops=tuple(f"{shorten(op.name)} version {op.version}, {op.count}×" for op in artifact.ops),
        ops_summary=f"{count} operators of {kinds} kind{'s' if kinds > 1 else ''}" if kinds else "",
        io=tuple(
            shorten(
                f"{way} {spec.name}: {spec.dtype} {list(spec.shape)}"
                + (" (judged)" if len(artifact.outputs) > 1 and spec.name == artifact.answer else "")
                + (f", scale {spec.scale:.6g}, zero point {spec.zero_point}" if spec.scale is not None else ""),
                200,
            )
            for way, specs in (("input", artifact.inputs), ("output", artifact.outputs))
            for spec in specs
        ),
        tokenizer=_tokenizer_folder(artifact),
    )


def _tokenizer_folder(artifact: Artifact) -> str:
    """Return which folder must go with a file that takes token ids."""
    return f"{shorten(artifact.tokenizer.name, 80)}/" if artifact.tokenizer else ""


def _build(content: Content) -> dict[str, Any] | None:
    exported = files(content)
    return {"files": exported} if exported else None


SECTION = Section("files", "Files", _build, "files.html.j2")

"""One folder with everything that an app needs of an artifact, checked by checksums and golden vectors."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.artifact import Artifact
from ...core.codec import to_json
from ...core.errors import InputError, explain_disk_errors
from ...core.files import discard, move, plain_files, remove
from ...core.measurement import Measurement
from ...core.runtime import RUNTIMES
from ...core.sanitize import slug
from ...core.variant import SUFFIX
from ...tasks import Task
from ...tflite.writer import conform
from ..inspect import inspect
from ..tokenizer import copy_tokenizer
from . import closeness, micro
from .escape import TEMPLATES
from .golden_vectors import Golden, roles, write_golden
from .images import LABELS, is_picture_classifier, label_file, picture_consumers, with_metadata
from .limits import limits
from .reading import answer_kind, columns_of, noun_of, reading_of
from .readme import render_readme
from .snippets import can_be_written, render_apps, render_micro

SCHEMA = 1
SUMS = "SHA256SUMS"
# Proves the code for microcontrollers in a folder, with the bundle's golden.json, which has the limits of its answers.
ProveMicro = Callable[[Path, Mapping[str, Any]], dict[str, Any]]
ON_DEVICE = ("model.py", "example.py", "verify.py")
STOCK = "stock"  # the folder of files for stock consumers that do not take the bundle's own


@dataclass(frozen=True)
class Offer:
    """The alternative for a consumer that refuses the bundle's file: another file of the model, or how to make one."""

    artifact: Artifact | None = None
    command: str = ""


@dataclass(frozen=True)
class Bundle:
    """A finished bundle: its folder, the same as one ZIP, and the contents of ``bundle.json``."""

    folder: Path
    archive: Path
    manifest: dict[str, Any]


def shipped(artifact: Artifact, maker: str) -> bytes:
    """Return the file as the bundle ships it: an image ``.tflite`` with its metadata, any other unchanged.

    Raises InputError for a file that is missing or damaged.
    """
    if artifact.path is None:
        raise InputError(f"{artifact.id}: there is no file: {artifact.reason}", artifact.remedy)
    content = artifact.path.read_bytes()
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        raise InputError(
            f"{artifact.path} is not the file that {artifact.id} was: its content has changed since it was made",
            "run the command that made it again",
        )
    if artifact.format == "tflite":
        content = conform(content)  # a supplied file; of ours nothing changes
    return with_metadata(content, artifact, maker) if is_picture_classifier(artifact) else content


def bundle(
    artifact: Artifact,
    golden: Golden,
    out: Path,
    *,
    maker: str,
    offers: Mapping[str, Offer] | None = None,
    measurements: Sequence[Measurement] = (),
    siblings: Sequence[Artifact] = (),
    notes: Sequence[str] = (),
    budget: Mapping[str, Any] | None = None,
    task: Task | None = None,
    prove_micro: ProveMicro | None = None,
    prove_image: ProveMicro | None = None,
) -> Bundle:
    """Write the bundle of an artifact as ``OUT/ID/`` and ``OUT/ID.zip``, each complete or not at all.

    `golden` are outputs of the `shipped` file. `maker` (name and version of the program) is written into the metadata.
    `offers` are by consumer the alternatives where it refuses the file; `siblings` are other files of the model, which
    verify.py names where a runtime is too old for this one. `budget` is the verdict of a run's budget on this file,
    `task` what it was measured by.
    `prove_micro` returns ``micro.proof`` of bundle.json for the code for microcontrollers in a folder, `prove_image`
    ``micro.cortex_m`` for the image that is built of it.
    Equal arguments give equal bytes.
    Raises InputError where OUT holds something that is not a bundle, or the file does not fit its description;
    StageError when the disk refuses.
    """
    name = slug(artifact.id)
    folder, archive = out / name, out / f"{name}.zip"
    for there, ours in ((folder, (folder / "bundle.json").is_file()), (archive, _holds_bundle(archive, name))):
        if there.exists() and not ours:
            raise InputError(f"{there} exists and is no bundle", "move it away, or give another --out")
    if artifact.tokenizer is not None and not artifact.tokenizer.is_dir():
        raise InputError(
            f"{artifact.tokenizer} is not there, and the file's description names it as its tokenizer",
            "copy a text model's file together with its .json and its MODEL.tokenizer/",
        )
    temporary, packed = out / f".{name}.new", out / f".{name}.zip.new"
    with explain_disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        remove(temporary, root=out)
        temporary.mkdir()
        try:
            manifest = _write(
                artifact,
                golden,
                temporary,
                maker,
                offers or {},
                measurements,
                siblings,
                list(notes),
                budget,
                task,
                prove_micro,
                prove_image,
            )
            _zip(temporary, packed, name)
            move(temporary, folder, root=out)
            move(packed, archive, root=out)
        finally:
            discard(temporary, root=out)
            discard(packed, root=out)
    return Bundle(folder, archive, manifest)


def _write(
    artifact: Artifact,
    golden: Golden,
    folder: Path,
    maker: str,
    offers: Mapping[str, Offer],
    measurements: Sequence[Measurement],
    siblings: Sequence[Artifact],
    notes: list[str],
    budget: Mapping[str, Any] | None,
    task: Task | None,
    prove_micro: ProveMicro | None,
    prove_image: ProveMicro | None,
) -> dict[str, Any]:
    """Write everything into `folder`; return the manifest."""
    content = shipped(artifact, maker)
    file_name = slug(artifact.id) + SUFFIX[artifact.format]
    (folder / file_name).write_bytes(content)
    (folder / LABELS).write_bytes(label_file(artifact.labels))
    for script in ON_DEVICE:
        shutil.copyfile(TEMPLATES / script, folder / script)
    shutil.copyfile(closeness.__file__, folder / "closeness.py")
    if artifact.tokenizer is not None:
        copy_tokenizer(artifact.tokenizer, folder / "tokenizer", root=folder)
    input_roles = roles(artifact)
    names = [tensor.name for tensor in artifact.outputs]
    answer = names.index(artifact.answer) if artifact.answer in names else 0
    kind = answer_kind(artifact, answer, golden.outputs, task)
    reading = reading_of(artifact, answer, kind, golden.outputs, task)
    noun = noun_of(artifact, kind, reading, task)
    tolerance = limits(artifact, answer, golden.outputs, columns_of(artifact, answer, kind, task), random=golden.random)
    # Of answers that are nearly the same for all samples verify.py can hardly tell a wrong file from a right one.
    spread = closeness.spread_of(golden.outputs, len(tolerance["spread"]))
    alike = bool((spread <= 2 * np.array(tolerance["slack"])).all())
    vectors = write_golden(artifact, golden, folder, reading, tolerance)
    _json(folder / "golden.json", vectors)

    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "made_by": maker,
        "artifact": artifact.id,
        "model": artifact.model,
        "file": {
            "name": file_name,
            "format": artifact.format,
            "scheme": artifact.scheme,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            # The measured artifact's; differs from `sha256` where metadata were added. The outputs are the same.
            "artifact_sha256": artifact.sha256,
            "metadata": is_picture_classifier(artifact),
            "min_runtime": artifact.min_runtime,
            "needs": _needs(artifact),
            "inputs": [to_json(t) | {"role": role} for t, role in zip(artifact.inputs, input_roles, strict=True)],
            "outputs": [to_json(tensor) for tensor in artifact.outputs],
            "answer": answer,
            "answer_kind": kind,
            "decision": reading.to_json(),
            **({"boxes": to_json(artifact.boxes)} if artifact.boxes else {}),
        },
        "labels": list(artifact.labels),
        "contract": to_json(artifact.contract) if artifact.contract else None,
        "golden": {key: vectors[key] for key in ("count", "source", "random", "made_by", "tolerance")}
        | {"alike": alike},
        "operators": [to_json(operator) for operator in artifact.ops],
        "consumers": _consumers(artifact, folder, maker, offers, notes),
        "siblings": [],
        "micro": None,
        "budget": dict(budget) if budget else None,
        # Without what names files of the run, and without `by_class` and `examples`, which have samples of the data.
        "measurements": [
            {
                key: value
                for key, value in to_json(replace(row, examples=())).items()
                if key not in ("raw", "scores", "fingerprint", "by_class", "profile")
            }
            for row in measurements
        ],
    }
    manifest["siblings"] = [_sibling(other, folder) for other in siblings]
    if can_be_written(artifact):
        _texts(folder, render_apps(artifact, input_roles, answer, kind, reading, noun))
    else:
        notes.append(
            "there is no Kotlin or C++ code: the file is ONNX, or has open shapes or types that these languages lack"
        )
    if artifact.path is not None and micro.is_for_micro(artifact, len(content)):
        original = artifact.path.read_bytes()  # without metadata, which a microcontroller has no use for
        facts = micro.describe(original, artifact.ops)
        _texts(folder, render_micro(artifact, input_roles, answer, kind, reading, noun, facts, original))
        proof = prove_micro(folder, vectors) if prove_micro else None
        arena = (proof or {}).get("arena") or {}
        if arena.get("bytes", 0) > facts.arena_bytes:
            facts = replace(facts, arena_bytes=-(-arena["bytes"] // 1024) * 1024)
            _texts(folder, render_micro(artifact, input_roles, answer, kind, reading, noun, facts, original))
        image = prove_image(folder, vectors) if prove_image else None
        manifest["micro"] = facts.to_json() | {"proof": proof, "cortex_m": image}
        if proof is not None and proof["status"] != "ok":
            notes.append(f"micro/ is not proved: {proof['reason']}")
        if image is not None and image["status"] != "ok":
            notes.append(f"micro/ is not proved on a {image['chip']}: {image['reason']}")
        if facts.missing:
            notes.append(f"TensorFlow Lite for Microcontrollers has no operator {', '.join(facts.missing)}")
    manifest["notes"] = notes
    (folder / "README.md").write_text(render_readme(artifact, manifest), encoding="utf-8")
    _json(folder / "bundle.json", manifest)
    sums = {part.relative_to(folder).as_posix(): hashlib.sha256(part.read_bytes()) for part in _files(folder)}
    (folder / SUMS).write_text("".join(f"{sum_.hexdigest()}  {part}\n" for part, sum_ in sums.items()), "utf-8")
    return manifest


def _needs(artifact: Artifact) -> dict[str, str]:
    """Return for each runtime the oldest version that supports the file; unknown ones are left out."""
    if artifact.path is None:
        return {}
    contents = inspect(artifact.path)
    counted, _, version = contents.min_runtime.partition(" ")
    oldest = {counted: version, "litert": contents.min_litert}
    return {name: oldest[row.versions] for name, row in RUNTIMES.items() if row.default and oldest.get(row.versions)}


def _sibling(other: Artifact, folder: Path) -> dict[str, Any]:
    """Return the entry of another file of the model for verify.py, with its place in the bundle if it is in it."""
    stock = f"{STOCK}/{slug(other.id)}.tflite"
    name = stock if (folder / stock).is_file() else other.path.name if other.path is not None else other.id
    return {"name": name, "format": other.format, "scheme": other.scheme, "needs": _needs(other)}


def _consumers(
    artifact: Artifact, folder: Path, maker: str, offers: Mapping[str, Offer], notes: list[str]
) -> list[dict[str, Any]]:
    """Return the rows of stock consumers, and write the files for those that refuse the bundle's own.

    A row: ``consumer``, ``accepts`` (the bundle's own file, or the one called ``file``), ``why``; where it does not
    accept, ``file`` is the alternative, and ``command`` makes one if there is none.
    """
    kind = artifact.contract.kind if artifact.contract else "tensor"
    if kind == "text" and artifact.tokenizer is not None:
        from .text import text_bundle

        text_file = text_bundle(artifact, artifact.tokenizer)
        notes += text_file.notes
        if not text_file.content:
            return [dict(row) for row in text_file.consumers]
        path = f"{STOCK}/{slug(Path(text_file.name).stem)}.tflite"
        _bytes(folder / path, text_file.content)
        return [dict(row) | {"file": path} for row in text_file.consumers]
    if kind != "image" or artifact.boxes is not None:
        return []
    rows = picture_consumers(artifact)
    for row in rows:
        offer = offers.get(row["consumer"])
        if row["accepts"] or offer is None:
            continue
        if offer.artifact is not None:
            path = f"{STOCK}/{slug(offer.artifact.id)}.tflite"
            _bytes(folder / path, shipped(offer.artifact, maker))
            row["file"] = path
        elif offer.command:
            row["command"] = offer.command
    return rows


def _files(folder: Path) -> list[Path]:
    return [part for part in plain_files(folder) if part.name != SUMS]


def _json(path: Path, document: Any) -> None:
    # Lone surrogates, which a label from JSON may hold, have no UTF-8 encoding: ASCII escapes hold them.
    path.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n", encoding="ascii")


def _texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        _bytes(folder / name, text.encode("utf-8"))


def _bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _holds_bundle(archive: Path, name: str) -> bool:
    try:
        with zipfile.ZipFile(archive) as packed:
            return f"{name}/bundle.json" in packed.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _zip(folder: Path, archive: Path, name: str) -> None:
    """Write `folder` as a ZIP with fixed dates and order, everything under `name`."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for part in [*_files(folder), folder / SUMS]:
            entry = zipfile.ZipInfo(f"{name}/{part.relative_to(folder).as_posix()}")
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, part.read_bytes(), zipfile.ZIP_DEFLATED)

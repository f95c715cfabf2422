"""README.md of a bundle: its contents, the consumers of its file, and how to verify it."""

from __future__ import annotations

from typing import Any

from ...core.artifact import Artifact
from ...core.sanitize import shorten
from .escape import Escaped, environment, markdown


def render_readme(artifact: Artifact, manifest: dict[str, Any]) -> str:
    """Return the text, from the artifact and the contents of ``bundle.json``."""
    kind = artifact.contract.kind if artifact.contract else "tensor"
    context = {
        "about": manifest,
        "file": manifest["file"],
        "golden": manifest["golden"],
        "kind": kind,
        "is_onnx": artifact.format == "onnx",
        "caution": artifact.caution,
        "parts": [(Escaped(f"`{name}`"), Escaped(text)) for name, text in _parts(artifact, manifest, kind)],
        "measured": [
            {
                "target": row["target"],
                "kind": row["kind"],
                "accuracy": _metric(row),
                "samples": row["samples"],
                "latency": _number((row["latency_ms"] or {}).get("median"), "{:.3g}"),
                "p95": _number((row["latency_ms"] or {}).get("p95"), "{:.3g}"),
            }
            for row in manifest["measurements"]
            if row["status"] == "ok"
        ],
        "meaning": _meaning(manifest),
        "contract": artifact.contract,
        "boxes": artifact.boxes,
        "box_roles": list(zip(artifact.boxes.roles, artifact.boxes.outputs, strict=True)) if artifact.boxes else [],
        "shown": lambda shape: Escaped(" × ".join(str(side) for side in shape) or "one value"),
        "size": Escaped(f"{manifest['file']['bytes']:,}"),
        "tolerance": {
            name: Escaped(f"{100 * manifest['golden']['tolerance'][name]:.3g} %") for name in ("median", "all", "most")
        },
        "image_furthest": Escaped(f"{((manifest['micro'] or {}).get('cortex_m') or {}).get('largest', 0):.3g}"),
        "furthest": Escaped(f"{((manifest['micro'] or {}).get('proof') or {}).get('largest', 0):.3g}"),
        "example": Escaped({"image": "PICTURE", "text": '"A TEXT"', "tensor": "INPUTS.npz"}[kind]),
        "made_with": markdown(" ".join(filter(None, manifest["golden"]["made_by"].values()))),
    }
    return environment().get_template("README.md.j2").render(context)


def _meaning(manifest: dict[str, Any]) -> str:
    """Return what the judged output decides, in words; empty where `boxes` or the scores' order say it."""
    file, labels = manifest["file"], manifest["labels"]
    decision, output = file["decision"], file["outputs"][file["answer"]]["name"]
    least = "one half" if decision["threshold"] else "0, as it is a logit,"
    names = [*(shorten(one, 60) for one in labels[:2]), *("the first class", "the second class")[len(labels[:2]) :]]
    two = f"from {least} on it is {names[1]}, below {names[0]}"
    if decision["is_map"]:
        shape = file["outputs"][file["answer"]]["shape"]
        pixels = f"{output} is a map of {shape[1]} × {shape[2]} pixels"
        return {
            "pixels": f"{pixels} with {decision['classes']} values each: a pixel is of the class of its highest value.",
            "yes": f"{pixels} with one value each: {two}.",
            "numbers": f"{pixels} with the number of the class each.",
        }[str(decision["kind"])]
    if decision["kind"] != "yes":
        return ""
    if file["answer_kind"] == "value" and decision["classes"] == 2:
        return f"{output} is one value for two classes: {two}."
    return (
        f"{output} has a value for each tag{f' ({names[0]})' if len(labels) == 1 else ''}: from {least} on it is given."
    )


def _metric(row: dict[str, Any]) -> Escaped:
    """Return a row's accuracy, or its other metric by name."""
    name = row.get("metric") or "accuracy"
    score = row.get("score")
    shown = _number(row["accuracy"], "{:.4f}") if score is None else _number(score, "{:.4g}")
    return shown if name == "accuracy" else Escaped(f"{markdown(name)} {shown}")


def _parts(artifact: Artifact, manifest: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    parts = [
        (manifest["file"]["name"], "the model" + (", TFLite metadata and labels in it" * manifest["file"]["metadata"]))
    ]
    if artifact.labels and artifact.boxes is not None:
        parts.append(("labels.txt", "the classes, one a line, by the number that a box has"))
    elif artifact.labels:
        parts.append(("labels.txt", "the classes, one a line, in the order of the answer"))
    if artifact.tokenizer is not None:
        parts.append(
            ("tokenizer/", "makes token ids from a text; `tokenizer.py` needs Python alone and is written to be ported")
        )
    parts += [
        ("example.py", "the model at work"),
        ("verify.py", "replays the golden vectors on a device"),
        ("model.py`, `closeness.py", "what both use: numpy and a runtime, nothing else"),
        ("golden.npz`, `golden.json", "inputs, and what the file answered to them"),
        ("bundle.json", "all of this for programs"),
        ("SHA256SUMS", "checksums: `sha256sum -c SHA256SUMS`"),
    ]
    if artifact.format == "tflite":
        parts.append(("android/`, `cpp/", "the model in Kotlin and in C++, with this file's shapes and scales"))
    if manifest["micro"]:
        parts.append(("micro/", "for microcontrollers: the file as a C array, the resolver, and code that runs it"))
    if any("file" in row for row in manifest["consumers"]):
        parts.append(("stock/", "for consumers that do not take the file itself"))
    return parts


def _number(value: float | None, form: str) -> Escaped:
    return Escaped("–" if value is None else form.format(value))

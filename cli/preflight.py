"""Everything that can be known to be wrong before anything is started: said at once, in one message. Exit status 2."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.dataset import Kind
from ..core.errors import EdgeproofError, InputError
from ..core.recipe import ModelSpec, Recipe
from ..core.variant import Variant
from ..train import data as train_data
from ..train.backbones import check_backbone
from ..train.text.backbones import check_text_training

# What making a variant needs beyond the extra `train`.
_MAKERS = {"onnx": (("tf2onnx", "onnx"), "onnx"), "tflite": (("ai_edge_litert",), "litert")}


def preflight(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Check a recipe against this machine; return the data's fingerprint. Raises InputError with all mistakes."""
    problems: list[EdgeproofError] = []
    fingerprint: dict[str, Any] = {}
    kind: Kind = train_data.kind_of(recipe.data, recipe.folder)
    kinds = [kind]
    try:
        fingerprint = train_data.fingerprint(recipe.data, seed=recipe.seed, folder=recipe.folder)
    except EdgeproofError as error:
        problems.append(error)
        # Whether a broken table was to hold images or texts is not known: models for either are right.
        kinds = ["image", "text"] if recipe.data.source.startswith("csv:") else kinds
    if kind == "text":
        try:
            check_text_training(recipe.train)
        except EdgeproofError as error:
            problems.append(error)
    for spec in recipe.model:
        wrong = [_wrong_with(spec, recipe.folder, kind) for kind in kinds]
        if all(wrong):
            problems += [error for error in wrong[:1] if error]
    problems += check_makers({Variant.parse(v).format for v in recipe.export.variants})
    try:
        check_writable(out)
    except EdgeproofError as error:
        problems.append(error)
    if not problems:
        return fingerprint
    if len(problems) == 1:
        raise problems[0]
    # Two models with the same trouble need to be told once.
    lines = list(dict.fromkeys(str(problem).replace("\n", "\n  ") for problem in problems))
    raise InputError("\n".join([f"{len(lines)} things are in the way:", *(f"  - {line}" for line in lines)]))


def _wrong_with(spec: ModelSpec, folder: Path, kind: Kind) -> EdgeproofError | None:
    try:
        check_backbone(spec, folder=folder, kind=kind)
    except EdgeproofError as error:
        return error
    return None


def check_makers(formats: set[str]) -> list[InputError]:
    """Return what is missing here to make files of these formats."""
    problems = []
    for format_ in sorted(formats):
        modules, extra = _MAKERS[format_]
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            problems.append(
                InputError(
                    f"{format_} files need {' and '.join(missing)}, which is not installed here",
                    f"pip install 'edgeproof[{extra}]', or leave the {format_}: variants out",
                )
            )
    return problems


def check_writable(out: Path) -> None:
    """Raise InputError unless `out` is a folder that can be written to, or can be made."""
    remedy = "choose another folder with --out, or mend this one's permissions"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; the run needs a folder there", "choose another folder with --out")
    existing = next((p for p in (out, *out.absolute().parents) if p.exists()), Path("/"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the run's folder {out}: {error.strerror} ({existing})", remedy) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"no permission to write into {out}", remedy)

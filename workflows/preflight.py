"""Checks before anything is started. All errors are reported in one message, with exit status 2."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..core.dataset import Kind
from ..core.device_tables import BUILT_IN
from ..core.errors import EdgeproofError, InputError
from ..core.extras import EXTRAS
from ..core.maker import CONVERTER, MAKERS
from ..core.recipe import ModelSpec, Recipe
from ..core.target import Target
from ..core.variant import TRAININGS, Variant
from ..devices import locate, missing_runtime
from ..tasks.asked import check_asked
from ..tflite.objects import WRITER
from ..train.backbones import check_backbone
from ..train.callbacks import check_callbacks
from ..train.sensor.settings import check_number_training
from ..train.text.settings import check_text_training
from .recipe_kind import kind_of_recipe, recipe_fingerprint


def preflight(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Check a recipe against this machine; return the data's fingerprint. Raises InputError with all errors."""
    problems: list[EdgeproofError] = []
    fingerprint: dict[str, Any] = {}
    kind = kind_of_recipe(recipe)
    kinds = [kind]
    try:
        fingerprint = recipe_fingerprint(recipe)
    except EdgeproofError as error:
        problems.append(error)
        # A broken table may hold images or texts: models for either are accepted.
        kinds = ["image", "text"] if recipe.data.source.startswith("csv:") and kind != "tensor" else kinds
    for check in {"text": [check_text_training], "tensor": [check_number_training]}.get(kind, []):
        try:
            check(recipe.train)
        except EdgeproofError as error:
            problems.append(error)
    try:
        if recipe.task:  # otherwise the prepared data say it
            check_asked(recipe.budget, recipe.task)
    except EdgeproofError as error:
        problems.append(error)
    try:
        check_callbacks(recipe.train, recipe.folder)
    except EdgeproofError as error:
        problems.append(error)
    for spec in recipe.model:
        wrong = [wrong_with(spec, recipe.folder, kind) for kind in kinds]
        if all(wrong):
            problems += [error for error in wrong[:1] if error]
    problems += check_makers(map(Variant.parse, recipe.export.variants))
    problems += check_runtimes(recipe)
    try:
        check_writable(out)
    except EdgeproofError as error:
        problems.append(error)
    if not problems:
        return fingerprint
    if len(problems) == 1:
        raise problems[0]
    # The same problem of two models is reported once.
    lines = list(dict.fromkeys(str(problem).replace("\n", "\n  ") for problem in problems))
    raise InputError("\n".join([f"{len(lines)} things are in the way:", *(f"  - {line}" for line in lines)]))


def wrong_with(spec: ModelSpec, folder: Path, kind: Kind) -> EdgeproofError | None:
    """Return why the backbone of `spec` cannot be built for data of `kind`, or None."""
    try:
        check_backbone(spec, folder=folder, kind=kind)
    except EdgeproofError as error:
        return error
    return None


def check_makers(variants: Iterable[Variant]) -> list[InputError]:
    """Return what is missing here to make these variants, each with the variants that need it."""
    wanted: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for variant in variants:
        for need in _needs(variant):
            wanted.setdefault(need, []).append(str(variant))
    problems: list[InputError] = []
    for (name, modules), affected in wanted.items():
        extra = EXTRAS[name]
        remedy = f"{extra.remedy}, or leave {'it' if len(affected) == 1 else 'them'} out"
        if error := extra.error(f"{', '.join(affected)}: needs", *modules, remedy=remedy):
            problems.append(error)
    return problems


def _needs(variant: Variant) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Return what a variant needs: names of extras, with the modules. TensorFlow is what every backbone needs."""
    scheme = variant.scheme
    if variant.format == "tflite":
        yield WRITER.name, tuple(WRITER.packages)
    tools = [TRAININGS[scheme.training].maker] if scheme.training else []
    if len(scheme.makers) == 1:  # of several tools, the installed ones are enough
        tools += [maker.name for maker in MAKERS[scheme.makers[0]].line]
    yield from ((MAKERS[tool].extra.name, MAKERS[tool].modules) for tool in tools if tool != CONVERTER)


def check_runtimes(recipe: Recipe) -> list[InputError]:
    """Return the missing runtime versions that a recipe names."""
    named = [*recipe.evaluate.targets, *([f"local/{recipe.runtime}"] if recipe.runtime else [])]
    # Of other devices the rows say it: a device may be away now, and be there when the files are made.
    there = [target for target in map(Target.parse, dict.fromkeys(named)) if target.device in BUILT_IN]
    targets = [target for target in there if target.version and locate(target) is None]
    return [InputError(*missing) for target in targets if (missing := missing_runtime(target))]


def check_writable(out: Path) -> None:
    """Raise InputError unless `out` is a folder that can be written to, or can be made."""
    remedy = "choose another folder with --out, or fix this one's permissions"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; the run needs a folder there", "choose another folder with --out")
    existing = next((p for p in (out, *out.absolute().parents) if p.exists()), Path("/"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the run's folder {out}: {error.strerror} ({existing})", remedy) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"no permission to write into {out}", remedy)

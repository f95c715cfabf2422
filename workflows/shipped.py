"""The docs and recipes that are installed with edgeproof: their paths and names."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path

from ..core.codec import write_atomic
from ..core.errors import InputError
from ..core.sanitize import shorten

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ROOT = Path(__file__).parents[1]


def page_names() -> list[str]:
    """Return the pages of the docs, the one on recipes first."""
    names = sorted(path.stem for path in (_ROOT / "docs").glob("*.md"))
    return sorted(names, key=lambda name: name != "recipe")


def recipe_names() -> list[str]:
    """Return the recipes, the quickstart first."""
    names = sorted(path.stem for path in (_ROOT / "recipes").glob("*.toml"))
    return sorted(names, key=lambda name: name != "quickstart")


def page(name: str) -> Path:
    """Return the file of a page, named as ``recipe``, ``recipe.md`` or ``docs/recipe.md``. Raises InputError."""
    return _ROOT / "docs" / f"{_resolved(name, page_names(), '.md', 'page')}.md"


def recipe(name: str) -> Path:
    """Return the file of a recipe, named as ``qat``, ``qat.toml`` or ``recipes/qat.toml``. Raises InputError."""
    return _ROOT / "recipes" / f"{_resolved(name, recipe_names(), '.toml', 'recipe')}.toml"


def first_line(path: Path) -> str:
    """Return the subject of a page or a recipe: its first line, without ``#``."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()


def _resolved(name: str, names: list[str], suffix: str, kind: str) -> str:
    """Return the name among `names` that is meant. Raises InputError, with the nearest one, if there is none."""
    stem = name.rpartition("/")[2].removesuffix(suffix)
    if stem in names:
        return stem
    close = get_close_matches(stem, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise InputError(f"there is no {kind} {shorten(name)!r}", f"{hint}Known: {', '.join(names)}")


def copy_recipe(name: str, path: Path, *, force: bool) -> list[Path]:
    """Write a recipe to `path`, and beside it its data and its scripts; return the written files.

    Data are those that it names by a relative path, scripts those of the folder of its own name.

    Raises InputError when a file is there already and holds something else, unless `force`.
    """
    source = recipe(name)
    text = source.read_text(encoding="utf-8")
    inside = tomllib.loads(text)["data"]["source"].partition(":")[2]
    files = [(source, path)]
    if inside and (source.parent / inside).is_file():
        files.append((source.parent / inside, path.parent / inside))
    scripts = source.with_suffix("")
    files += [(script, path.parent / scripts.name / script.name) for script in sorted(scripts.glob("*.py"))]
    there = [to for origin, to in files if to.exists() and (to == path or to.read_bytes() != origin.read_bytes())]
    if there and not force:
        raise InputError(f"{there[0]} exists already", "give another path, or --force to overwrite it")
    for origin, to in files:
        to.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(to, origin.read_text(encoding="utf-8"))
    return [to for _, to in files]

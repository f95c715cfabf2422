"""Recipes and their overrides, changed."""

from __future__ import annotations

import random
from pathlib import Path

from edgeproof.core.documents import parse_toml

from . import seeds
from .area import OUT, Inputs, write_inputs
from .content import changed
from .documents import STRANGERS, mutants, places


def recipe_bytes(box: Path, draw: random.Random) -> Inputs:
    (box / "csv").mkdir()
    while True:
        content = changed(seeds.RECIPE.encode(), draw)
        write_inputs(box, r_DOT_toml=content)
        yield "run", "r.toml", "--out", OUT


def recipe_fields(box: Path, draw: random.Random) -> Inputs:
    import tomli_w

    for document in mutants(parse_toml(seeds.RECIPE, "the seed"), draw, [s for s in STRANGERS if s is not None]):
        if isinstance(document, dict):
            try:
                text = tomli_w.dumps(document)
            except (TypeError, ValueError):  # TOML has no null
                continue
            write_inputs(box, r_DOT_toml=text)
            yield "run", "r.toml", "--out", OUT, "--json"


def recipe_overrides(box: Path, draw: random.Random) -> Inputs:
    write_inputs(box, r_DOT_toml=seeds.RECIPE)
    keys = [".".join(map(str, place)) for place in places(parse_toml(seeds.RECIPE, "the seed")) if place]
    keys += ["", ".", "model.net", "model.9", "a" * 5000, "train." * 70 + "x", "\x1b[31m", "\udcff", "train.\u202e"]
    values = [
        *map(str, STRANGERS),
        "[" * 5000,
        "9" * 5000,
        "{a=" * 5000,
        "\udcff",
        '"',
        "'''",
        "1979-05-27",
        "inf",
        "nan",
        "1\n2",
    ]
    while True:
        pair = f"{draw.choice(keys)}{draw.choice(('=', '=', '=', '', ' = '))}{draw.choice(values)}".replace("\0", "")
        yield "run", "r.toml", "--out", OUT, "--set", pair

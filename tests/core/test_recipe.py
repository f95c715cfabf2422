"""Recipes: every mistake is named with its place and a remedy; TOML round trips; overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof import InputError, load_recipe
from edgeproof.core.recipe import LatencyTable, Recipe
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.core.runtime import RUNTIMES
from edgeproof.core.variant import SCHEMES, Variant

REPO = Path(__file__).parents[2]


def table(**more: Any) -> dict[str, Any]:
    return {"data": {"source": "builtin:x"}, "model": [{"name": "m", "backbone": "keras:MobileNetV2"}], **more}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"train": {"epoch": 3}}, "unknown key 'train.epoch'; did you mean 'epochs'?"),
        ({"trian": {}}, "unknown key 'trian'; did you mean 'train'?"),
        ({"train": {"fine_tune": {"layer": 3}}}, "'train.fine_tune.layer'; did you mean 'layers'?"),
        ({"evaluate": {"latency": {"process": 1}}}, "did you mean 'processes'?"),
        ({"train": {"epochs": 0}}, "train.epochs"),
        ({"train": {"head": {"hiden": [8]}}}, "'train.head.hiden'; did you mean 'hidden'?"),
        ({"train": {"head": {"hidden": [0]}}}, "train.head.hidden.0"),
        ({"train": {"head": {"pooling": "mx"}}}, "train.head.pooling: did you mean 'max'? Known: avg, max"),
        ({"train": {"optimizer": "Adamm"}}, "train.optimizer: did you mean 'adam'?"),
        ({"train": {"momentum": 0.9}}, "momentum is for optimizer = 'sgd' or 'rmsprop'"),
        ({"train": {"schedule": {"kind": "cosin"}}}, "did you mean 'cosine'?"),
        ({"train": {"schedule": {"kind": "cosine", "factor": 0.5}}}, "factor belongs to kind = 'plateau'"),
        ({"train": {"metrics": ["accuracy", "accuracy"]}}, "twice"),
        ({"train": {"metrics": ["acuracy"]}}, "did you mean 'accuracy'?"),
        ({"train": {"callbacks": ["my_callbacks.py"]}}, "not of the form FILE.py:NAME"),
        ({"export": {"variants": ["tflite:int9"]}}, "did you mean 'tflite:int8'?"),
        ({"export": {"variants": ["savedmodel:float32"]}}, "always made"),
        ({"export": {"variants": ["tflite:int8", "tflite:int8"]}}, "twice"),
        ({"evaluate": {"targets": ["local/litert2"]}}, "did you mean 'litert'?"),
        ({"evaluate": {"targets": ["lokal/litert"]}}, "did you mean 'local'?"),
        ({"model": []}, "model"),
        ({"model": [{"name": "a/b", "backbone": "keras:X"}]}, "name"),
        ({"model": [{"name": "a--b", "backbone": "keras:X"}]}, "'--'"),
        ({"model": [{"name": "a", "backbone": "k"}, {"name": "a", "backbone": "k"}]}, "its own name"),
        ({"folder": "/etc"}, "unknown key 'folder'"),
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_recipe(table(**change))
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("export.variants=tflite:int8", 'export.variants: a list is expected, such as ["one", "other"] (found "tflite'),
        ("train.epochs=many", 'train.epochs: a whole number is expected (found "many")'),
        ("train.epochs=true", "train.epochs: true and false are no values of this key (found true)"),
        ("train.seeds=[true, 2]", "train.seeds: true and false are no values of this key"),
        ("evaluate.profile=1", "evaluate.profile: true or false is expected (found 1)"),
        ("evaluate.strict=yes", 'evaluate.strict: true or false is expected (found "yes")'),
        ("evaluate.targets=[]", "evaluate.targets: at least one target is expected"),
        ("evaluate.latency.batch=1000000000000", "evaluate.latency.batch: a whole number from 1 to 65,536 is expected"),
        ("train.head.hidden=[true]", "train.head.hidden: true and false are no values of this key"),
        ("train.epochs=1.5", "train.epochs: a whole number is expected (found 1.5)"),
        ("budget.max_accuracy_drop=x", 'budget.max_accuracy_drop: a number is expected (found "x")'),
        ("name=3", 'name: a text is expected, in quotes, such as "text" (found 3)'),
        ("data=x", 'data: a table is expected (found "x")'),
        ("model=x", "model: tables are expected, each begun by a line [[model]]"),
    ],
)
def test_values_of_the_wrong_type_are_told_in_the_words_of_toml(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "r"\n[data]\nsource = "builtin:fashion-mnist-mini"\n[[model]]\nname = "m"\n'
                    'backbone = "package:mobilenet_v2"\n')  # fmt: skip
    with pytest.raises(InputError) as caught:
        load_recipe(path, [override])
    assert message in caught.value.message


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_recipe(table(train={"epoch": 1, "batch_siz": 2}, budgett={}))
    assert "3 mistakes" in str(caught.value)


def test_a_missing_recipe_and_broken_toml_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(InputError, match="is a folder"):
        load_recipe(tmp_path)
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(InputError, match="is not TOML"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_recipe(tmp_path / "latin.toml")


def test_overrides_reach_tables_lists_and_names() -> None:
    recipe = load_recipe(
        REPO / "recipes" / "quickstart.toml",
        [
            "train.epochs=3",
            "model.0.image_size=64",
            "model.mobilenet_v2.resize=crop",
            'export.variants=["tflite:int8"]',
            "data.source=folder:/x=y",
            "train.fine_tune.layers=4",
        ],
    )
    assert recipe.train.epochs == 3
    assert (recipe.model[0].image_size, recipe.model[0].resize) == (64, "crop")
    assert recipe.export.variants == ("tflite:int8",)
    assert recipe.data.source == "folder:/x=y"
    assert recipe.train.fine_tune.layers == 4
    assert recipe.folder == REPO / "recipes"


@pytest.mark.parametrize("override", ["epochs", "=3", "train..epochs=1", "model.9.image_size=64", "name.x=1"])
def test_a_bad_override_is_told(override: str) -> None:
    with pytest.raises(InputError, match="--set"):
        load_recipe(REPO / "recipes" / "quickstart.toml", [override])


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._]{0,20}", fullmatch=True)
variants = st.lists(
    st.sampled_from([f"{f}:{s}" for f, schemes in SCHEMES.items() if f != "savedmodel" for s in schemes]), unique=True
)


@given(
    name=names,
    source=st.text(min_size=1),
    seed=st.integers(0, 2**31 - 1),
    rate=st.floats(1e-9, 10),
    size=st.integers(16, 2048),
    chosen=variants,
    targets=st.lists(st.sampled_from([f"local/{r}" for r in RUNTIMES]), unique=True, min_size=1),
    limit=st.none() | st.integers(2, 10**6),
)
def test_toml_round_trip(
    name: str, source: str, seed: int, rate: float, size: int, chosen: list[str], targets: list[str], limit: int | None
) -> None:
    from edgeproof.core.documents import tomllib

    recipe = parse_recipe(
        {
            "name": name,
            "seed": seed,
            "data": {"source": source} | ({"limit_train": limit} if limit else {}),
            "model": [{"name": "m", "backbone": "keras:X", "image_size": size}],
            "train": {"learning_rate": rate},
            "export": {"variants": chosen},
            "evaluate": {"targets": targets},
        }
    )
    again = parse_recipe(tomllib.loads(recipe.to_toml()))
    assert again.to_dict() == recipe.to_dict()
    assert again.sha256 == recipe.sha256


@given(st.text())
def test_a_variant_is_known_or_refused(text: str) -> None:
    try:
        variant = Variant.parse(text)
    except InputError as error:
        assert "tflite:int8" in error.remedy
    else:
        assert str(variant) == text


@pytest.mark.parametrize("path", sorted((REPO / "recipes").glob("*.toml")), ids=lambda p: p.name)
def test_the_recipes_that_we_ship_are_valid(path: Path) -> None:
    assert isinstance(load_recipe(path), Recipe)
    assert load_recipe(str(path), {"seed": 5}).seed == 5


def test_a_number_of_processes_is_the_number_and_the_default_goes_on_until_it_is_certain() -> None:
    assert LatencyTable().max_seconds == 90 and LatencyTable(threads=2).max_seconds == 90
    assert LatencyTable(processes=8).max_seconds == 0
    assert LatencyTable.model_validate({"processes": 8, "max_seconds": 30}).max_seconds == 30
    assert LatencyTable.model_validate(LatencyTable().model_dump()) == LatencyTable()


def test_a_budget_s_loss_is_limited_once_and_its_own_recipe_is_read_again(tmp_path: Path) -> None:
    recipe = parse_recipe(table(budget={"max_drop": "5 %"}), Path(), "x")
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    again = load_recipe(path)
    assert again.budget == recipe.budget and again.sha256 == recipe.sha256
    assert Budget(max_drop=0.5).allowed_drop(2.0) == 0.5 and Budget(max_drop="5 %").allowed_drop(-2.0) == 0.1
    assert Budget().allowed_drop(2.0, is_share=False) == 0.02 and Budget().allowed_drop(0.9) == 0.01
    for wrong in (float("nan"), float("inf"), -1, "much", "5%%"):
        with pytest.raises(InputError, match=r"no loss that can be allowed|neither a number nor a part"):
            Budget(max_drop=wrong)
    with pytest.raises(InputError, match="limit the same"):
        Budget(max_drop=1, max_accuracy_drop=0.02)

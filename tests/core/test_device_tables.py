"""Devices are declared in the user's devices.toml, in one beside the recipe, or in the recipe; mistakes are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.device_files import load_devices, user_file
from edgeproof.core.device_tables import BUILT_IN, Devices, LocalTable
from edgeproof.core.errors import InputError
from edgeproof.core.recipe import Recipe
from edgeproof.core.recipe_file import load_recipe, parse_recipe, with_overrides
from edgeproof.core.target import Target, base_target

RECIPE = {"data": {"source": "folder:x"}, "model": [{"name": "m", "backbone": "keras:MobileNetV2"}]}
ON_PI = {"evaluate": {"targets": ["local/litert", "pi/litert"]}}


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    user_file().parent.mkdir(parents=True)


def parsed(folder: Path = Path(), **tables: Any) -> Recipe:
    return parse_recipe({**RECIPE, **tables}, folder)


def test_a_recipe_declares_devices_and_its_targets_name_them(tmp_path: Path) -> None:
    recipe = parsed(**ON_PI, device={"pi": {"kind": "local"}}, budget={"target": "pi/litert"})
    assert recipe.devices["pi"] == LocalTable() and list(recipe.devices) == [*BUILT_IN, "pi"]
    assert parse_recipe(recipe.to_dict()) == recipe
    path = tmp_path / "r.toml"
    path.write_text(recipe.to_toml())
    assert load_recipe(path).device == recipe.device
    assert with_overrides(parsed(), {"device.pi.kind": "local"}).device == recipe.device


def test_a_recipe_without_devices_is_what_it_was() -> None:
    assert "device" not in parsed().to_dict() and "device" not in parsed().to_toml()


def test_files_declare_them_and_a_run_keeps_those_that_it_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown device 'pi'"):
        parsed(tmp_path, **ON_PI)
    user_file().write_text('[device.pi]\nkind = "local"\n[device.phone]\nkind = "local"\n')
    assert list(parsed(tmp_path, **ON_PI).device) == ["pi"]
    assert parsed(tmp_path).device == {}
    user_file().unlink()
    (tmp_path / "devices.toml").write_text('[device.pi]\nkind = "local"\n')
    assert list(parsed(tmp_path, **ON_PI).device) == ["pi"]
    assert list(load_devices(tmp_path)) == [*BUILT_IN, "pi"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"pi": {"kind": "locl"}}, "device.pi: unknown kind 'locl'; did you mean 'local'"),
        ({"pi": {}}, "device.pi: it has no kind; known: local"),
        ({"pi": {"kind": ["x"]}}, "device.pi: unknown kind"),
        ({"pi": {"kind": "local", "hots": 1}}, "device.pi: unknown key 'hots'; known: kind"),
        ({"pi": 3}, "device.pi: a table is expected"),
        ({"local": {"kind": "local"}}, "'local' is always there"),
        ({"a/b": {"kind": "local"}}, "device.a/b"),
        ({"../x": {"kind": "local"}}, "device.../x"),
        ({"": {"kind": "local"}}, "device."),
        (3, "device: a table is expected"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(tables: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(device=tables)
    assert words in caught.value.message


def test_a_wrong_file_is_named() -> None:
    user_file().write_text('[device.pi]\nkind = "locl"\n[divice.x]\nkind = "local"\n')
    with pytest.raises(InputError) as caught:
        parsed(**ON_PI)
    assert str(user_file()) in caught.value.message
    assert "did you mean 'local'" in caught.value.message and "did you mean 'device'" in caught.value.message
    assert parsed().device == {}, "a recipe that names no such device does not read it"


def test_a_misspelt_device_is_recognised() -> None:
    user_file().write_text('[device.raspberry]\nkind = "local"\n')
    with pytest.raises(InputError, match="did you mean 'raspberry'"):
        parsed(evaluate={"targets": ["rasberry/litert"]})


@pytest.mark.parametrize("text", ["/litert", "a b/litert", "../x/litert", "-o/litert", "pi", "pi/", "pi/litrt"])
def test_what_no_target_can_be_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Devices({"pi": LocalTable()}).parse(text)


def test_a_device_s_name_may_have_a_colon_and_options_still_end_a_target() -> None:
    assert base_target("emulated:arm64/litert:threads=2") == "emulated:arm64/litert"
    assert base_target("local/litert:threads=2,batch=8") == "local/litert"
    assert str(Target.parse("emulated:arm64/litert==2.1")) == "emulated:arm64/litert==2.1"

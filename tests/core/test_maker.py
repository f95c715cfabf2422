"""Makers: the table of tools, and what the rooms read from it."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any, get_args

import pytest

from edgeproof.core import maker as table
from edgeproof.core.extras import EXTRAS
from edgeproof.core.maker import CONVERTER, MAKERS, QUANTIZER, TFMOT, MakerChoice, makers_of
from edgeproof.core.recipe import Export
from edgeproof.core.variant import SCHEMES, TRAININGS, Variant
from edgeproof.export import packages_of
from edgeproof.export.export import CALLS, _made_by
from edgeproof.workflows import steps
from edgeproof.workflows.doctor import doctor
from edgeproof.workflows.preflight import check_makers


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Let no module of these names be found."""

    def find(name: str, package: str | None = None) -> Any:
        return None if name in missing else find_spec(name, package)

    monkeypatch.setattr("edgeproof.core.extras.find_spec", find)


def test_a_maker_is_what_schemes_the_choice_and_the_calls_name() -> None:
    by_format = {format_: {m for scheme in rows.values() for m in scheme.makers} for format_, rows in SCHEMES.items()}
    for format_ in ("tflite", "onnx"):
        assert by_format[format_] == {maker.name for maker in makers_of(format_)}
    assert {training.maker for training in TRAININGS.values()} == {m.name for m in MAKERS.values() if not m.formats}
    assert CALLS.keys() == {maker.name for maker in MAKERS.values() if maker.formats}
    several = {name for rows in SCHEMES.values() for row in rows.values() if len(row.makers) > 1 for name in row.makers}
    assert {"best", *several} == set(get_args(MakerChoice))


@pytest.mark.parametrize("maker", MAKERS.values(), ids=str)
def test_a_makers_modules_are_of_its_extra_and_installed_here(maker: table.Maker) -> None:
    assert maker.extra is EXTRAS[maker.extra.name] and set(maker.modules) <= maker.extra.packages.keys()
    assert maker.installed and maker.line[-1] is maker


def test_files_name_the_tools_that_they_went_through() -> None:
    def tools(maker: str, *, from_ours: bool = True) -> list[str]:
        return [part.split()[0] for part in _made_by(maker, from_ours=from_ours).split(", ")]

    assert tools(CONVERTER) == ["tensorflow"] and tools("tf2onnx") == ["tensorflow", "tf2onnx", "onnx"]
    assert tools("onnxruntime") == ["tensorflow", "tf2onnx", "onnx", "onnxruntime"]
    assert tools(QUANTIZER) == ["tensorflow", "ai-edge-quantizer"]
    assert tools(QUANTIZER, from_ours=False) == ["ai-edge-quantizer"]
    assert set(packages_of("tflite")) >= {"tensorflow", "ai-edge-quantizer", "ai-edge-litert"}
    assert set(packages_of("onnx")) >= {"tensorflow", "tf2onnx", "onnx", "onnxruntime"}


def test_a_variant_asks_for_the_makers_that_it_cannot_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("tflite:int8", "tflite:int4", "tflite:qat-int8", "onnx:float32", "onnx:int8")
    assert check_makers(map(Variant.parse, names)) == []
    without(monkeypatch, "ai_edge_quantizer", "tf2onnx", "onnxruntime", "tensorflow_model_optimization")
    problems = check_makers(map(Variant.parse, names))
    assert [(error.message.split(", which")[0], error.remedy) for error in problems] == [
        ("tflite:int4: needs ai_edge_quantizer", "pip install 'edgeproof[quantize]', or leave it out"),
        ("tflite:qat-int8: needs tensorflow_model_optimization", "pip install 'edgeproof[quantize]', or leave it out"),
        ("onnx:float32, onnx:int8: needs tf2onnx", "pip install 'edgeproof[onnx]', or leave them out"),
        ("onnx:int8: needs onnxruntime", "pip install 'edgeproof[onnx]', or leave it out"),
    ]
    installed = steps.makers(Variant.parse("tflite:int8"), Export())
    assert CONVERTER in installed and QUANTIZER not in installed
    assert steps.makers(Variant.parse("tflite:int4"), Export()) == (QUANTIZER,)


def test_doctor_lists_every_maker_and_says_which_the_main_job_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    every = {name for maker in MAKERS.values() for name in maker.distributions}
    assert {check.what for check in doctor() if check.state == "ok"} >= every
    without(monkeypatch, "tf2onnx", "ai_edge_quantizer")
    states = {check.what: check.state for check in doctor()}
    assert (states["tf2onnx"], states["ai-edge-quantizer"]) == ("missing", "note")


def test_a_new_maker_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(MAKERS[TFMOT], name="new", formats=frozenset({"tflite"}), starts_from=CONVERTER)
    monkeypatch.setitem(table.MAKERS, "new", row)
    assert row in makers_of("tflite") and "tensorflow-model-optimization" in packages_of("tflite")
    assert [maker.name for maker in row.line] == [CONVERTER, "new"]

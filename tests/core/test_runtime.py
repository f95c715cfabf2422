"""Runtimes and operator sets: what other modules read of their tables, and what travels without them."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import get_args

import pytest

from edgeproof.core.device_tables import DEVICE_KINDS
from edgeproof.core.extras import EXTRAS
from edgeproof.core.opset import NEWEST, OLDEST, RUNTIME_OF, WRITTEN
from edgeproof.core.recipe import Export
from edgeproof.core.runtime import FAMILIES, RUNTIMES, Versions, readers
from edgeproof.core.target import TRIAL_TARGET
from edgeproof.export import bundle
from edgeproof.export.in_process import ENGINES
from edgeproof.quantize import aware_training, diagnosis
from edgeproof.train import copies, external, fit
from edgeproof.train.text import fit as text_fit


def test_every_family_of_versions_has_a_name_and_a_runtime() -> None:
    assert set(get_args(Versions)) == FAMILIES.keys() == {runtime.versions for runtime in RUNTIMES.values()}


def test_a_kind_of_device_names_runtimes_that_there_are() -> None:
    assert all(set(kind.runtimes) <= RUNTIMES.keys() for kind in DEVICE_KINDS.values())
    programs = [name for name, row in RUNTIMES.items() if row.program]
    assert programs and set(programs) < set(DEVICE_KINDS["adb"].runtimes)


def test_files_are_tried_in_runtimes_that_read_them() -> None:
    assert all(runtime in readers(format_) for format_, (runtime, _) in ENGINES.items())
    assert TRIAL_TARGET.engine is ENGINES["tflite"][0]


def test_a_bundles_own_module_knows_the_same_runtimes() -> None:
    path = Path(bundle.__file__ or "").parent / "templates" / "model.py"
    spec = spec_from_file_location("bundled_model", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for format_, listed in (("tflite", module.TFLITE), ("onnx", module.ONNX)):
        ours = {row.name: row for row in readers(format_)}
        # TensorFlow's interpreter is a part of it, and no runtime of its own here.
        assert {name for name, _ in listed} == ours.keys() | ({"tensorflow"} if format_ == "tflite" else set())
        for name, interpreter in listed:
            row = RUNTIMES[name]
            assert interpreter == row.interpreter and module.NAMES.get(name, name) == row.title
            assert module.DISTRIBUTIONS.get(name, name) == row.distribution


def test_opsets_are_those_that_tf2onnx_writes_and_a_recipe_takes() -> None:
    constants = pytest.importorskip("tf2onnx.constants")
    assert max(constants.OPSET_TO_IR_VERSION) == WRITTEN and list(RUNTIME_OF) == list(range(OLDEST, NEWEST + 1))
    assert OLDEST <= Export().onnx_opset <= WRITTEN <= NEWEST


def test_packages_that_keys_of_the_store_name_are_packages() -> None:
    known = {name for extra in EXTRAS.values() for name in extra.packages.values()} | {"edgeproof", "numpy", "keras"}
    for module in (aware_training, diagnosis, copies, external, fit, text_fit):
        assert set(module.PACKAGES) <= known, module.__name__

"""Readers that run in a process of their own: what comes back, and which readers do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeproof.core import isolated
from edgeproof.core.errors import InputError
from edgeproof.core.recipe import ModelSpec
from edgeproof.frameworks import hdf5
from edgeproof.train.backbones import check_backbone

HOME = Path(__file__).parents[2]
ROOMS = (
    "cli", "workflows", "report", "data", "train", "quantize", "export", "devices", "evaluate", "tflite", "tasks",
    "frameworks", "core",
)  # fmt: skip


def hdf5_file(path: Path, *, link: str = "", weights: bool = True) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        if weights:
            file["w"] = [1.0, 2.0]
        if link:
            file["elsewhere"] = h5py.ExternalLink(link, "/")
        file.attrs["model_config"], file.attrs["keras_version"] = '{"class_name": "Sequential"}', "2.15.0"
    return path


def test_results_and_refusals_come_back_as_they_were(tmp_path: Path) -> None:
    path = hdf5_file(tmp_path / "a.h5")
    assert hdf5.check(path) == {"model_config": '{"class_name": "Sequential"}', "keras_version": "2.15.0"}
    hdf5_file(path, link="/etc/passwd")
    with pytest.raises(InputError, match=r"a\.h5: '/elsewhere' is a link into another file") as refused:
        hdf5.check(path)
    assert refused.value.remedy == "do not use this file"


@pytest.mark.parametrize(
    ("function", "arguments", "why"),
    [
        ("os:abort", [], "crashes the process that reads it"),
        ("os:kill", [], "TypeError"),
        ("subprocess:getoutput", ["sleep 60"], "did not end within 2 s"),
        ("json:loads", ["[" * 100_000], "RecursionError"),
        ("sys:exit", ["now"], "ended with exit status 1"),
    ],
)
def test_a_reader_that_fails_in_any_way_is_told(
    function: str, arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arguments == ["sleep 60"]:
        monkeypatch.setattr(isolated, "SECONDS", 2)
    with pytest.raises(isolated.ProcessEndedError, match=why):
        isolated.call(function, *arguments)


def test_what_a_library_prints_is_no_part_of_the_result_and_the_current_folder_brings_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert isolated.call("builtins:print", "noise") is None
    assert isolated.call("os:getcwd") == str(tmp_path)


def test_only_processes_with_limits_import_h5py() -> None:
    """The reader in a process of its own, and what runs in the process that holds TensorFlow."""
    modules = {
        path.relative_to(HOME).as_posix()
        for room in ROOMS
        for path in (HOME / room).rglob("*.py")
        if re.search(r"^\s*(import|from) h5py", path.read_text(), re.MULTILINE)
    }
    assert modules == {"frameworks/hdf5.py", "train/applications.py", "train/external/configured_copy.py"}


def test_keras_files_are_examined_without_h5py_in_this_process(tmp_path: Path) -> None:
    hdf5_file(tmp_path / "m.h5")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.3.0"}))
        archive.write(tmp_path / "m.h5", "model.weights.h5")
    code = (
        "import sys; from pathlib import Path; from edgeproof.train.external import identify\n"
        f"found = [identify(Path({str(tmp_path)!r}) / name, trust=False).keras for name in ('m.h5', 'm.keras')]\n"
        "assert found == [2, 3] and 'h5py' not in sys.modules, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("packed", [False, True])
def test_weights_are_looked_through_like_models(packed: bool, tmp_path: Path) -> None:
    """Links into other files would have Keras open those."""
    path = hdf5_file(tmp_path / "w.h5", link=str(tmp_path / "other.h5"))
    if packed:
        with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
            archive.writestr("config.json", "{}")
            archive.writestr("metadata.json", "{}")
            archive.write(path, "model.weights.h5")
        path = tmp_path / "w.keras"
    spec = ModelSpec.model_validate({"name": "m", "backbone": "keras:MobileNet", "weights": str(path)})
    with pytest.raises(InputError, match=r"model 'm': .*is a link into another file"):
        check_backbone(spec, folder=tmp_path)


@pytest.mark.slow
def test_catalogues_are_read_by_tensorflow_in_its_own_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from edgeproof.workflows.input_spec import InputSpec\n"
        "from edgeproof.workflows.prepare_data import prepared\n"
        "from edgeproof.core.errors import InputError\n"
        "from edgeproof.core.progress import Silent\n"
        "from edgeproof.core.recipe import Data\n"
        "from edgeproof.core.store import Store\n"
        f"here = Path({str(tmp_path)!r})\n"
        "try:\n"
        "    prepared(Data(source='keras:mnist'), InputSpec('image', 8, 'stretch'), seed=1, folder=here,\n"
        "             store=Store(here / '.store'), listener=Silent(), use='test')\n"
        "except InputError as error:\n"
        "    assert 'could not be loaded' in error.message, error\n"
        "assert 'tensorflow' not in sys.modules and (here / '.store' / 'tensorflow.log').is_file()"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if name.lower() != "no_proxy"},
        "https_proxy": "http://127.0.0.1:9",  # the discard port: refused at once
        "KERAS_HOME": str(tmp_path / "keras"),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr

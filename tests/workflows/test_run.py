"""The main job on a tiny model: every cell has a status, nothing is done twice, a killed run ends the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.core.target import Target
from edgeproof.devices.runtimes import installed_versions

from ..conftest import RECIPE, TinyRun, run_recipe

pytestmark = pytest.mark.slow
HOSTILE = ["../x", "<script>alert(1)</script>", "=cmd()|' /C calc'!A0", "a" * 300, "😀 | `code`"]


def small(**more: Any) -> dict[str, Any]:
    """A recipe of one variant and one runtime. The reference in TensorFlow is a target of the tiny run."""
    evaluate = {**RECIPE["evaluate"], "targets": ["local/litert"]}  # type: ignore[dict-item]
    return {**RECIPE, "export": {"variants": ["tflite:float32"]}, "evaluate": evaluate, "train": {"epochs": 1}, **more}


def test_every_cell_has_a_status(tiny: TinyRun) -> None:
    results = tiny.finished.results
    cells = {(m.artifact, m.target): m for m in results.measurements}
    assert len(cells) == len(results.artifacts) * len(tiny.recipe.evaluate.targets)
    for artifact in results.artifacts:
        for target in tiny.recipe.evaluate.targets:
            row = cells[artifact.id, target]
            if row.status == "ok":
                assert row.accuracy is not None and row.accuracy_low is not None and row.accuracy_high is not None
                assert row.accuracy_low <= row.accuracy <= row.accuracy_high
                assert row.samples == tiny.data.counts["test"] == 60
                assert row.latency_ms and row.latency_ms.processes == 2
                assert row.latency_ms.low <= row.latency_ms.median <= row.latency_ms.high
                assert row.load_ms and row.first_ms and row.peak_memory_bytes and row.kind == "measured"
            else:
                assert row.reason and row.remedy, row
                missing = not installed_versions()[Target.parse(target).runtime]
                reads = Target.parse(target).reads(artifact.format)
                assert missing or not reads or artifact.scheme in ("dynamic", "int16x8"), row


def test_what_quantization_costs_is_told_on_test_and_validation(tiny: TinyRun) -> None:
    rows = [m for m in tiny.finished.results.measurements if m.status == "ok" and "savedmodel" not in m.artifact]
    splits = {"test": 60, "validation": tiny.data.counts["validation"]}
    assert splits["validation"] >= 20  # a tenth of 200 training images, of each class at least so many
    for row in rows:
        assert row.pooled_drop and row.pooled_drop.splits == splits, "one tool made each file"
        assert row.pooled_drop.samples == sum(splits.values())
        assert row.samples == 60
    assert f"on test and validation, {sum(splits.values())} samples" in (tiny.folder / "report.md").read_text()


def test_float_files_answer_as_the_reference_does(tiny: TinyRun) -> None:
    for row in tiny.finished.results.measurements:
        if row.status == "ok" and row.artifact.endswith("float32"):
            assert row.agreement == 1.0 and row.drop == 0.0, row


def test_without_tensorflow_among_the_targets_files_are_held_against_the_float32_file(
    tiny: TinyRun, tmp_path: Path
) -> None:
    shutil.copytree(tiny.folder, tmp_path / "run")
    table = {
        **RECIPE,
        "export": {**RECIPE["export"], "variants": ["tflite:float32", "tflite:int8"]},  # type: ignore[dict-item]
        "evaluate": {**RECIPE["evaluate"], "targets": ["local/litert"]},  # type: ignore[dict-item]
        "budget": {"max_accuracy_drop": 1.0},
    }
    results = run_recipe(parse_recipe(table), tmp_path / "run").results
    drops = {m.artifact: m.drop for m in results.measurements if m.status == "ok"}
    assert drops["tiny--tflite-float32"] == 0.0 and drops["tiny--tflite-int8"] is not None
    assert results.budget["met"]


def test_the_folder_holds_what_the_contract_says(tiny: TinyRun) -> None:
    folder = tiny.folder
    for name in ("report.html", "report.md", "results.json", "results.csv", "recipe.toml", "log.jsonl"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "models" / "tiny" / "saved_model" / "saved_model.pb").exists()
    document = json.loads((folder / "results.json").read_text())
    assert document["schema"] == 1 and document["models"][0]["samples"] == 60
    refused = {a["scheme"]: a["reason"] for a in document["artifacts"] if a["status"] != "ok"}
    assert list(refused) == ["int16x8"] and "overflow" in refused["int16x8"]  # nobody trained this network
    for artifact in document["artifacts"]:
        if artifact["status"] != "ok":
            assert artifact["path"] is None and artifact["remedy"]
            continue
        path = folder / artifact["path"]
        assert path.exists() and not Path(artifact["path"]).is_absolute()
        if artifact["format"] != "savedmodel":
            assert sha256_file(path) == artifact["sha256"] and path.stat().st_size == artifact["bytes"]
            sidecar = json.loads(path.with_suffix(".json").read_text())
            assert sidecar["sha256"] == artifact["sha256"] and sidecar["loads"] == artifact["loads"]
            assert sidecar["ops"] and sidecar["inputs"][0]["name"] == "image"
            assert sidecar["parent_sha256"] == document["models"][0]["sha256"]
            assert (sidecar["calibration"].get("count") == 20) == ("int" in artifact["scheme"])
    for row in document["measurements"]:
        if row["raw"]:
            raw = json.loads((folder / row["raw"]).read_text())
            runs = [t for process in raw["processes"] for t in process["runs_ms"]]
            assert len(runs) == row["latency_ms"]["runs"]
    assert parse_recipe(_toml(folder / "recipe.toml")).sha256 == document["run"]["recipe_sha256"]
    for line in (folder / "log.jsonl").read_text().splitlines():
        assert {"time", "level", "message"} <= json.loads(line).keys()


def test_calibration_sees_training_images_alone(tiny: TinyRun) -> None:
    (entry,) = (tiny.folder / ".store" / "calibration").iterdir()
    drawn = np.load(entry / "calibration.npy")
    train = {image.tobytes() for image in tiny.data.rows("train")[:]}
    test = {image.tobytes() for image in np.load(tiny.data.images("test"))}
    assert len(drawn) == 20
    assert all(image.tobytes() in train and image.tobytes() not in test for image in drawn)
    record = json.loads((entry / "calibration.json").read_text())
    assert sum(record["per_class"].values()) == 20 and set(record["per_class"].values()) == {2}


def test_an_unchanged_run_does_nothing(tiny: TinyRun) -> None:
    run_recipe(tiny.recipe, tiny.folder)  # tests share this run: where one wrote a file anew, its time is noted now
    before = {p: p.stat().st_mtime_ns for p in tiny.folder.rglob("*") if p.is_file()}
    again = run_recipe(tiny.recipe, tiny.folder)
    after = {p: p.stat().st_mtime_ns for p in tiny.folder.rglob("*") if p.is_file()}
    assert again.results.to_json() == tiny.finished.results.to_json()
    assert {p for p in after if after[p] != before.get(p)} <= {tiny.folder / "log.jsonl"}


def test_an_unchanged_run_loads_nothing_that_a_run_does_its_work_with(tiny: TinyRun) -> None:
    code = f"""import sys
from edgeproof.workflows.run import run
run({str(tiny.folder / "recipe.toml")!r}, {str(tiny.folder)!r})
print(*sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"tensorflow", "matplotlib", "ai_edge_litert", "onnx", "distributed"}
    rooms = {"workflows.pipeline", "workflows.training_data", "devices.cluster.connection", "report.html"}
    assert not loaded & {f"edgeproof.{name}" for name in rooms}


def test_a_lost_file_comes_back_from_the_store(tiny: TinyRun) -> None:
    path = tiny.folder / "artifacts" / "tiny--tflite-int8.tflite"
    content = path.read_bytes()
    path.unlink()
    entries = _entries(tiny.folder)
    run_recipe(tiny.recipe, tiny.folder)
    assert path.read_bytes() == content
    assert _entries(tiny.folder) == entries


def test_damage_is_noticed_made_anew_and_said(tiny: TinyRun, tmp_path: Path) -> None:
    """In the run's own files and in the store: with and without the traces that a write leaves."""
    run = tmp_path / "run"
    shutil.copytree(tiny.folder, run, ignore=shutil.ignore_patterns("log.jsonl"))
    before = {a.id: a.sha256 for a in tiny.finished.results.artifacts}
    cells = {(m.artifact, m.target): (m.status, m.accuracy) for m in tiny.finished.results.measurements}

    shipped = run / "artifacts" / "tiny--tflite-int8.tflite"
    intact, times = shipped.read_bytes(), shipped.stat()
    shipped.write_bytes(intact[:1000] + bytes([intact[1000] ^ 1]) + intact[1001:])
    os.utime(shipped, ns=(times.st_atime_ns, times.st_mtime_ns))
    (run / "artifacts" / "tiny--tflite-float16.tflite").unlink()
    (stored,) = (run / ".store" / "artifact").glob("*/tiny--tflite-float16.tflite")
    stored.write_bytes(b"")
    (arrays,) = (run / ".store" / "data").glob("*/train.pack")
    samples = arrays.read_bytes()
    arrays.write_bytes(samples[:128] + bytes(len(samples) - 128))

    again = run_recipe(tiny.recipe, run)
    assert {a.id: a.sha256 for a in again.results.artifacts} == before
    assert {(m.artifact, m.target): (m.status, m.accuracy) for m in again.results.measurements} == cells
    for artifact in again.results.artifacts:
        if artifact.path is not None and artifact.format != "savedmodel":
            assert sha256_file(run / artifact.path) == artifact.sha256, "what ships is what was measured"
    assert shipped.read_bytes() == intact and arrays.read_bytes() == samples
    messages = [json.loads(line)["message"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert sum("has changed since its run" in line for line in messages) == 1
    assert sum("the store's artifact" in line and "is damaged" in line for line in messages) == 1
    assert sum("the store's data" in line and "is damaged" in line for line in messages) == 1
    entries = _entries(run)
    assert run_recipe(tiny.recipe, run).results.to_json() == again.results.to_json() and _entries(run) == entries


def test_a_changed_recipe_redoes_what_it_changes(tiny: TinyRun, tmp_path: Path) -> None:
    table = small(train=RECIPE["train"], export={**RECIPE["export"], "variants": ["tflite:float32"]})  # type: ignore[dict-item]
    shutil.copytree(tiny.folder / ".store", tmp_path / ".store")
    run_recipe(parse_recipe(table), tmp_path)
    before = _entries(tmp_path)
    table["export"] = {**table["export"], "variants": ["tflite:float32", "tflite:dynamic-per-tensor"]}
    finished = run_recipe(parse_recipe(table), tmp_path)
    new = _entries(tmp_path) - before
    assert {key.split("/")[0] for key in new} == {"artifact", "load", "answers", "latency"}
    assert sum(key.startswith("artifact/") for key in new) == 1
    assert [a.scheme for a in finished.results.artifacts] == ["float32", "float32", "dynamic-per-tensor"]


MOMENTS = {
    "data": signal.SIGKILL,
    "train head": signal.SIGKILL,
    "fine-tune": signal.SIGTERM,
    "export tiny": signal.SIGINT,
    "accuracy": signal.SIGKILL,
}


def test_a_run_that_is_killed_again_and_again_goes_on_and_ends_the_same(tiny: TinyRun, tmp_path: Path) -> None:
    """At one moment after the other: each time it goes on from what was finished."""
    evaluate = {**RECIPE["evaluate"], "targets": ["local/litert", "local/onnxruntime"]}  # type: ignore[dict-item]
    variants = {"variants": ["tflite:int8", "onnx:float32"], "calibration": {"samples": 20}}
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(parse_recipe({**RECIPE, "export": variants, "evaluate": evaluate}).to_toml())
    out = tmp_path / "run"
    command = [sys.executable, "-m", "edgeproof", "run", str(recipe), "--out", str(out)]
    log = out / "log.jsonl"
    for moment, by in MOMENTS.items():
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            lines = log.read_text().splitlines() if log.exists() else []
            if any(json.loads(line)["message"] == moment for line in lines):
                break
            time.sleep(0.02)
        process.send_signal(by)
        # Told to end, it ends by itself and says so; killed, it cannot. Either way before the run was finished.
        assert process.wait() == (-signal.SIGKILL if by == signal.SIGKILL else 130), moment
        _wait_for_orphans(out)

    again = subprocess.run(command, check=False, capture_output=True, timeout=600)
    assert again.returncode in (0, 1), again.stderr  # 1: an untrained network's files may miss the budget
    ours = json.loads((out / "results.json").read_text())
    expected = {a.id: a.sha256 for a in tiny.finished.results.artifacts}
    assert [a["scheme"] for a in ours["artifacts"]] == ["float32", "int8", "float32"]
    for artifact in ours["artifacts"]:
        assert artifact["sha256"] == expected[artifact["id"]], artifact["id"]
    cells = {(m.artifact, m.target): (m.status, m.accuracy) for m in tiny.finished.results.measurements}
    for m in ours["measurements"]:
        assert (m["status"], m["accuracy"]) == cells[m["artifact"], m["target"]]


def test_hostile_class_names_pass_through_harmlessly(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = ["path,label"]
    for number, label in enumerate(HOSTILE):
        for copy in range(12):
            pixels = random.integers(0, 60, (20, 20, 3)) + 30 * number
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}-{copy}.png")
            rows.append(f'{number}-{copy}.png,"{label}"')
    (tmp_path / "data.csv").write_text("\n".join(rows), encoding="utf-8")
    out = tmp_path / "run"
    finished = run_recipe(parse_recipe(small(data={"source": f"csv:{tmp_path / 'data.csv'}"})), out)
    assert set(finished.results.models[0]["labels"]) == set(HOSTILE)

    class Tags(HTMLParser):
        scripts = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.scripts += tag == "script"

    html = (out / "report.html").read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(html)
    assert "<script>alert(1)" not in html
    assert parser.scripts == html.count("<script")
    assert "<script>alert" not in (out / "report.md").read_text(encoding="utf-8")
    for line in (out / "results.csv").read_text(encoding="utf-8").splitlines():
        assert not any(cell.startswith(("=", "+", "@")) for cell in line.split(","))
    written = {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*")}
    assert written == {"run", "data.csv", *(p.name for p in tmp_path.glob("*.png"))}, "nothing lands outside the run"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"source": "folder:/none"}}, "/none"),
        ({"data": {"source": "csv:/none.csv"}}, "/none.csv"),
        ({"data": {"source": "ftp:x"}}, "ftp"),
        ({"model": [{"name": "m", "backbone": "keras:MobilNetV2"}]}, "MobileNetV2"),
        ({"model": [{"name": "m", "backbone": "keras:InceptionV3", "image_size": 32}]}, "75"),
        ({"model": [{"name": "m", "backbone": "keras:MobileNet", "weights": "none.h5"}]}, "none.h5"),
    ],
)
def test_wrong_input_is_told_before_anything_starts(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        run_recipe(parse_recipe(small(**change)), tmp_path / "run")
    assert words in str(caught.value) and caught.value.remedy
    assert not (tmp_path / "run" / "results.json").exists()


def test_several_mistakes_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 things are in the way"):
        run_recipe(
            parse_recipe(small(data={"source": "folder:/none"}, model=[{"name": "m", "backbone": "keras:X"}])), tmp_path
        )


def test_a_download_that_fails_names_the_offline_choices(tmp_path: Path) -> None:
    """Works on a machine without the network and on one with it: a proxy that nobody listens at cuts the way."""
    environment = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    recipe = tmp_path / "r.toml"
    model = [{"name": "m", "backbone": "keras:MobileNetV2", "image_size": 96}]
    recipe.write_text(parse_recipe(small(model=model)).to_toml())
    done = subprocess.run(
        [sys.executable, "-m", "edgeproof", "run", str(recipe), "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert done.returncode in (2, 3)
    assert "package:mobilenet_v2" in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """On a real full disk: a file system of 3 MB in a mount namespace of this user's own."""
    can = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if can.returncode != 0:
        pytest.skip("this system allows no user namespaces")
    recipe = tmp_path / "r.toml"
    recipe.write_text(parse_recipe(small()).to_toml())
    out = tmp_path / "disk"
    out.mkdir()
    run = f"{sys.executable} -m edgeproof run {recipe} --out {out}/run; echo status $?"
    script = f"mount -t tmpfs -o size=3m none {out} && {run} && mount -o remount,size=300m {out} && {run}"
    command = ["unshare", "-rm", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    first, second = re.findall(r"^status (\d)", done.stdout, re.MULTILINE)
    assert first == "3" and second in "01", done.stderr
    assert "disk" in done.stderr and "Traceback" not in done.stderr


def test_a_failed_training_is_a_stage_error(tmp_path: Path) -> None:
    broken = tmp_path / "weights.h5"
    broken.write_bytes(b"not weights")
    model = [{"name": "m", "backbone": "keras:MobileNet", "weights": str(broken), "image_size": 32}]
    with pytest.raises((StageError, InputError), match="weights"):
        run_recipe(parse_recipe(small(model=model)), tmp_path / "run")


def _toml(path: Path) -> dict[str, Any]:
    from edgeproof.core.documents import tomllib

    return tomllib.loads(path.read_text())


def _entries(folder: Path) -> set[str]:
    stages = [p for p in (folder / ".store").iterdir() if p.is_dir() and p.name not in ("partial", "sums")]
    return {f"{stage.name}/{p.name}" for stage in stages for p in stage.iterdir() if p.is_dir()}


def _wait_for_orphans(out: Path) -> None:
    """Wait until what the killed run had started is gone: it ends itself when its parent is."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ours = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str((process / "fd" / "2").readlink()).startswith(str(out)):
                    ours.append(process)
        if not ours:
            return
        time.sleep(0.2)
    pytest.fail(f"processes outlived their run: {ours}")

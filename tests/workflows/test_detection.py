"""Detectors through every command: each figure equals pycocotools' on what the runtimes answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeproof as ep
from edgeproof.core.boxes import BoxReading
from edgeproof.core.codec import from_json, to_json
from edgeproof.core.errors import InputError
from edgeproof.tasks.average_precision import iou

from ..support.coco_figures import class_figures, coco_eval
from ..support.detectors import (
    POSTPROCESS_SIDE,
    SIDE,
    centred_anchors,
    int8_detector,
    onnx_detector,
    pictures,
    postprocess_file,
    save_detector,
)
from ..support.external_imports import Heard

QUICK = {"processes": 1, "max_seconds": 0, "run_seconds": 0.02, "warmup_seconds": 0}


def true_boxes(found: list[np.ndarray], side: int) -> list[dict[str, Any]]:
    """Boxes near some of those that a file finds, [x1, y1, x2, y2] in pixels, one of them of another class."""
    random, listed = np.random.default_rng(4), []
    for rows in found:
        kept = rows[:5]
        corners = np.clip(kept[:, :4] * side + random.normal(0, side / 50, (len(kept), 4)), 0, side)
        good = (corners[:, 2:] > corners[:, :2] + 1).all(axis=1)
        classes = np.where(random.random(len(kept)) < 0.2, 0, kept[:, 5])
        listed.append({"boxes": corners[good], "classes": classes[good], "crowd": random.random(good.sum()) < 0.1})
    return listed


def expected(listed: list[dict[str, Any]], found: list[np.ndarray], side: int) -> Any:
    targets = np.full((len(listed), 8, 6), -1.0)
    answers = np.zeros((len(found), 300, 6), np.float32)
    for at, (one, rows) in enumerate(zip(listed, found, strict=True)):
        columns = [one["boxes"] / side, one["classes"], one["crowd"]]
        targets[at, : len(one["boxes"])] = np.column_stack(columns)
        answers[at, : len(rows)] = rows
    return coco_eval(targets, answers)


def found_by(path: Path, x: np.ndarray, names: tuple[str, ...]) -> list[np.ndarray]:
    """What LiteRT or ONNX Runtime answers, as rows x1, y1, x2, y2, score, class; `names` are of boxes, scores, classes,
    count."""
    rows = []
    for sample in x:
        if path.suffix == ".onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            values = session.run(None, {session.get_inputs()[0].name: sample[None]})
            given = dict(zip((one.name for one in session.get_outputs()), values, strict=True))
        else:
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(model_path=str(path))
            interpreter.allocate_tensors()
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
            interpreter.invoke()
            details = (
                interpreter.get_signature_runner().get_output_details()
                if interpreter.get_signature_list()
                else {one["name"]: one for one in interpreter.get_output_details()}
            )
            given = {name: interpreter.get_tensor(one["index"]) for name, one in details.items()}
        boxes, scores, classes, count = (given[name].reshape(-1, *given[name].shape[2:]) for name in names)
        number = int(count[0])
        rows.append(np.column_stack([boxes[:number][:, [1, 0, 3, 2]], scores[:number], classes[:number]]))
    return rows


def coco_file(path: Path, x: np.ndarray, listed: list[dict[str, Any]], names: list[str]) -> str:
    """Write pictures and boxes, whose categories have the ids 40, 30 and 20; `names` are in the order of ids."""
    annotations = []
    for image, one in enumerate(listed):
        Image.fromarray(x[image]).save(path.with_name(f"{image:02d}.png"))
        for (x1, y1, x2, y2), number, crowd in zip(
            one["boxes"].tolist(), one["classes"].tolist(), one["crowd"].tolist(), strict=True
        ):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": 40 - 10 * int(number), "iscrowd": int(crowd)}
            annotations.append({"id": len(annotations), "image_id": image, **box})
    document = {
        "images": [
            {"id": i, "file_name": f"{i:02d}.png", "height": x.shape[1], "width": x.shape[2]} for i in range(len(x))
        ],
        "annotations": annotations,
        "categories": [{"id": 50 - 10 * len(names) + 10 * at, "name": name} for at, name in enumerate(names)],
    }
    path.write_text(json.dumps(document), "utf-8")
    return f"coco:{path}"


def test_a_file_that_ends_in_tensorflow_lites_suppression(tmp_path: Path) -> None:
    path, x = postprocess_file(tmp_path / "ssd.tflite"), pictures(POSTPROCESS_SIDE, 12)
    names = ("boxes", "scores", "classes", "count")
    found = found_by(path, x.astype(np.float32), names)
    listed = true_boxes(found, POSTPROCESS_SIDE)
    heard = Heard()
    run = ep.evaluate(path, (x, listed), "local/litert", out=tmp_path / "run", latency=QUICK, progress=heard)
    (row,) = run.results.measurements
    figures = expected(listed, found, POSTPROCESS_SIDE)
    assert (row.status, row.metric) == ("ok", "COCO mAP"), row.reason
    assert 0 < figures.stats[0] < 1 and row.accuracy == pytest.approx(figures.stats[0], abs=1e-6)
    assert row.metrics["mAP@.50"] == pytest.approx(figures.stats[1], abs=1e-6)
    each = class_figures(figures)
    assert {number: row.metrics[f"AP {number}"] for number in each} == pytest.approx(each, abs=1e-6)
    source = coco_file(tmp_path / "boxes.json", x, listed, ["pot", "cup"])
    assert "| Boxes | boxes from boxes and classes from classes and" in (run.folder / "report.md").read_text("utf-8")
    said = " ".join(heard.notes)
    assert "boxes from boxes and classes from classes" in said and "the task is detection" in said
    bundle = ep.bundle(path, data=(x[3:4].astype(np.float32),), out=tmp_path / "bundles", samples=1)
    example = [sys.executable, str(bundle.folder / "example.py")]
    lines = subprocess.run(example, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    sure = found[3][found[3][:, 4] >= 0.25]
    assert lines[0].startswith(f"{len(sure)} boxes of a score of 0.25 or more; a box is [ymin, xmin, ymax, xmax]")
    assert lines[1].split()[:3] == [f"{sure[0, 4]:.4f}", "class", f"{sure[0, 5]:.0f}"]
    assert bundle.manifest["file"]["answer_kind"] == "boxes" and bundle.manifest["file"]["answer"] == 2
    assert not bundle.manifest["consumers"], "those of classifiers are of no use"
    assert "The model is a detector: boxes in `boxes`, classes in" in (bundle.folder / "README.md").read_text()
    assert "output 2 scores" in (bundle.folder / "android" / "Detector.kt").read_text()
    verify = subprocess.run([sys.executable, str(bundle.folder / "verify.py")], capture_output=True, check=False)
    assert verify.returncode == 0
    (artifact,) = run.results.artifacts
    assert artifact.boxes is not None and artifact.boxes.corners == "yxyx"
    from_file = ep.evaluate(path, source, "local/litert", out=tmp_path / "coco", latency=QUICK, labels=["cup", "pot"])
    (again,) = from_file.results.measurements
    assert again.accuracy == pytest.approx(row.accuracy, abs=1e-6)
    assert again.metrics["AP pot"] == pytest.approx(row.metrics["AP 1"], abs=1e-6)
    with pytest.raises(InputError, match="'xyz' is not known"):
        ep.evaluate(path, source, "local/litert", out=tmp_path / "no", latency=QUICK, boxes="xyz")
    with pytest.raises(InputError, match=r"does not know pot; pot is in \d+ samples, first in \d+"):
        ep.evaluate(path, source, "local/litert", out=tmp_path / "other", latency=QUICK, labels=["cup", "jug"])
    turned = [{**one, "boxes": one["boxes"][:, [1, 0, 3, 2]]} for one in listed]
    doubts = Heard()
    ep.evaluate(path, (x, turned), "local/litert", out=tmp_path / "turned", latency=QUICK, progress=doubts)
    assert any("with its boxes read as yxyx, and of" in one for one in doubts.notes)
    assert not any("with its boxes read as" in one for one in heard.notes)
    wrong = ep.evaluate(path, (x, listed), "local/litert", out=tmp_path / "wrong", latency=QUICK, boxes="yolov8")
    (row,) = wrong.results.measurements
    assert row.status == "failed" and "cannot be read as boxes" in row.reason and "--boxes" in row.remedy
    with pytest.raises(InputError, match="class number 2, and the file has 1 classes"):
        ep.evaluate(path, (x, [{**one, "classes": one["classes"] * 0 + 2} for one in listed]), "local/litert",
                    out=tmp_path / "few", latency=QUICK, labels=["cup"])  # fmt: skip


def test_encodings_relative_to_anchors_give_the_boxes_of_the_operator_that_decodes_them(tmp_path: Path) -> None:
    """TFLite_Detection_PostProcess of one class takes the best class a candidate and suppresses within it, as we do."""
    x = pictures(POSTPROCESS_SIDE, 12)
    whole, raw = postprocess_file(tmp_path / "whole.tflite", classes=1, kept=48), tmp_path / "raw.tflite"
    postprocess_file(raw, classes=1, raw=True)
    found = found_by(whole, x.astype(np.float32), ("boxes", "scores", "classes", "count"))
    assert sum(map(len, found)) > 30
    listed = true_boxes(found, POSTPROCESS_SIDE)
    table = tmp_path / "anchors.csv"
    np.savetxt(table, centred_anchors(), delimiter=",", header="ycenter,xcenter,h,w", comments="")
    quick = {"latency": QUICK, "targets": "local/litert", "labels": ["pot"]}
    heard = Heard()
    run = ep.evaluate(
        raw, (x, listed), out=tmp_path / "run", anchors=f"{table},iou=0.5,score=0.2", progress=heard,
        budget={"max_bytes": 10**6}, **quick,
    )  # fmt: skip
    (row,) = run.results.measurements
    assert row.status == "ok", row.reason
    figures = expected(listed, found, POSTPROCESS_SIDE)
    assert 0.1 < figures.stats[0] < 1 and row.accuracy == pytest.approx(figures.stats[0], abs=1e-6)
    assert "decoded as ssd with 48 anchors (anchors.csv)" in " ".join(heard.notes)
    assert "the first column is the background" in " ".join(heard.notes)
    reading = run.results.artifacts[0].boxes
    assert reading is not None and reading.decoding is not None and reading.decoding.background == "first"
    assert from_json(BoxReading, to_json(reading)) == reading
    settings = {"anchors": centred_anchors(), "iou": 0.5, "score": 0.2, "scales": [10, 10, 5, 5]}
    again = ep.evaluate(raw, (x, listed), out=tmp_path / "again", anchors=settings, boxes="ssd", **quick)
    assert again.results.measurements[0].accuracy == row.accuracy

    sample = (x[3:4].astype(np.float32),)
    bundle = ep.bundle(raw, data=sample, out=tmp_path / "bundles", samples=1, anchors=f"{table},iou=0.5,score=0.2")
    example = [sys.executable, str(bundle.folder / "example.py")]
    lines = subprocess.run(example, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    sure = found[3][found[3][:, 4] >= 0.25]
    assert lines[0].startswith(f"{len(sure)} boxes of a score of 0.25 or more; a box is [ymin, xmin, ymax, xmax]")
    for line, one in zip(lines[1:], sure[:20], strict=True):
        corners = [float(number) for number in line.partition("[")[2].rstrip("]").split(",")]
        assert corners == pytest.approx(one[[1, 0, 3, 2]], abs=1e-3) and line.split()[0] == f"{one[4]:.4f}"
    recorded = ep.bundle(run, out=tmp_path / "of the run", samples=2).manifest
    assert recorded["file"]["boxes"] == to_json(reading) and recorded["labels"] == ["pot"]
    assert not recorded["golden"]["random"], "they are the samples of the evaluation"
    results = run.folder / "results.json"
    kept = results.read_text("utf-8")
    for old, new, words in (
        ('"anchors": "', '"anchors": "AAAA', "its anchors"),
        ('"count": 48', '"count": 47', "47 rows"),
    ):
        results.write_text(kept.replace(old, new), "utf-8")
        with pytest.raises(InputError, match=f"results.json describes its boxes.*{words}"):
            ep.bundle(run.folder, out=tmp_path / "damaged", samples=1)
    results.write_text(kept.replace('"coded",', '"other",'), "utf-8")  # of other outputs: it is read again
    assert "boxes" not in ep.bundle(run.folder, out=tmp_path / "damaged", samples=1).manifest["file"]
    results.write_text(kept, "utf-8")
    assert "encoded relative to 48 anchors" in (bundle.folder / "README.md").read_text()

    small = ep.export(raw, "tflite:weight-int8", out=tmp_path / "small")["tflite:weight-int8"]
    told = ep.diagnose(small, reference=raw, data=(x.astype(np.float32),), anchors=str(table), out=tmp_path / "told")
    assert told.facts["answers"] == ["coded_row", "logits_row"] and told.facts["agreement_by"] == "box"
    lost = {one.name: one for one in told.tensors}
    mean = np.mean([10 ** (-float(lost[name].snr_db or 0) / 10) for name in ("coded_row", "logits_row")])
    assert told.facts["answer_snr_db"] == pytest.approx(-10 * np.log10(mean), abs=1e-6)
    shares = [float(lost[name].share or 0) for name in ("coded_weights", "logits_weights")]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0.2, "each output counts"

    few = ep.evaluate(raw, (x, listed), out=tmp_path / "few", anchors=centred_anchors()[:40], **quick)
    (row,) = few.results.measurements
    assert row.status == "failed" and "for 40 anchors (arrays in memory): coded (1, 48, 4)" in row.reason
    with pytest.raises(InputError, match="--boxes ssd needs the anchors"):
        ep.evaluate(raw, (x, listed), out=tmp_path / "no", boxes="ssd", **quick)
    with pytest.raises(InputError, match="not for yolov8"):
        ep.evaluate(raw, (x, listed), out=tmp_path / "no", boxes="yolov8", anchors=centred_anchors(), **quick)
    with pytest.raises(InputError, match="for 40 anchors"):
        ep.bundle(raw, data=sample, out=tmp_path / "no", anchors=centred_anchors()[:40])


def test_a_detector_for_microcontrollers_is_judged_estimated_and_bundled(tmp_path: Path) -> None:
    for module in ("tflite_micro", "ethosu.vela"):
        pytest.importorskip(module, reason=f"{module} is not installed here")
    path, x = int8_detector(tmp_path / "small.tflite"), pictures(POSTPROCESS_SIDE, 8)
    boxes = [[low, low, low + 1.6, low + 1.6] for low in (0.2, 2.2, 4.2, 6.2)]  # anchors
    listed = [{"boxes": boxes, "classes": [0] * 4}] * len(x)
    targets = ["local/litert", "local/tflite-micro", "ethos-u55/vela"]
    given = {"anchors": centred_anchors()}
    run = ep.evaluate(path, (x, listed), targets, out=tmp_path / "run", latency=QUICK, labels=["pot"], **given)
    here, micro, vela = run.results.measurements
    assert [row.status for row in (here, micro, vela)] == ["ok"] * 3, [row.reason for row in (here, micro, vela)]
    assert here.accuracy == pytest.approx(micro.accuracy, abs=0.02) and 0 < here.accuracy < 1 and micro.arena
    assert (vela.kind, vela.accuracy) == ("estimated", None) and vela.npu is not None
    bundle = ep.bundle(path, data=(x.astype(np.float32) / 4,), out=tmp_path / "bundles", **given)
    proof = bundle.manifest["micro"]["proof"]
    assert (proof["status"], proof["samples"]) == ("ok", 8), proof
    code = next((bundle.folder / "micro").glob("*_micro.cc")).read_text("utf-8")
    assert "output 0 encodings, output 1 logits" in code


@pytest.mark.parametrize("head", [False, True])
def test_onnx_files_with_rows_of_an_open_number_or_a_head(tmp_path: Path, head: bool) -> None:
    import onnxruntime

    path, x = onnx_detector(tmp_path / "detector.onnx", head), pictures(POSTPROCESS_SIDE, 12)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = [session.run(None, {"image": one.transpose(2, 0, 1)[None].astype(np.float32)})[0] for one in x]
    rows = [suppressed(one[0].T) if head else one for one in given]
    assert len({len(one) for one in rows}) > 1
    found = [np.column_stack([one[:, :4] / POSTPROCESS_SIDE, one[:, 4:]]) for one in rows]
    listed = true_boxes([one[np.argsort(-one[:, 4], kind="stable")] for one in found], POSTPROCESS_SIDE)
    run = ep.evaluate(
        path, (x, listed), "local/onnxruntime", out=tmp_path / "run", latency=QUICK, labels=["cup", "pot"]
    )
    (row,) = run.results.measurements
    assert row.status == "ok", row.reason
    figures = expected(listed, found, POSTPROCESS_SIDE)
    assert 0.1 < figures.stats[0] < 1 and row.accuracy == pytest.approx(figures.stats[0], abs=1e-6)
    assert row.metrics["AP pot"] == pytest.approx(class_figures(figures)[1], abs=1e-6)
    if head:
        shown = ep.bundle(path, data=coco_file(tmp_path / "boxes.json", x, listed, ["pot", "cup"]), boxes="yolov8",
                          out=tmp_path / "bundles", samples=12)  # fmt: skip
        golden = np.load(shown.folder / "golden.npz", allow_pickle=False)["samples"]
        sure = [row for row in rows[int(np.flatnonzero((x == golden[0]).all(axis=(1, 2, 3)))[0])] if row[4] >= 0.25]
        example = [sys.executable, str(shown.folder / "example.py")]
        lines = subprocess.run(example, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        assert lines[0].startswith(f"{len(sure)} boxes of a score") and len(lines) == 1 + min(20, len(sure)) > 3
        for line, row in zip(lines[1:], sure[:20], strict=True):
            assert line.split()[:3] == [f"{row[4]:.4f}", "class", f"{row[5]:.0f}"]
    reading = run.results.artifacts[0].boxes
    assert reading is not None and (reading.layout, reading.corners) == (
        ("yolov8", "cxcywh") if head else ("rows", "xyxy")
    )


def suppressed(values: np.ndarray) -> np.ndarray:
    """Return rows x1, y1, x2, y2, score, class of a head's candidates (n, 4 + classes), by their definition."""
    kept: list[np.ndarray] = []
    for one in sorted(values, key=lambda one: -one[4:].max()):
        x, y, width, height = one[:4]
        row = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2, one[4:].max(), one[4:].argmax()])
        if all(row[5] != other[5] or iou(row[None, :4], other[None, :4])[0, 0] <= 0.7 for other in kept):
            kept.append(row)
    return np.array(kept)


@pytest.mark.slow
def test_a_detector_that_ends_in_non_max_suppression(tmp_path: Path) -> None:
    x = pictures(SIDE, 24)
    save_detector(tmp_path / "detector")
    schemes = ["tflite:float32", "tflite:int8-fallback", "onnx:float32"]
    files = ep.export(tmp_path / "detector", schemes, calibration=(x[:12],), value_range=(0, 1), out=tmp_path / "files")
    alike = files["tflite:int8-fallback"].calibration["float_agreement"]
    assert alike["agreement_by"] == "box" and alike["error"] == pytest.approx(1 - alike["agreement"])
    names = ("boxes", "scores", "classes", "count")
    exact = found_by(files["tflite:float32"].path, (x / 255).astype(np.float32), names)
    listed = true_boxes(exact, SIDE)
    targets = ["local/tensorflow", "local/litert", "local/onnxruntime"]
    run = ep.evaluate(files, (x, listed), targets, out=tmp_path / "run", latency=QUICK, labels=["cup", "pot", "jug"])
    rows = {row.artifact.partition("--")[2]: row for row in run.results.measurements if row.status == "ok"}
    assert set(rows) == {"savedmodel-float32", "tflite-float32", "tflite-int8-fallback", "onnx-float32"}
    for scheme in ("tflite:float32", "onnx:float32"):
        figures = expected(listed, found_by(files[scheme].path, (x / 255).astype(np.float32), names), SIDE)
        row = rows[scheme.replace(":", "-")]
        assert row.accuracy == pytest.approx(figures.stats[0], abs=2e-3) and 0.05 < figures.stats[0] < 1
        assert row.metrics["AP pot"] == pytest.approx(class_figures(figures)[1], abs=5e-3)
        assert (row.agreement_by, row.drop) == ("box", pytest.approx(0, abs=2e-3)) and row.agreement > 0.99
    quantized, reference = rows["tflite-int8-fallback"], rows["savedmodel-float32"]
    assert quantized.drop == pytest.approx(reference.accuracy - quantized.accuracy)
    assert quantized.drop_low < quantized.drop < quantized.drop_high and 0.3 < quantized.agreement < 1
    page, words = (run.folder / "report.html").read_text(), (run.folder / "report.md").read_text()
    assert "COCO mean average precision</strong> is mAP@[.50:.95] of COCO" in page and "AP pot" in page
    assert "| mAP@.50 |" in words and "COCO mean average precision (95 % interval)" in words
    again = ep.evaluate(files["tflite:float32"], (x, listed), "local/litert", out=tmp_path / "again", latency=QUICK)
    compared = ep.compare(run.folder, again.folder)
    assert [cell.accuracy.estimate for cell in compared.cells if cell.accuracy] == [pytest.approx(0, abs=1e-9)]
    source = coco_file(tmp_path / "boxes.json", x, listed, ["jug", "pot", "cup"])
    bundle = ep.bundle(files["tflite:float32"], data=source, out=tmp_path / "bundles", samples=2)
    assert bundle.manifest["file"]["boxes"]["corners"] == "yxyx" and not bundle.manifest["consumers"]
    np.savez(tmp_path / "held.npz", x=x)
    alone = ep.evaluate(files, f"npz:{tmp_path / 'held.npz'}", targets, out=tmp_path / "alone", latency=QUICK)
    alike = {row.artifact: row for row in alone.results.measurements if row.status == "ok"}
    row = next(row for name, row in alike.items() if "int8" in name)
    assert (row.agreement_by, row.agreement, row.accuracy) == ("box", pytest.approx(quantized.agreement), None)

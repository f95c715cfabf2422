"""Samples on which a file and its float model disagree: small pictures or texts, of hostile runs nothing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from edgeproof.core.dataset import PreparedData, write_texts
from edgeproof.core.measurement import Example, Measurement
from edgeproof.evaluate.examples import MAX_BYTES, SIDE, TEXT, read_picture, with_samples
from edgeproof.evaluate.measure import Answered
from edgeproof.tasks.drawing import palette
from edgeproof.tasks.per_class import class_figures

LABELS = ("a", "b")


def prepared(folder: Path, kind: str, size: int = 200) -> PreparedData:
    if kind == "text":
        write_texts(["<script>\n", "long " * 200, "third"], folder / "test.jsonl")
    else:
        np.save(folder / "test.npy", np.full((3, size, size, 3), [[[[250, 10, 20]]]], np.uint8))
    return PreparedData(folder, "mine", LABELS, size, size, "", {"test": 3}, "0123456789ab" * 5, kind=kind)  # type: ignore[arg-type]


def row() -> Measurement:
    targets = np.array([0, 1, 0])
    classes = class_figures(np.eye(2)[[1, 0, 0]], targets, LABELS, np.eye(2)[targets])
    return Measurement("a", "local/litert", "local", "litert", by_class=classes)


def test_pictures_are_small_and_lie_in_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (shown,) = with_samples([row(), replace(row(), by_class=None)], prepared(tmp_path, "image"), run, {}, {})
    assert shown.by_class is not None
    paths = [one.picture for one in shown.by_class.disagreements]
    assert paths == ["raw/samples/01234567-0.jpg", "raw/samples/01234567-1.jpg"]
    content = read_picture(run, paths[0])
    picture = Image.open(io.BytesIO(content))
    assert picture.size == (SIDE, SIDE) and len(content) < MAX_BYTES / 4
    pixel = picture.convert("RGB").getpixel((40, 40))
    assert isinstance(pixel, tuple) and np.allclose(pixel, (250, 10, 20), atol=8)


def test_texts_are_their_beginning_on_one_line(tmp_path: Path) -> None:
    (shown,) = with_samples([row()], prepared(tmp_path, "text"), tmp_path, {}, {})
    assert shown.by_class is not None
    first, second = (one.text for one in shown.by_class.disagreements)
    assert first == "<script> " and len(second) == TEXT and second.endswith("…")
    assert not (tmp_path / "raw").exists()


def test_tensors_have_no_picture(tmp_path: Path) -> None:
    assert list(with_samples([row()], prepared(tmp_path, "tensor", 4), tmp_path, {}, {})) == []


def test_only_a_small_jpeg_of_the_run_is_read(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    jpeg = b"\xff\xd8\xff" + bytes(10)
    for path, content in ((tmp_path / "out.jpg", jpeg), (run / "in.jpg", jpeg), (run / "x.svg", b"<svg onload=1>"),
                          (run / "large.jpg", jpeg + bytes(MAX_BYTES))):  # fmt: skip
        path.write_bytes(content)
    (run / "link.jpg").symlink_to(tmp_path / "out.jpg")
    assert read_picture(run, "in.jpg") == jpeg
    for path in (
        "../out.jpg",
        str(tmp_path / "out.jpg"),
        "link.jpg",
        "x.svg",
        "large.jpg",
        "none.jpg",
        "",
        "\0",
        "a" * 9999,
    ):
        assert read_picture(run, path) == b"", path
    assert read_picture(None, "in.jpg") == b""


def test_a_file_s_drawing_has_the_answer_of_its_own_float_model(tmp_path: Path) -> None:
    """Two models on the same pictures: the third panel is the file's own float model's map, not the first one's."""
    data = replace(prepared(tmp_path, "image", 4), task="segmentation")
    np.save(data.targets("test"), np.zeros((3, 4, 4), np.uint8))
    for name, answer in (("zeros", 0), ("ones", 1)):
        np.save(tmp_path / f"{name}.npy", np.full((3, 16), answer, np.float32))
    zeros, ones = (Answered(answers=tmp_path / f"{name}.npy") for name in ("zeros", "ones"))
    answers = {("a-float", "local/litert"): zeros, ("b-float", "local/litert"): ones, ("b", "local/litert"): zeros}
    example = Example(0, 0.5, "a", "a", "b", 1.0)
    file = Measurement("b", "local/litert", "local", "litert", metric="mean IoU", accuracy=0.5, examples=(example,))
    (shown,) = with_samples([file], data, tmp_path / "run", answers, {"b": "b-float"})
    panels = Image.open(tmp_path / "run" / shown.examples[0].picture)
    centres = [np.array(panels.getpixel((at * 100 + 48, 48)), float) for at in range(4)]
    for at, number in ((1, 0), (2, 1), (3, 0)):
        expected = 0.4 * np.array([250, 10, 20]) + 0.6 * palette(np.array([number]))[0]
        assert np.abs(centres[at] - expected).max() < 12, f"panel {at}"


def test_labels_of_tags_and_pixels_are_no_classes_of_samples(tmp_path: Path) -> None:
    data = prepared(tmp_path, "image")
    assert data.classes == LABELS
    assert replace(data, task="segmentation").classes == replace(data, task="multilabel").classes == ()

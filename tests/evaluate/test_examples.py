"""Samples on which a file and its float model disagree: small pictures or texts, of hostile runs nothing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from edgeproof.core.dataset import PreparedData, write_texts
from edgeproof.core.measurement import Measurement
from edgeproof.evaluate.examples import MAX_BYTES, SIDE, TEXT, read_picture, with_samples
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
    (shown,) = with_samples([row(), replace(row(), by_class=None)], prepared(tmp_path, "image"), run, {}, ())
    assert shown.by_class is not None
    paths = [one.picture for one in shown.by_class.disagreements]
    assert paths == ["raw/samples/01234567-0.jpg", "raw/samples/01234567-1.jpg"]
    content = read_picture(run, paths[0])
    picture = Image.open(io.BytesIO(content))
    assert picture.size == (SIDE, SIDE) and len(content) < MAX_BYTES / 4
    pixel = picture.convert("RGB").getpixel((40, 40))
    assert isinstance(pixel, tuple) and np.allclose(pixel, (250, 10, 20), atol=8)


def test_texts_are_their_beginning_on_one_line(tmp_path: Path) -> None:
    (shown,) = with_samples([row()], prepared(tmp_path, "text"), tmp_path, {}, ())
    assert shown.by_class is not None
    first, second = (one.text for one in shown.by_class.disagreements)
    assert first == "<script> " and len(second) == TEXT and second.endswith("…")
    assert not (tmp_path / "raw").exists()


def test_tensors_have_no_picture(tmp_path: Path) -> None:
    assert list(with_samples([row()], prepared(tmp_path, "tensor", 4), tmp_path, {}, ())) == []


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

"""Files whose pictures are grey, rectangular or have alpha are fed folders of pictures as square RGB files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.decode import decode, decode_again
from edgeproof.core.errors import InputError
from edgeproof.core.picture_size import size_of
from edgeproof.workflows.evaluate import evaluate
from edgeproof.workflows.model_files import input_spec_of, open_artifact
from edgeproof.workflows.prepare_data import InputSpec

from ..support.picture_models import LABELS, linear_model, litert_answers, prepared_pixels, write_pictures

SHAPES = [(48, 48, 1), (32, 96, 3), (40, 24, 4)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, int]:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [*SHAPES, (64, 64, 3)])
def test_pictures_are_as_pillow_alone_makes_them(
    pictures: dict[Path, int], shape: tuple[int, int, int], resize: str
) -> None:
    for path in pictures:
        ours = decode(path.read_bytes(), size=size_of(*shape), resize=resize, max_pixels=10**6).pixels
        np.testing.assert_array_equal(ours, prepared_pixels(path, shape, resize), f"{path.name}")
        again = decode_again(path.read_bytes(), size=size_of(*shape), resize=resize)
        np.testing.assert_array_equal(ours, again)


@pytest.mark.parametrize(
    ("shape", "resize"),
    [((48, 48, 1), "stretch"), ((32, 96, 3), "crop"), ((32, 96, 3), "pad"), ((40, 24, 4), "stretch")],
)
def test_accuracy_equals_that_of_pillow_and_litert_alone(
    tmp_path: Path, pictures: dict[Path, int], shape: tuple[int, int, int], resize: str
) -> None:
    files = {"float": linear_model(shape), "int8": linear_model(shape, int8=True)}
    for name, content in files.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
    values = np.stack([prepared_pixels(path, shape, resize) for path in pictures]) / np.float32(255)
    truths = np.array(list(pictures.values()))
    run = evaluate(
        [tmp_path / f"{name}.tflite" for name in files], f"folder:{next(iter(pictures)).parents[1]}", "local/litert",
        out=tmp_path / "out", value_range=(0, 1), resize=resize, labels=LABELS,
        latency={"processes": 1, "warmup_seconds": 0, "run_seconds": 0.02},
    )  # fmt: skip
    for name, content in files.items():
        expected = np.mean(np.array(litert_answers(content, values)) == truths)
        (row,) = [row for row in run.results.measurements if row.artifact == name]
        assert row.status == "ok" and row.accuracy == pytest.approx(expected), row
        assert 0 < expected < 1


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channels_are_refused_and_what_is_possible_is_said(tmp_path: Path, channels: int) -> None:
    (tmp_path / "m.tflite").write_bytes(linear_model((8, 8, channels)))
    with pytest.raises(InputError, match=r"1 channel \(grey\), 3 \(RGB\) or 4 \(RGBA\), found image \(1, 8, 8"):
        input_spec_of(open_artifact(tmp_path / "m.tflite"), None)


def test_the_size_of_square_rgb_pictures_is_their_side(tmp_path: Path) -> None:
    for shape, size in (((8, 8, 3), 8), ((8, 8, 1), (8, 8, 1)), ((8, 6, 3), (8, 6, 3))):
        (tmp_path / "m.tflite").write_bytes(linear_model(shape))
        assert input_spec_of(open_artifact(tmp_path / "m.tflite"), None) == InputSpec("image", size, "stretch")

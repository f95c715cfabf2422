"""Bundles: stock consumers run their files, devices replay their vectors, and no name gets out of its quotes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeproof.cli.commands.bundle import command
from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import InputError, StageError
from edgeproof.export.bundle import Bundle, images

from ..conftest import TinyRun
from ..support.bundle_models import mean_colour_model
from ..support.bundles import HOSTILE, bundle_of, by_hand, on_device


@pytest.fixture(scope="module")
def onnx_bundle(tiny: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tiny.artifact("onnx:float32").path
    assert path is not None
    return bundle_of(path, tmp_path_factory.mktemp("onnx"))


# Stock consumers


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mediapipe") is None, reason="mediapipe is not installed")
def test_mediapipe_runs_the_bundles_files_unchanged(
    tiny: TinyRun, float_bundle: Bundle, micro_bundle: Bundle, tmp_path: Path
) -> None:
    """All scores of all pictures are those of the golden vectors; what is said to be refused is refused."""
    colours = bundle_of(by_hand(tmp_path, HOSTILE), tmp_path / "out", samples=20)
    bundles = [colours, float_bundle, micro_bundle]
    for variant in ("tflite:float16", "tflite:dynamic", "tflite:int8", "tflite:int8-uint8io"):
        path = tiny.artifact(variant).path
        assert path is not None
        bundles.append(bundle_of(path, tmp_path / "out"))
    files = [result.folder / result.manifest["file"]["name"] for result in bundles]
    offered = micro_bundle.folder / micro_bundle.manifest["consumers"][0]["file"]
    jobs = [[str(file), str(result.folder / "golden.npz")] for file, result in zip(files, bundles, strict=True)]
    jobs.append([str(offered), str(micro_bundle.folder / "golden.npz")])
    script = Path(__file__).parents[1] / "support" / "mediapipe_classify.py"
    done = subprocess.run(
        [sys.executable, str(script)], input=json.dumps(jobs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    for result, answer in zip(bundles, answers, strict=False):
        row = next(r for r in result.manifest["consumers"] if r["consumer"] == images.MEDIAPIPE)
        if result is micro_bundle:
            assert not row["accepts"]
            assert "int8" in row["why"]
            assert "INT8" in answer["refused"]
            continue
        assert row["accepts"]
        golden = np.load(result.folder / "golden.npz", allow_pickle=False)["outputs"]
        assert np.allclose(answer["scores"], golden, rtol=0, atol=1e-6)
        assert answer["labels"] == (result.folder / "labels.txt").read_text("utf-8").split("\n")[:-1]
    # The hand-made file's scores differ from picture to picture, so a wrong normalization could not pass.
    assert np.ptp(np.array(answers[0]["scores"]), axis=0).max() > 0.01
    assert np.array(answers[-1]["scores"]).shape == (8, 10)


def test_the_consumers_rules_follow_the_files_edges(tiny: TinyRun) -> None:
    def takes(variant: str, **changes: Any) -> list[bool]:
        rows = images.picture_consumers(replace(tiny.artifact(variant), **changes))
        assert all(row["why"] for row in rows)
        return [row["accepts"] for row in rows]

    assert takes("tflite:float32") == [True, True]
    assert takes("tflite:int8-uint8io") == [True, True]
    assert takes("tflite:int8-int8io") == [False, False]
    assert takes("onnx:float32") == [False, False]
    assert takes("tflite:float32", labels=()) == [False, False]
    # An uint8 input that does not store the pixel itself would be fed wrongly, and silently.
    uint8 = tiny.artifact("tflite:int8-uint8io")
    other = (replace(uint8.inputs[0], scale=0.9),)
    assert takes("tflite:int8-uint8io", inputs=other) == [False, False]


def test_the_task_librarys_old_runtime_is_known(tiny: TinyRun) -> None:
    artifact = tiny.artifact("tflite:dynamic")
    dense = next(op for op in artifact.ops if op.name == "FULLY_CONNECTED")
    assert images.refusal(images.MEDIAPIPE, artifact) == ""
    new = replace(artifact, ops=(replace(dense, version=12),))
    assert "FULLY_CONNECTED version 12" in images.refusal(images.TASK_LIBRARY, new)
    assert images.refusal(images.TASK_LIBRARY, replace(artifact, ops=(replace(dense, version=9),))) == ""


def test_a_refused_file_comes_with_the_variant_that_is_taken(micro_bundle: Bundle, tiny: TinyRun) -> None:
    for row in micro_bundle.manifest["consumers"]:
        assert not row["accepts"]
        assert (micro_bundle.folder / row["file"]).is_file()
        assert row["file"] in (micro_bundle.folder / "README.md").read_text("utf-8")


def test_without_such_a_variant_the_command_that_makes_it_is_named(tiny: TinyRun, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    shutil.copytree(tiny.folder / "models", run / "models")
    shutil.copy(tiny.folder / "recipe.toml", run)
    (run / "artifacts").mkdir()
    path = tiny.artifact("tflite:int8-int8io").path
    assert path is not None
    for part in (path, path.with_suffix(".json")):
        shutil.copy(part, run / "artifacts")
    result = bundle_of(run / "artifacts" / path.name, tmp_path / "out")
    row = result.manifest["consumers"][0]
    assert row["command"].startswith("edgeproof export '")
    assert "--to tflite:int8 " in row["command"]
    assert result.manifest["golden"]["random"]  # the run's samples did not come along


def test_of_a_run_the_recommended_file_is_taken(tiny: TinyRun, tmp_path: Path) -> None:
    results = json.loads((tiny.folder / "results.json").read_text())
    shutil.copytree(tiny.folder / "artifacts", tmp_path / "artifacts")
    for chosen, expected in (("tiny--tflite-float16", "tiny--tflite-float16"), (None, "")):
        results["recommendation"] = {"artifact": chosen}
        (tmp_path / "results.json").write_text(json.dumps(results))
        if expected:
            assert bundle_of(tmp_path, tmp_path / "out").folder.name == expected
        else:
            with pytest.raises(InputError, match="recommends no file"):
                bundle_of(tmp_path, tmp_path / "out")


# On the device


@pytest.mark.parametrize("which", ["float_bundle", "micro_bundle", "onnx_bundle"])
def test_verify_and_example_need_numpy_and_a_runtime_alone(
    which: str, bare: Path, request: pytest.FixtureRequest
) -> None:
    result: Bundle = request.getfixturevalue(which)
    verified = on_device(result.folder, bare, "verify.py")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "8 of 8 top classes are the same" in verified.stdout
    golden = np.load(result.folder / "golden.npz", allow_pickle=False)
    labels = result.manifest["labels"]
    for arguments in ((), ("picture.npy",)):
        if arguments:
            np.save(result.folder.parent / "picture.npy", golden["samples"][0])
        shown = on_device(result.folder, bare, "example.py", *arguments)
        assert shown.returncode == 0, shown.stderr
        lines = shown.stdout.splitlines()[-3:]
        assert lines[0].split(maxsplit=1)[1] == labels[int(golden["outputs"][0].argmax())]
        assert float(lines[0].split()[0]) == pytest.approx(golden["outputs"][0].max(), abs=1e-3)


def test_the_example_brings_pictures_to_size_as_training_did(float_bundle: Bundle, tmp_path: Path) -> None:
    """With Pillow there, a picture of any size gives the pixels that training's own reader gives."""
    from PIL import Image

    from edgeproof.core.decode import fit

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 71, 3), dtype="uint8"))
    code = (
        "import sys, json, numpy; from PIL import Image; sys.path.insert(0, sys.argv[1]); import example\n"
        "picture = Image.open(sys.argv[2])\n"
        "for resize in ('stretch', 'crop', 'pad'):\n"
        "    numpy.save(sys.argv[2] + resize, numpy.asarray(example.fit(picture, 32, 32, resize, Image)))"
    )
    path = tmp_path / "picture.png"
    picture.save(path)
    subprocess.run([sys.executable, "-c", code, str(float_bundle.folder), str(path)], check=True)
    for resize in ("stretch", "crop", "pad"):
        assert np.array_equal(np.load(f"{path}{resize}.npy"), np.asarray(fit(picture, 32, resize)))


def test_the_example_reads_pictures_of_every_kind_as_training_did(float_bundle: Bundle, tmp_path: Path) -> None:
    from PIL import Image

    from edgeproof.core.decode import decode

    random = np.random.default_rng(1)
    colours = Image.fromarray(random.integers(0, 256, (50, 71, 3), dtype="uint8"))
    see_through = colours.copy()
    see_through.putalpha(Image.fromarray(random.integers(0, 256, (50, 71), dtype="uint8")))
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "colours.jpg": (colours, {}),
        "turned.jpg": (colours, {"exif": turned}),
        "print.jpg": (colours.convert("CMYK"), {}),
        "colours.bmp": (colours, {}),
        "grey.png": (colours.convert("L"), {}),
        "grey 16 bit.png": (Image.fromarray(random.integers(0, 65536, (50, 71), dtype="uint16")), {}),
        "black and white.png": (colours.convert("1"), {}),
        "palette.png": (colours.convert("P"), {}),
        "palette, one colour unseen.png": (colours.convert("P"), {"transparency": 3}),
        "grey, see-through.png": (see_through.convert("LA"), {}),
        "see-through.png": (see_through, {}),
        "see-through.webp": (see_through, {"lossless": True}),
        "moving.gif": (colours.convert("P"), {"save_all": True, "append_images": [colours.convert("P").rotate(90)]}),
    }
    for name, (picture, options) in pictures.items():
        picture.save(tmp_path / name, **options)
    code = (
        "import sys, numpy; sys.path.insert(0, sys.argv[1]); import example\n"
        "for path in sys.argv[2:]:\n"
        "    numpy.save(path, example.read_picture(path, {'shape': [1, 32, 32, 3], 'resize': 'stretch'}))"
    )
    paths = [str(tmp_path / name) for name in pictures]
    subprocess.run([sys.executable, "-c", code, str(float_bundle.folder), *paths], check=True)
    for name in pictures:
        wanted = decode((tmp_path / name).read_bytes(), size=32, resize="stretch", max_pixels=10_000).pixels
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), wanted), name


def test_verify_sees_every_change(float_bundle: Bundle, bare: Path, tmp_path: Path) -> None:
    def verify(change: Any, *, sums: bool) -> str:
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(float_bundle.folder, folder)
        change(folder)
        if sums:  # somebody who changed a file and the sums too
            lines = (folder / "SHA256SUMS").read_text().splitlines()
            names = [line.split("  ", 1)[1] for line in lines]
            text = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
            (folder / "SHA256SUMS").write_text(text)
        done = on_device(folder, bare, "verify.py")
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        assert ("otherwise" if sums else "not the bundle that was made") in done.stdout
        return done.stdout

    model = float_bundle.manifest["file"]["name"]

    def shift(folder: Path) -> None:
        arrays = dict(np.load(folder / "golden.npz", allow_pickle=False))
        arrays["outputs"] = arrays["outputs"] + np.float32(0.001)
        np.savez(folder / "golden.npz", **arrays)

    def repaint(folder: Path) -> None:
        arrays = dict(np.load(folder / "golden.npz", allow_pickle=False))
        arrays["samples"] = 255 - arrays["samples"]
        np.savez(folder / "golden.npz", **arrays)

    assert f"{model} is not the file" in verify(lambda f: (f / model).write_bytes(b"TFL3"), sums=False)
    assert f"{model} is missing" in verify(lambda f: (f / model).unlink(), sums=False)
    assert "labels.txt is not the file" in verify(lambda f: (f / "labels.txt").write_text("x"), sums=False)
    assert "SHA256SUMS is missing" in verify(lambda f: (f / "SHA256SUMS").unlink(), sums=False)
    assert "does not list golden.json" in verify(lambda f: (f / "SHA256SUMS").write_text("junk\n"), sums=False)
    assert "does not run" in verify(lambda f: (f / model).write_bytes(b"TFL3" * 50), sums=True)
    assert "in the median" in verify(shift, sums=True)
    assert "pixels are prepared otherwise" in verify(repaint, sums=True)
    nothing = on_device(float_bundle.folder, bare, "verify.py", "--runtime", "tensorflow")
    assert nothing.returncode == 1
    assert "no runtime" in nothing.stderr + nothing.stdout


def test_the_golden_vectors_are_the_runs_own_and_the_files_answers(
    float_bundle: Bundle, micro_bundle: Bundle, tiny: TinyRun
) -> None:
    pictures = np.load(tiny.data.images("test"))
    classes = np.load(tiny.data.targets("test"))
    for result in (float_bundle, micro_bundle):
        golden = np.load(result.folder / "golden.npz", allow_pickle=False)
        truths = json.loads((result.folder / "golden.json").read_text())["truths"]
        for sample, truth in zip(golden["samples"], truths, strict=True):
            (row, *_) = np.flatnonzero((pictures == sample).all(axis=(1, 2, 3)))
            assert classes[row] == truth
        assert not result.manifest["golden"]["random"]
        assert result.manifest["golden"]["made_by"]["runtime"] == "litert"
    stored = np.load(micro_bundle.folder / "golden.npz", allow_pickle=False)
    assert stored["input_0"].dtype == np.int8
    assert np.array_equal(stored["input_0"][:, 0].astype(int) + 128, stored["samples"])


def test_a_file_without_a_run_gets_random_vectors_that_are_called_so(tmp_path: Path, bare: Path) -> None:
    result = bundle_of(by_hand(tmp_path / "here"), tmp_path / "out")
    assert result.manifest["golden"]["random"]
    assert "random" in (result.folder / "README.md").read_text("utf-8")
    assert on_device(result.folder, bare, "verify.py").returncode == 0
    with pytest.raises(InputError):
        bundle_of(by_hand(tmp_path / "here"), tmp_path / "out", source="npy:/nowhere.npy")


def test_files_that_take_arrays_are_bundled_too(tmp_path: Path, bare: Path) -> None:
    path = tmp_path / "somebodys.tflite"
    path.write_bytes(mean_colour_model())
    values = np.random.default_rng(1).random((5, 8, 8, 3), "float32")
    np.save(tmp_path / "values.npy", values)
    result = bundle_of(path, tmp_path / "out", source=f"npy:{tmp_path / 'values.npy'}")
    assert result.manifest["consumers"] == []
    assert result.manifest["golden"]["count"] == 5
    assert on_device(result.folder, bare, "verify.py").returncode == 0
    np.savez(tmp_path / "one.npz", values[0])
    shown = on_device(result.folder, bare, "example.py", str(tmp_path / "one.npz"))
    assert "class " in shown.stdout, shown.stderr


# The bundle as a whole


def test_equal_bundles_have_equal_bytes_and_the_archive_is_the_folder(tiny: TinyRun, tmp_path: Path) -> None:
    path = tiny.artifact("tflite:float16").path
    assert path is not None
    first, second = (bundle_of(path, tmp_path / name) for name in ("a", "b"))
    assert first.archive.read_bytes() == second.archive.read_bytes()
    with zipfile.ZipFile(first.archive) as packed:
        names = packed.namelist()
        assert all(name.startswith(f"{first.folder.name}/") for name in names)
        for name in names:
            assert packed.read(name) == (first.folder.parent / name).read_bytes()
    listed = {line.split("  ", 1)[1] for line in (first.folder / "SHA256SUMS").read_text().splitlines()}
    there = {p.relative_to(first.folder).as_posix() for p in first.folder.rglob("*") if p.is_file()}
    assert listed == there - {"SHA256SUMS"}
    again = bundle_of(path, tmp_path / "a")  # in place of the first
    assert again.archive.read_bytes() == second.archive.read_bytes()


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "here")
    mine = tmp_path / "out" / "colours--tflite-float32"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no bundle"):
        bundle_of(path, tmp_path / "out")
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "out" / ".colours--tflite-float32.new").exists()


def test_a_file_that_does_not_run_is_not_bundled(tiny: TinyRun, tmp_path: Path) -> None:
    path = tiny.artifact("tflite:float32").path
    assert path is not None
    (tmp_path / "odd.tflite").write_bytes(mean_colour_model())
    (tmp_path / "odd.json").write_text(path.with_suffix(".json").read_text())  # of another file
    with pytest.raises(InputError, match=r"is not the file that odd\.json describes"):
        bundle_of(tmp_path / "odd.tflite", tmp_path / "out")
    (tmp_path / "odd.json").unlink()
    assert bundle_of(tmp_path / "odd.tflite", tmp_path / "out").manifest["labels"] == []
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2 :] = b""
    (tmp_path / "cut.tflite").write_bytes(damaged)
    with pytest.raises((InputError, StageError)):
        bundle_of(tmp_path / "cut.tflite", tmp_path / "out")
    assert not (tmp_path / "out" / "cut").exists()


def test_the_command_prints_one_document_or_where_it_is(tiny: TinyRun, tmp_path: Path) -> None:
    path = str(tiny.artifact("tflite:float32").path)
    shown = CliRunner().invoke(command, [path, "--out", str(tmp_path), "--samples", "2"], standalone_mode=False)
    assert shown.exception is None
    assert shown.stdout.splitlines()[-1] == f"bundle: {tmp_path / 'tiny--tflite-float32'}"
    document = CliRunner().invoke(command, [path, "--out", str(tmp_path), "--json"], standalone_mode=False)
    manifest = json.loads(document.stdout)
    on_disk = json.loads((tmp_path / "tiny--tflite-float32" / "bundle.json").read_text())
    assert {key: manifest[key] for key in on_disk} == on_disk
    missing = CliRunner().invoke(command, [str(tmp_path / "none.tflite")], standalone_mode=False)
    assert isinstance(missing.exception, InputError)


def test_the_runs_own_figures_stand_in_it(float_bundle: Bundle, tiny: TinyRun) -> None:
    rows = {row["target"]: row for row in float_bundle.manifest["measurements"]}
    for row in tiny.finished.results.measurements:
        if row.artifact == "tiny--tflite-float32":
            assert rows[row.target]["accuracy"] == row.accuracy
            assert rows[row.target]["kind"] == "measured"

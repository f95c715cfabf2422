"""Bundles: stock consumers run their files, devices replay their vectors, and no name gets out of its quotes."""

from __future__ import annotations

import ast
import json
import os
import re
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
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.cli.commands.bundle import command
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract
from edgeproof.core.recipe import Data
from edgeproof.core.run_log import RunLog
from edgeproof.core.sanitize import slug
from edgeproof.export import inspect, save
from edgeproof.export.bundle import Bundle, escape, images, micro
from edgeproof.export.bundle.golden_vectors import quantized
from edgeproof.workflows.bundle import bundle_file

from ..conftest import TinyRun
from ..support.bundle_models import mean_colour_model

SITE = Path(np.__file__).parent.parent
HOSTILE = (
    'a"; system("rm -rf /"); //',
    "$x ${y} `z` \\ \\u0041 %s {{ 7 * 7 }}\n*/ | <b>",
    "\u202eevil ??/ \x00\x1b[31m é 日本 😀",
)


def bundle_of(path: Path, out: Path, source: str = "", samples: int = 8) -> Bundle:
    data = Data.model_validate({"source": source}) if source else None
    return bundle_file(path, out=out, source=data, samples=samples, listener=RunLog(None))


def by_hand(folder: Path, labels: tuple[str, ...] = ("red", "green", "blue"), name: str = "colours") -> Path:
    """A picture classifier without a run, which maps pixels onto [-1, 1]; its sidecar beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "made.tflite"
    path.write_bytes(mean_colour_model())
    contents = inspect(path)
    artifact = Artifact(
        id=f"{name}--tflite-float32", model=name, format="tflite", scheme="float32", path=path, labels=labels,
        sha256=sha256_file(path), bytes=path.stat().st_size, inputs=contents.inputs, outputs=contents.outputs,
        ops=contents.ops, contract=InputContract("image", (1, 8, 8, 3), low=-1.0, high=1.0),
    )  # fmt: skip
    save(artifact, folder)
    return path.rename(folder / f"{slug(name)}--tflite-float32.tflite")


@pytest.fixture(scope="module")
def float_bundle(tiny: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tiny.artifact("tflite:float32").path
    assert path is not None
    return bundle_of(path, tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def micro_bundle(tiny: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tiny.artifact("tflite:int8-int8io").path
    assert path is not None
    return bundle_of(path, tmp_path_factory.mktemp("micro"))


@pytest.fixture(scope="module")
def onnx_bundle(tiny: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tiny.artifact("onnx:float32").path
    assert path is not None
    return bundle_of(path, tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where only numpy and the runtimes can be imported from: no Pillow, no edgeproof."""
    folder = tmp_path_factory.mktemp("bare")
    for name in ("numpy", "numpy.libs", "ai_edge_litert", "tflite_runtime", "onnxruntime"):
        for part in (*SITE.glob(name), *SITE.glob(f"{name}-*.dist-info")):  # the latter tells the version
            (folder / part.name).symlink_to(part)
    return folder


def on_device(bundle: Path, bare: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a bundle's script as a device would: -S leaves out everything that is installed."""
    environment = {"PYTHONPATH": str(bare), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-S", str(bundle / script), *arguments],
        capture_output=True, text=True, env=environment, check=False, cwd=bundle.parent,
    )  # fmt: skip


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

    from edgeproof.data.decode import fit

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 71, 3), dtype="uint8"))
    code = (
        "import sys, json, numpy; from PIL import Image; sys.path.insert(0, sys.argv[1]); import example\n"
        "picture = Image.open(sys.argv[2])\n"
        "for resize in ('stretch', 'crop', 'pad'):\n"
        "    numpy.save(sys.argv[2] + resize, numpy.asarray(example.fit(picture, 32, resize, Image)))"
    )
    path = tmp_path / "picture.png"
    picture.save(path)
    subprocess.run([sys.executable, "-c", code, str(float_bundle.folder), str(path)], check=True)
    for resize in ("stretch", "crop", "pad"):
        assert np.array_equal(np.load(f"{path}{resize}.npy"), np.asarray(fit(picture, 32, resize)))


def test_the_example_reads_pictures_of_every_kind_as_training_did(float_bundle: Bundle, tmp_path: Path) -> None:
    from PIL import Image

    from edgeproof.data.decode import decode

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


# Code in other languages

STUBS = {
    "tensorflow/lite/interpreter.h": """#pragma once
#include <memory>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
namespace tflite { class Interpreter { public: TfLiteStatus AllocateTensors(); TfLiteStatus Invoke();
TfLiteStatus SetNumThreads(int); template <class T> T* typed_input_tensor(int);
template <class T> T* typed_output_tensor(int); }; }""",
    "tensorflow/lite/kernels/register.h": """#pragma once
namespace tflite::ops::builtin { class BuiltinOpResolver {}; }""",
    "tensorflow/lite/model.h": """#pragma once
#include "tensorflow/lite/interpreter.h"
#include "tensorflow/lite/kernels/register.h"
namespace tflite { class FlatBufferModel { public:
static std::unique_ptr<FlatBufferModel> BuildFromFile(const char*); };
class InterpreterBuilder { public: InterpreterBuilder(const FlatBufferModel&, const ops::builtin::BuiltinOpResolver&);
TfLiteStatus operator()(std::unique_ptr<Interpreter>*); }; }""",
    "tensorflow/lite/schema/schema_generated.h": """#pragma once
#define TFLITE_SCHEMA_VERSION 3
namespace tflite { class Model { public: unsigned version() const; }; const Model* GetModel(const void*); }""",
    "tensorflow/lite/micro/micro_mutable_op_resolver.h": """#pragma once
#include "tensorflow/lite/interpreter.h"
namespace tflite { template <unsigned N> class MicroMutableOpResolver { public: TfLiteStatus AddAdd();
TfLiteStatus AddConv2D(); TfLiteStatus AddDepthwiseConv2D(); TfLiteStatus AddFullyConnected(); TfLiteStatus AddMean();
TfLiteStatus AddSoftmax(); TfLiteStatus AddReshape(); TfLiteStatus AddPad(); }; }""",
    "tensorflow/lite/micro/micro_interpreter.h": """#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/schema/schema_generated.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
struct TfLiteTensor { union { std::int8_t* int8; } data; };
namespace tflite { class MicroInterpreter { public: template <unsigned N> MicroInterpreter(const Model*,
const MicroMutableOpResolver<N>&, std::uint8_t*, std::size_t); TfLiteStatus AllocateTensors(); TfLiteStatus Invoke();
TfLiteTensor* input(std::size_t); TfLiteTensor* output(std::size_t); }; }""",
}


def compiles(source: Path, folder: Path) -> None:
    """Let the compiler read a file against the interfaces that it uses. Skips where there is no compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    for name, text in STUBS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{folder}"]
    done = subprocess.run([compiler, *flags, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_cpp_compiles(float_bundle: Bundle, micro_bundle: Bundle, tmp_path: Path) -> None:
    for result in (float_bundle, micro_bundle):
        compiles(result.folder / "cpp" / "classifier.cc", tmp_path)
    hostile = bundle_of(by_hand(tmp_path / "h", HOSTILE, "x'; evil(); $(id)"), tmp_path / "out")
    compiles(hostile.folder / "cpp" / "classifier.cc", tmp_path)
    for name in ("classifier_micro.cc", "model_data.cc"):
        compiles(micro_bundle.folder / "micro" / name, tmp_path)


def test_the_array_is_the_artifact_and_the_resolver_its_operators(micro_bundle: Bundle, tiny: TinyRun) -> None:
    artifact = tiny.artifact("tflite:int8-int8io")
    assert artifact.path is not None
    text = (micro_bundle.folder / "micro" / "model_data.cc").read_text()
    array = bytes(int(value, 16) for value in re.findall(r"0x([0-9a-f]{2}),", text))
    assert array == artifact.path.read_bytes()
    assert f"g_model_len = {len(array)};" in text
    facts = micro_bundle.manifest["micro"]
    assert len(facts["resolver"]) == len({op.name for op in artifact.ops})
    assert {"AddConv2D", "AddDepthwiseConv2D", "AddSoftmax"} <= set(facts["resolver"])
    assert facts["unknown_operators"] == []
    assert facts["arena"]["kind"] == "estimated"
    # The most that lives at once is at least what goes through one layer: the first convolution's output and input.
    assert facts["arena"]["bytes"] > facts["arena"]["activations"] >= 32 * 32 * 3 + 16 * 16 * 16


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("MAX_POOL_2D", "AddMaxPool2D"),
        ("L2_NORMALIZATION", "AddL2Normalization"),
        ("RELU6", "AddRelu6"),
        ("PADV2", "AddPadV2"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
        ("CONV_3D", ""),
        ("*/ evil", ""),
    ],
)
def test_resolver_methods(operator: str, method: str) -> None:
    assert micro.resolver_method(operator) == method


def test_an_operator_that_microcontrollers_lack_is_said(tiny: TinyRun) -> None:
    artifact = tiny.artifact("tflite:int8-int8io")
    assert artifact.path is not None
    content = artifact.path.read_bytes()
    odd = replace(artifact, ops=(*artifact.ops, replace(artifact.ops[0], name="Evil\n*/ int x; //")))
    facts = micro.describe(content, odd.ops)
    assert facts.missing == ("Evil\n*/ int x; //",)
    from edgeproof.export.bundle.snippets import render_micro

    text = render_micro(odd, ("pixels",), 0, "scores", facts, content)["micro/classifier_micro.cc"]
    assert "Evil____int_x____" in text
    assert "int x;" not in text


def from_kotlin(literal: str) -> str:
    """Read a Kotlin string literal back, by its grammar: escapes, and nothing that would end or run it."""
    assert literal[0] == literal[-1] == '"'
    parts = re.findall(r'\\u([0-9a-f]{4})|\\(["\\$])|([^"\\$\n\r])', literal[1:-1])
    assert "".join(f"\\u{u}" if u else f"\\{e}" if e else c for u, e, c in parts) == literal[1:-1]
    units = "".join(chr(int(u, 16)) if u else e or c for u, e, c in parts)
    return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")


@given(st.text(st.characters()))
def test_kotlin_literals_hold_what_was_put_in(text: str) -> None:
    assert from_kotlin(escape.kotlin(text)) == text.encode("utf-16-be", "surrogatepass").decode(
        "utf-16-be", "surrogatepass"
    )


@given(st.text(st.characters()))
def test_cpp_literals_hold_what_was_put_in(text: str) -> None:
    literal = escape.cpp(text)
    assert re.fullmatch(r'"(?:[ !#-;=>@-\[\]-~<]|\\[0-3][0-7]{2})*"', literal)
    # Octal escapes of three digits mean the same in Python's bytes.
    assert ast.literal_eval("b" + literal) == text.encode("utf-8", "replace")


@given(st.text(st.characters()))
def test_markdown_stays_in_its_line_and_cell(text: str) -> None:
    assert "\n" not in escape.markdown(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`<\[*_]", escape.markdown(text))
    span = escape.code(text)
    fence = re.match("`+", span)
    assert fence is not None
    assert "\n" not in span and "|" not in span and span.endswith(fence[0])
    assert not re.search(rf"(?<!`){fence[0]}(?!`)", span[len(fence[0]) : -len(fence[0])])


@given(st.text(st.characters(), min_size=1))
def test_shell_words_are_one_word(text: str) -> None:
    import shlex

    assert len(shlex.split(escape.shell("edgeproof", text))) == 2


def test_templates_refuse_what_nothing_escaped() -> None:
    template = escape.environment().from_string("{{ name }}")
    assert template.render(name=escape.cpp('"')) == '"\\042"'
    with pytest.raises(TypeError, match="not escaped"):
        template.render(name='"; evil()')


def test_hostile_names_stay_names(tmp_path: Path, bare: Path) -> None:
    result = bundle_of(by_hand(tmp_path / "here", HOSTILE, "x`$(evil)` & 'b'; -b"), tmp_path / "out")
    assert result.folder.parent == tmp_path / "out"
    assert re.fullmatch(r"[\w.-]+", result.folder.name)
    assert len((result.folder / "labels.txt").read_text("utf-8").splitlines()) == 3
    assert result.manifest["labels"] == list(HOSTILE)
    readme = (result.folder / "README.md").read_text("utf-8")
    assert "<b>" not in readme
    shown = on_device(result.folder, bare, "example.py")
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == 4
    kotlin = (result.folder / "android" / "Classifier.kt").read_text("utf-8")
    assert all(escape.kotlin(label) in kotlin for label in HOSTILE)


@given(st.floats(-300, 300, width=32), st.floats(2**-10, 4, width=32), st.integers(-128, 127))
def test_stored_inputs_are_the_nearest(value: float, scale: float, zero_point: int) -> None:
    from edgeproof.core.artifact import TensorSpec

    stored = int(quantized(np.array([value], "float32"), TensorSpec("x", (1,), "int8", scale, zero_point))[0])
    real = scale * (stored - zero_point)
    inside = scale * (-128 - zero_point) <= value <= scale * (127 - zero_point)
    assert -128 <= stored <= 127
    assert not inside or abs(real - value) <= scale * 0.5001 + 1e-4

"""Bundles, made for tests, and their scripts run as on a device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.model import InputContract
from edgeproof.core.recipe import Data
from edgeproof.core.run_log import RunLog
from edgeproof.core.sanitize import slug
from edgeproof.export import inspect, save
from edgeproof.export.bundle import Bundle
from edgeproof.workflows.bundle import bundle_file

from .bundle_models import mean_colour_model

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


def on_device(bundle: Path, bare: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a bundle's script as a device would: -S leaves out everything that is installed."""
    environment = {"PYTHONPATH": str(bare), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-S", str(bundle / script), *arguments],
        capture_output=True, text=True, env=environment, check=False, cwd=bundle.parent,
    )  # fmt: skip


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

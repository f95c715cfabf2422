"""Readers of other makes open the files of every scheme that they know, and answer as LiteRT does."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.variant import SCHEMES

from ..support.scheme_files import LITERT, Files, shared

pytestmark = pytest.mark.slow

# None of these readers knows int4: OpenVINO 2026.4 and tf2onnx 1.17 refuse it, Vela 5.2 dies of it.
FILES = [
    (name, maker)
    for name, scheme in SCHEMES["tflite"].items()
    if not scheme.searched and not scheme.training and scheme.weights != "int4"
    for maker in scheme.makers
]
# tflite-micro has no kernels for weights of another type than the activations, but of int16 with int8.
MICRO = [(name, maker) for name, maker in FILES if name == "float32" or SCHEMES["tflite"][name].calibrated]
# 16-bit quantization came to ONNX with opset 21, and tf2onnx 1.17 writes up to 18.
TO_ONNX = [(name, maker) for name, maker in FILES if SCHEMES["tflite"][name].activations != "int16"]
READERS = {"openvino": FILES, "tf2onnx": TO_ONNX, "tflite_micro": MICRO}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return shared(tmp_path_factory)


def needs(module: str) -> Any:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed here")


def path_of(artifact: Artifact) -> Path:
    assert artifact.path is not None, artifact.reason
    return artifact.path


@pytest.mark.parametrize("reader", [pytest.param(name, marks=needs(name)) for name in READERS])
def test_runtimes_of_other_makes_answer_as_litert_does(files: Files, reader: str) -> None:
    artifacts = {f"{name} by {maker}": files(f"tflite:{name}", maker) for name, maker in READERS[reader]}
    script = Path(__file__).with_name("other_readers.py")
    paths = [str(path_of(artifact)) for artifact in artifacts.values()]
    command = [sys.executable, str(script), reader, str(files.inputs), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    replies = json.loads(done.stdout.splitlines()[-1])
    refused = {
        name: replies[str(a.path)] for name, a in artifacts.items() if not isinstance(replies[str(a.path)], list)
    }
    assert not refused
    agree = {
        name: float((files.answers(artifact, LITERT).argmax(axis=1) == np.array(replies[str(artifact.path)])).mean())
        for name, artifact in artifacts.items()
    }
    assert min(agree.values()) > 0.6, agree


# `vela FOLDER FILE…`, which its command does not offer: it would be imported again for each file.
VELA = """
import sys
from ethosu.vela import vela
for path in sys.argv[2:]:
    status = vela.main([path, "--output-dir", sys.argv[1]])
    print(f"ended with {status}", flush=True)
"""


@needs("ethosu")
def test_the_compiler_for_ethos_u_takes_whole_int8_files(files: Files, tmp_path: Path) -> None:
    paths = [str(path_of(files(f"tflite:{name}", maker))) for name, maker in FILES]
    command = [sys.executable, "-c", VELA, str(tmp_path), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    *outputs, rest = done.stdout.split("ended with 0\n")
    assert not rest
    for (name, maker), output in zip(FILES, outputs, strict=True):
        if SCHEMES["tflite"][name].activations != "float32":
            (on_cpu,) = (line for line in output.splitlines() if line.startswith("CPU operators"))
            # At most the two at the edges, which make integers of float and float of integers.
            assert int(on_cpu.split("=")[1].split()[0]) <= 2, (name, maker, on_cpu)

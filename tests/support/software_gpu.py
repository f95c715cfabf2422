"""SwiftShader, a GPU in software, where Debian's Chromium is installed; files that it answers rightly and wrongly."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.core.codec import sha256_file
from edgeproof.core.model import InputContract
from edgeproof.export import save as save_artifact
from edgeproof.tflite import edit

from .operator_files import built, schema

CHROMIUM = Path("/usr/lib/chromium")
LOADER = "libvulkan.so.1"


@contextmanager
def software_gpu(folder: Path) -> Iterator[None]:
    """Have Vulkan take SwiftShader, in this process and in those that it starts. Skips the test where there is none."""
    driver = Path(os.environ.get("EDGEPROOF_SWIFTSHADER", CHROMIUM / "vk_swiftshader_icd.json"))
    if not driver.is_file():
        pytest.skip(f"there is no {driver}: Debian's chromium brings it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VK_ICD_FILENAMES", str(driver))
        if not _system_has_loader():  # Chromium brings one of its own. It is found by its name once it is loaded.
            own = driver.with_name(LOADER)
            ctypes.CDLL(str(own))
            (folder / LOADER).symlink_to(own)
            patch.setenv("LD_LIBRARY_PATH", f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}")
        yield


@cache
def _system_has_loader() -> bool:
    try:
        ctypes.CDLL(LOADER)
    except OSError:
        return False
    return True


def padding(dtype: str, bias: float = 0.0) -> bytes:
    """A file that pads ``x`` (1, 4, 4, 8) with zeros in ``float32`` or ``int16`` and adds `bias`.

    LiteRT 2.3's WebGPU accelerator takes the int16 PAD; its shader does not compile, which is said in its log alone,
    and the answers are zeros.
    """
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.operatorCodes, model.buffers, model.subgraphs = 3, [], [schema.BufferT()], [graph]
    graph.tensors, graph.operators = [], []
    given = edit.add_tensor(graph, b"x", (1, 4, 4, 8), "float32")
    pads = edit.add_constant(model, graph, b"pads", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    answer = edit.add_tensor(graph, b"y", (1, 6, 6, 8), "float32")
    last = edit.add_tensor(graph, b"unbiased", (1, 6, 6, 8), "float32") if bias else answer
    if dtype == "int16":
        inner = [edit.add_tensor(graph, name, shape, dtype) for name, shape in _INNER]
        for index in inner:
            graph.tensors[index].quantization = _scale(1 / 128)
        graph.operators += [
            edit.new_operator(model, "QUANTIZE", [given], inner[:1]),
            edit.new_operator(model, "PAD", [inner[0], pads], inner[1:], ("PadOptions", {}), version=3),
            edit.new_operator(model, "DEQUANTIZE", inner[1:], [last], version=3),
        ]
    else:
        graph.operators.append(edit.new_operator(model, "PAD", [given, pads], [last], ("PadOptions", {})))
    if bias:
        added = edit.add_constant(model, graph, b"bias", np.array([bias], np.float32))
        graph.operators.append(edit.new_operator(model, "ADD", [last, added], [answer], ("AddOptions", {})))
    graph.inputs, graph.outputs = [given], [answer]
    edit.sign(model, b"serving_default", {given: b"x"}, {answer: b"y"})
    return built(model)


_INNER = ((b"stored", (1, 4, 4, 8)), (b"padded", (1, 6, 6, 8)))


def _scale(scale: float) -> Any:
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = np.array([scale], np.float32), np.array([0], np.int64)
    return quantization


def padding_files(folder: Path, bias: float = 0.0) -> list[Path]:
    """Write the float32 file and the int16 one as files of one model, with their sidecars."""
    paths = []
    for scheme, dtype in (("float32", "float32"), ("int16x8", "int16")):
        path = folder / f"pad--tflite-{scheme}.tflite"
        path.write_bytes(padding(dtype, bias))
        contract = InputContract("x", (1, 4, 4, 8), "float32", kind="tensor")
        edges = ((TensorSpec("x", (1, 4, 4, 8), "float32"),), (TensorSpec("y", (1, 6, 6, 8), "float32"),))
        artifact = Artifact(
            path.stem, "pad", "tflite", scheme, path, sha256=sha256_file(path), bytes=path.stat().st_size,
            inputs=edges[0], outputs=edges[1], contract=contract,
        )  # fmt: skip
        save_artifact(artifact, folder)
        paths.append(path)
    return paths

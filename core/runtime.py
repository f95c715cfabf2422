"""Runtimes: the engines that run artifacts. A row says all of one, and names the class of the agent that runs it.

`devices/agent/` travels to devices alone, so these classes are there; a job says which one runs the file.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from .extras import EXTRAS, PROGRAM, Extra
from .measurement import Kind

# How a runtime counts its versions: as TensorFlow Lite, as LiteRT (which began again at 1.0), or in its own way.
Versions = Literal[
    "tflite",
    "litert",
    "onnxruntime",
    "openvino",
    "tflite-micro",
    "vela",
    "benchmark-model",
    "litert-js",
    "onnxruntime-web",
]
FAMILIES: dict[Versions, str] = {
    "tflite": "TensorFlow Lite", "litert": EXTRAS["litert"].packages["ai_edge_litert"], "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO", "tflite-micro": "TensorFlow Lite Micro",
    "vela": "Vela", "benchmark-model": "benchmark_model", "litert-js": "LiteRT.js",
    "onnxruntime-web": "ONNX Runtime Web",
}  # fmt: skip


@dataclass(frozen=True)
class NpmPackages(Extra):
    """Packages of npm, which `edgeproof doctor browser --fix` puts into the user's cache."""

    @property
    def remedy(self) -> str:
        """The command that installs them."""
        return "edgeproof doctor browser --fix"


_NPM = NpmPackages("browser", {name: name for name in ("@litertjs/core", "onnxruntime-web")})

# What the machine must have: a Vulkan driver, NVIDIA's driver, Intel's drivers of a GPU or an NPU.
Hardware = Literal["", "vulkan", "cuda", "intel-gpu", "intel-npu"]


@dataclass(frozen=True)
class Runtime:
    """One runtime: `title` is its name in sentences, `module` the package, `interpreter` the module that runs files.

    `session` is the class in `devices/agent/` that runs a file of one of `formats`. `side_by_side`: other versions
    can be installed beside the environment. `python_below` is the first Python for which it has no wheel. `symbol` is
    its marker in a plot (matplotlib's), and the sign for it in a legend.

    `default`: a run uses it unless its recipe names other targets. `device` is what the session runs files on, in the
    runtime's own words. `reads_signatures`: the runtime tells the names and quantization of a file's inputs and
    outputs; a job for another one has them from the file.

    `kind` is what its figures on a real machine are: those of one that stands for another machine are not measured.
    `home` is for a runtime that is on devices of a kind of its own alone: the name of one of them. It is the home of a
    compiler that estimates, and of what runs in browsers, whose packages are none of Python's.
    A `program` is no Python package: the user has it, and the kinds of devices that run it say so.
    `reference` is the runtime whose reference kernels must give the same answers, bit for bit.

    An accelerator has `cpu`, the runtime with whose answers its own are compared, and `needs`, what the machine must
    have (`devices.accelerators`). `apart` is for a package that replaces another runtime's: the version to put beside
    the environment.
    """

    name: str
    title: str
    module: str
    interpreter: str
    extra: Extra
    session: str
    formats: frozenset[str]
    versions: Versions
    symbol: tuple[str, str]
    side_by_side: bool = True
    python_below: tuple[int, int] | None = None
    default: bool = True
    device: str = ""
    reads_signatures: bool = True
    kind: Kind = "measured"
    reference: str = ""
    home: str = ""
    program: bool = False
    cpu: str = ""
    needs: Hardware = ""
    apart: str = ""

    @property
    def distribution(self) -> str:
        """The package that installers know it by."""
        return self.extra.packages[self.module]

    @property
    def machines(self) -> bool:
        """Whether the agent runs it on machines."""
        return not self.home

    def only_at_home(self, device: str) -> tuple[str, str] | None:
        """Return (reason, remedy) why a device that is not of its kind does not have it; None if it may."""
        if self.machines:
            return None
        does = "estimates, and runs nothing" if self.kind == "estimated" else "runs in browsers, and not"
        return f"{self.name} {does} on {device}", f"write a device of its own: {self.home}/{self.name}"

    @property
    def installed(self) -> bool:
        """Whether this Python has it. Imports nothing."""
        return not self.extra.missing(self.module) and (not self.apart or _is_installed(self.distribution))

    @property
    def in_python(self) -> bool:
        """Whether it is a package that runs files in a Python."""
        return self.machines and not self.program

    @property
    def package(self) -> str:
        """The runtime whose package this one uses: its own, or the one of its CPU."""
        shared = self.cpu and RUNTIMES[self.cpu].distribution == self.distribution
        return self.cpu if shared else self.name

    def job(self) -> dict[str, str]:
        """Return the facts about the runtime that the agent needs, as JSON values."""
        facts = {"session": self.session, "module": self.interpreter, "distribution": self.distribution}
        return {**facts, "device": self.device} if self.device else facts

    def not_installed(self) -> tuple[str, str]:
        """Return (reason, remedy) where this Python does not have the runtime."""
        if self.program:
            return (
                f"{self.name} is a program of a phone, and no package",
                'declare the phone: kind = "adb" and benchmark_model = … (docs/devices.md)',
            )
        if self.python_below and sys.version_info >= self.python_below:
            here, below = (".".join(map(str, version)) for version in (sys.version_info[:2], self.python_below))
            return (
                f"the last {self.name} has no wheel for Python {here}",
                f"run edgeproof in a Python older than {below} to evaluate files on {self.name}",
            )
        if self.apart:
            remedy = f"edgeproof devices --install {self.name}=={self.apart}"
            return f"{self.name} is not installed ({self.distribution} would replace {self.cpu})", remedy
        return f"{self.name} is not installed in this environment", self.extra.remedy


def _is_installed(distribution: str) -> bool:
    from importlib import metadata

    try:
        return bool(metadata.version(distribution))
    except Exception:  # there is no record of it, or a damaged one
        return False


def _rows() -> tuple[Runtime, ...]:
    tflite, onnx = frozenset({"tflite"}), frozenset({"onnx"})
    openvino: tuple[tuple[str, tuple[str, str], Hardware], ...] = (
        ("GPU", ("<", "◀"), "intel-gpu"), ("NPU", (">", "▶"), "intel-npu"),
    )  # fmt: skip
    delegates: tuple[tuple[str, str, tuple[str, str]], ...] = (
        ("gpu", "GPU", ("H", "⬣")), ("nnapi", "NNAPI", (r"$\spadesuit$", "♠")),
    )  # fmt: skip
    return (
        Runtime(
            "tensorflow", "TensorFlow", "tensorflow", "tensorflow", EXTRAS["train"], "TensorFlow",
            frozenset({"savedmodel"}), "tflite", ("^", "▲"),
            side_by_side=False,  # it brings half an environment
        ),
        Runtime(
            "litert", "LiteRT", "ai_edge_litert", "ai_edge_litert.interpreter", EXTRAS["litert"], "TFLite",
            tflite, "litert", ("o", "●"),
        ),
        Runtime(
            "tflite-runtime", "tflite-runtime", "tflite_runtime", "tflite_runtime.interpreter",
            EXTRAS["tflite-runtime"], "TFLite", tflite, "tflite", ("s", "■"), python_below=(3, 12),
        ),
        Runtime(
            # A microcontroller's interpreter and kernels, on a processor that is none.
            "tflite-micro", "TensorFlow Lite Micro", "tflite_micro", "tflite_micro.python.tflite_micro.runtime",
            EXTRAS["micro"], "TFLiteMicro", tflite, "tflite-micro", ("*", "★"), side_by_side=False, default=False,
            reads_signatures=False, kind="emulated", reference="litert",
        ),
        Runtime(
            "vela", "Vela", "ethosu.vela", "ethosu.vela", EXTRAS["ethos-u"], "", tflite, "vela", ("d", "⬧"),
            side_by_side=False, default=False, reads_signatures=False, kind="estimated", home="ethos-u55",
        ),
        Runtime(
            "onnxruntime", "ONNX Runtime", "onnxruntime", "onnxruntime", EXTRAS["onnxruntime"], "Onnx",
            onnx, "onnxruntime", ("D", "◆"),
        ),
        Runtime(
            "openvino", "OpenVINO", "openvino", "openvino", EXTRAS["openvino"], "OpenVino", tflite | onnx, "openvino",
            ("v", "▼"), default=False, device="CPU", reads_signatures=False,
        ),
        Runtime(
            # TensorFlow Lite's own tool, as the user has it for the phone's processor.
            "benchmark-model", "benchmark_model", "benchmark_model", "", PROGRAM, "", tflite, "benchmark-model",
            ("8", "⯃"), side_by_side=False, default=False, reads_signatures=False, program=True,
        ),
        *(
            Runtime(
                f"benchmark-model-{name}", f"benchmark_model with {title}", "benchmark_model", "", PROGRAM, "", tflite,
                "benchmark-model", symbol, side_by_side=False, default=False, device=title, reads_signatures=False,
                cpu="benchmark-model", program=True,
            )
            for name, title, symbol in delegates
        ),
        *(
            Runtime(
                f"openvino-{device.lower()}", f"OpenVINO on the {device}", "openvino", "openvino", EXTRAS["openvino"],
                "OpenVino", tflite | onnx, "openvino", symbol, default=False, device=device, reads_signatures=False,
                cpu="openvino", needs=needs,
            )
            for device, symbol, needs in openvino
        ),
        Runtime(
            "litert-gpu", "LiteRT on the GPU", "ai_edge_litert", "ai_edge_litert.compiled_model", EXTRAS["litert"],
            "LiteRtGpu", tflite, "litert", ("P", "✚"), default=False, reads_signatures=False, cpu="litert",
            needs="vulkan",
        ),
        Runtime(
            "tensorflow-gpu", "TensorFlow on the GPU", "tensorflow", "tensorflow", EXTRAS["train"], "TensorFlowGpu",
            frozenset({"savedmodel"}), "tflite", ("X", "✖"), side_by_side=False, default=False, cpu="tensorflow",
            needs="cuda",
        ),
        Runtime(
            "onnxruntime-cuda", "ONNX Runtime with CUDA", "onnxruntime", "onnxruntime", EXTRAS["onnxruntime-cuda"],
            "OnnxGpu", onnx, "onnxruntime", ("p", "⬟"), default=False, device="CUDAExecutionProvider",
            cpu="onnxruntime", needs="cuda", apart="1.31.1",
        ),
        Runtime(
            "onnxruntime-webgpu", "ONNX Runtime with WebGPU", "onnxruntime", "onnxruntime",
            EXTRAS["onnxruntime-webgpu"], "OnnxGpu", onnx, "onnxruntime", ("h", "⬢"), default=False,
            device="WebGpuExecutionProvider", cpu="onnxruntime", needs="vulkan", apart="1.27.0",
        ),
        # In a browser (`devices/browser/page_runner.py`); `session` is a class of `devices/browser/page/worker.js`.
        Runtime(
            "litert-js", "LiteRT.js", "@litertjs/core", "", _NPM, "litert-js", tflite, "litert-js", ("+", "+"),
            side_by_side=False, default=False, reads_signatures=False, home="browser",
        ),
        Runtime(
            "litert-js-webgpu", "LiteRT.js with WebGPU", "@litertjs/core", "", _NPM, "litert-js", tflite, "litert-js",
            ("x", "×"), side_by_side=False, default=False, device="webgpu", reads_signatures=False, home="browser",
            cpu="litert-js",
        ),
        Runtime(
            "onnxruntime-web", "ONNX Runtime Web", "onnxruntime-web", "", _NPM, "onnxruntime-web", onnx,
            "onnxruntime-web", ("1", "⅄"), side_by_side=False, default=False, reads_signatures=False, home="browser",
        ),
    )  # fmt: skip


RUNTIMES: dict[str, Runtime] = {row.name: row for row in _rows()}


def readers(format_: str) -> tuple[Runtime, ...]:
    """Return the runtimes of the default targets that read files of a format."""
    return tuple(runtime for runtime in RUNTIMES.values() if runtime.default and format_ in runtime.formats)

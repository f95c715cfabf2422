#!/usr/bin/env python3
"""The one file that is copied to a device: loads an artifact in one runtime, runs it, times it, and reports in JSON.

It needs Python 3.7 or newer, numpy and the runtime. It reads one job from a JSON file (or ``-`` for standard input),
does it in this process and writes one JSON document to standard output::

    {"verb": "load" | "infer" | "serve" | "profile", "artifact": "model.tflite", "inputs": "test.npy", "threads": 1,
     "session": "TFLite", "module": "ai_edge_litert.interpreter", "distribution": "ai-edge-litert", ...}
                                           →  {"status": "ok", "reason": "", "data": {...}}

On another device the job names a folder, ``shelf``, and files in it (see `Shelf`): further verbs put them there by
their SHA-256 (``have``, ``put``, ``tree``), install packages (``venv``, ``unpack``), remove all (``clean``), and tell
what the device is (``about``). Answers are then in the report, and not in a file.

With the verb ``serve`` the process stays: after the report on the import of the runtime it reads one request per line
from standard input and answers each with one line (see `Server`), until the input ends.

``session`` is one of `SESSIONS`, ``module`` the module to import, ``distribution`` its package. ``inputs`` is a file of
samples (``.npy``) or of texts (``.jsonl``, one JSON string per line). ``feed`` says how a sample is converted to
inputs (class `Feed`), ``answer`` names the output to report (empty: the first); ``answers`` instead lists several with
the number of values of each, which are reported one behind the other, filled up with zeros. Inputs and outputs are
matched by name, since converters reorder them. ``path`` is a folder with a version of the runtime, which then takes
precedence over the installed one.

One process does one job: runtimes interfere with each other inside a process, memory is only comparable in a fresh
process, and the crash of a runtime then affects nothing else.
"""

import errno
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from glob import glob
from importlib import import_module
from itertools import islice
from types import ModuleType
from typing import Any, Dict, List, Optional, Tuple

# Output of the runtimes goes to standard error, so that standard output holds the report alone.
_ANSWER = os.dup(1)
os.dup2(2, 1)

SAMPLES_IN_TIMING = 16
# A warm-up ends when its last runs are no faster than those before, by more than this share.
STEADY, STEADY_RUNS, LONGEST_WARMUP = 0.02, 8, 10.0


class Unsupported(Exception):
    """The runtime is missing or refuses the file: a result, not an error of this program."""


class Busy(Exception):
    """Another machine is timing files on this device."""


class Feed:
    """Converts one sample to the file's inputs: a dictionary of arrays by input name, each with batch 1.

    Kinds: ``image`` (pixels 0-255 mapped linearly to [low, high], or by the ``steps`` and ``lows`` of the channels,
    which are put into an ``order``, and with the ``layout`` NCHW transposed, as `core.pixels.as_input` does), ``text``
    (token ids and their number, from the tokenizer in a folder), ``string`` (the text itself), ``tensor`` (unchanged; a
    structured array has one field per input). An empty ``input`` means the file's only one.
    """

    def __init__(self, job: Dict[str, Any]) -> None:
        self.about = job.get("feed") or {"kind": "tensor", "input": ""}
        self.kind = self.about["kind"]
        # Users wait for the tokenizer too, so it is part of every timed run.
        self.tokenizes = self.kind == "text"

    def open(self) -> None:
        """Load the tokenizer, if there is one."""
        if not self.tokenizes:
            return
        from importlib import util

        spec: Any = util.spec_from_file_location("device_tokenizer", self.about["code"])
        module = util.module_from_spec(spec)
        sys.modules["device_tokenizer"] = module  # dataclasses look up their module there
        spec.loader.exec_module(module)
        try:
            self.tokenizer: Any = module.open_tokenizer(self.about["tokenizer"])
        except Exception as error:  # an untrusted folder may be broken in any way
            raise Unsupported("the tokenizer does not open: {}".format(error or type(error).__name__))

    def __call__(self, batch: Any) -> Dict[str, Any]:
        """Return the inputs for a batch of one sample: an array (1, ...), or a list of one text."""
        import numpy

        if self.kind == "text":
            return {name: numpy.array(value, "int32") for name, value in self.tokenizer.feed(batch[0]).items()}
        if self.kind == "string":
            return {self.about["input"]: batch}
        if batch.dtype.names:
            return {name: batch[name] for name in batch.dtype.names}
        if self.about.get("batchless"):
            batch = batch[0]
        low, high = self.about.get("low", 0.0), self.about.get("high", 255.0)
        if "order" in self.about:
            batch = numpy.ascontiguousarray(batch[..., self.about["order"]])
        if "steps" in self.about:
            steps, lows = (numpy.array(self.about[name], "float32") for name in ("steps", "lows"))
            batch = batch.astype("float32") * steps + lows
        elif self.kind == "image" and (low, high) != (0.0, 255.0):
            batch = (batch.astype("float32") * ((high - low) / 255.0) + low).astype("float32")
        if self.about.get("layout") == "NCHW":
            batch = numpy.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        return {self.about["input"]: batch}


class Session:
    """A file in a runtime. `open` sets `inputs`, the runtime's description of each input by name.

    `stateful` means that a run may depend on earlier runs, until the file is opened again. `on_cpu` is False for an
    accelerator, which then says by `placement` what it ran.
    """

    inputs: Dict[str, Any]
    stateful = False
    on_cpu = True
    sizes: List[int]

    def judged(self, job: Dict[str, Any], names: List[str]) -> List[str]:
        """Return which of the outputs called `names` are reported, and keep how many values of each."""
        several = job.get("answers") or []
        self.sizes = [size for _, size in several]
        return [pick(name, names) for name in ([name for name, _ in several] or [job.get("answer", "")])]

    def joined(self, outputs: List[Any], scales: List[Any]) -> Any:
        """Return the reported outputs, each with its scale and zero point, as real values: (values,) float32."""
        import numpy

        values = [dequantize(outputs[i], *scales[i]) for i in range(len(scales))]
        if not self.sizes:
            return values[0]
        for i, size in enumerate(self.sizes):
            if values[i].size > size:
                raise Unsupported("an output holds {} values, and at most {} are judged".format(values[i].size, size))
            values[i] = numpy.pad(values[i], (0, size - values[i].size))
        return numpy.concatenate(values)

    def open(self, job: Dict[str, Any]) -> None:
        """Read the file and make it ready to run."""
        raise NotImplementedError

    def forget(self, job: Dict[str, Any]) -> None:
        """Reset the state, so that the next run does not depend on earlier ones."""
        if self.stateful:
            self.open(job)

    def parts(self) -> Dict[str, float]:
        """Return the milliseconds of the last run's parts, where the runtime lets them be told apart."""
        return {}

    def figures(self) -> Dict[str, Any]:
        """Return what the runtime tells of the file after a run, beside the figures of all runtimes."""
        return {}

    def resize(self, batch: int) -> None:
        """Have the file take `batch` samples at a time. Raises ValueError or RuntimeError if it cannot."""
        raise ValueError("its inputs have a fixed batch of 1")

    def bind(self, names: List[str]) -> Dict[str, str]:
        """Return the file's input for each of `names`. Every input must be fed; a single one may have any name."""
        inputs = list(self.inputs)
        plain = {re.sub(r"^serving_default_|:0$", "", name): name for name in inputs}
        bound = {name: name if name in self.inputs else plain.get(name, "") for name in names}
        if len(names) == len(inputs) == 1:
            return {names[0]: inputs[0]}
        if sorted(bound.values()) != sorted(inputs):
            raise Unsupported("the file takes inputs {}, and is given {}".format(listed(inputs), listed(names)))
        return bound


class TFLite(Session):
    """A ``.tflite`` file in LiteRT, tflite-runtime, or another package with TensorFlow Lite's interpreter."""

    def __init__(self, job: Dict[str, Any]) -> None:
        module: Any = import_module(job["module"])
        self.new: Any = module.Interpreter
        self.options: Dict[str, Any] = {}
        if job.get("kernels") == "reference":
            self.options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_REF

    def open(self, job: Dict[str, Any]) -> None:
        try:
            self.interpreter = self.new(job["artifact"], num_threads=job["threads"], **self.options)
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise Unsupported(str(error))
        self.stateful = "VAR_HANDLE" in self._operators()
        self.inputs, outputs = self._tensors()
        self.outputs = [outputs[name] for name in self.judged(job, list(outputs))]

    def _tensors(self) -> Tuple[Dict[str, Any], Dict[str, Any]]:
        """Return inputs and outputs by the signature's names, or by the tensors' own names without a signature.

        The signature uses the interpreter's tensors. Runs go through the interpreter, which is faster than the
        signature's runner: that one allocates all tensors for each run.
        """
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        keys = list(self.interpreter.get_signature_list())
        if keys:
            key = "serving_default" if "serving_default" in keys else keys[0]
            # The runner is not stored: as long as it is referenced, the interpreter refuses to run.
            signature = self.interpreter.get_signature_runner(key)
            named = signature.get_input_details(), signature.get_output_details()
            if {d["index"] for d in named[0].values()} == {d["index"] for d in inputs}:
                return named
        return {d["name"]: d for d in inputs}, {d["name"]: d for d in outputs}

    def resize(self, batch: int) -> None:
        for about in self.interpreter.get_input_details():
            if len(about["shape"]):
                self.interpreter.resize_tensor_input(about["index"], [batch, *about["shape"][1:]])
        self.interpreter.allocate_tensors()

    def prepare(self, values: Dict[str, Any]) -> Any:
        bound = self.bind(list(values))
        tensors = [(self.inputs[bound[name]], value) for name, value in values.items()]
        return [
            (d["index"], quantize(fit(value, len(d["shape"])), d["dtype"], *d["quantization"])) for d, value in tensors
        ]

    def forget(self, job: Dict[str, Any]) -> None:
        super().forget(job)
        # A fused LSTM or RNN, to which the converter turns Keras' layers, stores its state in tensors across runs.
        self.interpreter.reset_all_variables()

    def run(self, prepared: Any) -> Any:
        started = time.perf_counter_ns()
        for index, value in prepared:
            self.interpreter.set_tensor(index, value)
        copied_in = time.perf_counter_ns()
        self.interpreter.invoke()
        ran = time.perf_counter_ns()
        outputs = [self.interpreter.get_tensor(output["index"]) for output in self.outputs]
        self.marks = (started, copied_in, ran, time.perf_counter_ns())
        return outputs

    def parts(self) -> Dict[str, float]:
        started, copied_in, ran, copied_out = self.marks
        return {
            "set_ms": (copied_in - started) / 1e6,
            "invoke_ms": (ran - copied_in) / 1e6,
            "get_ms": (copied_out - ran) / 1e6,
        }

    def finish(self, outputs: Any) -> Any:
        return self.joined(outputs, [output["quantization"] for output in self.outputs])

    def kernels(self) -> str:
        """Return which kernels run the graph: XNNPACK's (perhaps only a part of it), or the runtime's own."""
        names = self._operators()
        return "unknown" if not names else "xnnpack" if "DELEGATE" in names else "builtin"

    def _operators(self) -> List[str]:
        try:
            return [op["op_name"] for op in self.interpreter._get_ops_details()]
        except Exception:  # a private function, which a runtime may lack: the operators are then unknown
            return []


class TFLiteMicro(Session):
    """A ``.tflite`` file in the interpreter of TensorFlow Lite for Microcontrollers, on its reference kernels.

    All that it needs lies in one arena, whose size is found by trying. It says what it refuses in its log alone.
    """

    ARENAS = (16 << 20, 64 << 20, 256 << 20)

    def __init__(self, job: Dict[str, Any]) -> None:
        self.module: Any = import_module(job["module"])

    def open(self, job: Dict[str, Any]) -> None:
        graph = job.get("graph") or {}
        self.stateful = graph.get("stateful", False)
        with open(job["artifact"], "rb") as stream:
            content = stream.read()
        for size in self.ARENAS:
            try:
                with CapturedErrors() as errors:
                    self.interpreter = self.module.Interpreter.from_bytes(content, arena_size=size)
                break
            except RuntimeError as error:
                if size == self.ARENAS[-1] or "Requested: " not in errors.text:
                    raise Unsupported("{}\n{}".format(errors.text, error))
        names = [edge["name"] for edge in graph.get("inputs", [])] or [""]
        self.inputs = {name: dict(self.interpreter.get_input_details(i), at=i) for i, name in enumerate(names)}
        outputs = [edge["name"] for edge in graph.get("outputs", [])] or [""]
        self.outputs = [outputs.index(name) for name in self.judged(job, outputs)]
        self.scales = [self._scale(self.interpreter.get_output_details(index)) for index in self.outputs]

    @staticmethod
    def _scale(details: Dict[str, Any]) -> Tuple[float, int]:
        quantization = details["quantization_parameters"]
        scales, zero_points = quantization["scales"], quantization["zero_points"]
        return (float(scales[0]), int(zero_points[0])) if len(scales) else (0.0, 0)

    def prepare(self, values: Dict[str, Any]) -> Any:
        import numpy

        bound = self.bind(list(values))
        fed = []
        for given, value in values.items():
            details = self.inputs[bound[given]]
            batch = quantize(
                fit(value, len(details["shape"])), numpy.dtype(details["dtype"]).type, *self._scale(details)
            )
            expected, found = list(details["shape"]), list(batch.shape)
            if expected != found:
                raise Unsupported(
                    "the file takes shape {} for its input {}, and is given {}".format(expected, bound[given], found)
                )
            fed.append((details["at"], numpy.ascontiguousarray(batch)))
        return fed

    def run(self, prepared: Any) -> Any:
        for index, value in prepared:
            self.interpreter.set_input(value, index)
        self.interpreter.invoke()
        return [self.interpreter.get_output(index) for index in self.outputs]

    def finish(self, outputs: Any) -> Any:
        return self.joined(outputs, self.scales)

    def kernels(self) -> str:
        return "reference"

    def figures(self) -> Dict[str, Any]:
        with CapturedErrors() as log:
            self.interpreter.print_allocations()
        sizes = dict(re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", log.text))
        if len(sizes) < 3:
            return {}
        arena = {"bytes": sizes["total"], "activations": sizes["head"], "persistent": sizes["tail"]}
        return {
            "arena": dict({name: int(size) for name, size in arena.items()}, bits=64 if sys.maxsize > 2**32 else 32)
        }


class Onnx(Session):
    """An ``.onnx`` file in ONNX Runtime on the CPU."""

    provider = "CPUExecutionProvider"

    def __init__(self, job: Dict[str, Any]) -> None:
        self.module: Any = import_module(job["module"])

    def options(self, job: Dict[str, Any]) -> Any:
        options = self.module.SessionOptions()
        options.intra_op_num_threads = job["threads"]
        options.inter_op_num_threads = 1
        # Threads that wait for work by spinning would slow down other processes' bursts.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # x86 processors without VNNI add products of 8-bit numbers in 16 bits, and sums that do not fit are cut off:
        # onnx:int8 of a MobileNetV2 was right 77 % of the time, where it is 86 % with this.
        options.add_session_config_entry("session.x64quantprecision", "1")
        return options

    def open(self, job: Dict[str, Any]) -> None:
        options = self.options(job)
        try:
            self.session = self.started(job, options)
        except Exception as error:  # onnxruntime raises exceptions of its C extension, all of which are refusals
            # The option for x86 makes ONNX Runtime 1.32 refuse files in which two nodes share an int8 tensor.
            options.add_session_config_entry("session.x64quantprecision", "0")
            try:
                self.session = self.started(job, options)
            except Exception:
                raise Unsupported(str(error))
        # Types are written tensor(float), tensor(int32), …
        names = {"float": "float32", "double": "float64"}
        types = {value.name: value.type[len("tensor(") : -1] for value in self.session.get_inputs()}
        self.inputs = {name: names.get(kind, kind) for name, kind in types.items()}
        self.sides = {value.name: len(value.shape) for value in self.session.get_inputs()}
        self.first = [value.shape[0] for value in self.session.get_inputs() if value.shape]
        self.outputs = self.judged(job, [value.name for value in self.session.get_outputs()])

    def started(self, job: Dict[str, Any], options: Any) -> Any:
        return self.module.InferenceSession(job["artifact"], options, providers=[self.provider])

    def resize(self, batch: int) -> None:
        if any(isinstance(size, int) and size != batch for size in self.first):
            super().resize(batch)

    def prepare(self, values: Dict[str, Any]) -> Any:
        bound = self.bind(list(values))
        fed = {bound[name]: value for name, value in values.items()}
        return {name: fit(value, self.sides[name]).astype(self.inputs[name]) for name, value in fed.items()}

    def run(self, prepared: Any) -> Any:
        return self.session.run(self.outputs, prepared)

    def finish(self, outputs: Any) -> Any:
        return self.joined(outputs, [()] * len(outputs))

    def kernels(self) -> str:
        return str(self.session.get_providers()[0])


class OnnxGpu(Onnx):
    """An ``.onnx`` file in ONNX Runtime with the provider of an accelerator, which the job names as its ``device``.

    ONNX Runtime gives a file's operators to the provider that has kernels for them, and the others to the CPU. It uses
    the CPU alone, without an error, where the provider does not start: here that is a refusal.
    """

    on_cpu = False

    def __init__(self, job: Dict[str, Any]) -> None:
        super().__init__(job)
        self.provider = job["device"]
        if self.provider not in self.module.get_available_providers():
            raise Unsupported("this build of onnxruntime has no {}".format(self.provider))
        self.profile = ""

    def options(self, job: Dict[str, Any]) -> Any:
        options = super().options(job)
        if job["verb"] == "load":
            # Only the profile says which provider ran each operator.
            self.profile = tempfile.mkdtemp()
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(self.profile, "run")
        return options

    def open(self, job: Dict[str, Any]) -> None:
        with CapturedErrors() as errors:
            super().open(job)
        if self.session.get_providers()[0] != self.provider:
            match = re.search(
                r"Failed to load library .*? with error: (.*)|Failed to get a (WebGPU adapter: .*)", errors.text
            )
            cause = next((part for part in match.groups() if part), "") if match else "it does not start here"
            raise Unsupported("{}: {}".format(self.provider, cause))

    def placement(self, prepared: Any) -> Dict[str, Any]:
        path = self.session.end_profiling()
        with open(path, encoding="utf-8") as stream:
            events = json.load(stream)
        shutil.rmtree(self.profile, ignore_errors=True)
        ran: Dict[Any, Tuple[str, str]] = {}  # the first run of each node, in order
        for event in events:
            facts = event.get("args", {})
            if event.get("cat") == "Node" and "provider" in facts and not facts["op_name"].startswith("Memcpy"):
                ran.setdefault((event["name"], facts.get("node_index")), (facts["op_name"], facts["provider"]))
        there = [provider == self.provider for _, provider in ran.values()]
        kept = [op for op, provider in ran.values() if provider != self.provider]
        parts = sum(there[i] and not (i and there[i - 1]) for i in range(len(there)))
        adapters = vulkan_adapters() if self.provider == "WebGpuExecutionProvider" else []
        return placed(sum(there), len(there), parts, kept, adapters)


class OpenVino(Session):
    """A ``.tflite`` or ``.onnx`` file in OpenVINO, on one of its devices.

    OpenVINO compiles a whole file for one device or refuses it. It computes in the precision that it finds best for the
    device: float32 files in bfloat16 on processors that have it, in float16 on GPUs.
    """

    def __init__(self, job: Dict[str, Any]) -> None:
        self.module: Any = import_module(job["module"])
        self.device = job["device"]
        self.on_cpu = self.device == "CPU"
        self.scales: Dict[str, Tuple[float, int]] = {}

    def open(self, job: Dict[str, Any]) -> None:
        core = self.module.Core()
        if self.device not in {name.split(".")[0] for name in core.available_devices}:
            raise Unsupported(
                "OpenVINO finds no {} here; it has {}".format(self.device, listed(core.available_devices))
            )
        settings: Dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if self.device == "CPU":
            # The process is pinned already, where it is timed.
            settings.update(INFERENCE_NUM_THREADS=job["threads"], NUM_STREAMS=1, ENABLE_CPU_PINNING=False)
        try:
            self.model = core.compile_model(job["artifact"], self.device, settings)
            self.request = self.model.create_infer_request()
        except Exception as error:  # OpenVINO raises RuntimeError and types of its C extension
            raise Unsupported(str(error))
        self.adapter = core.get_property(self.device, "FULL_DEVICE_NAME")
        graph = job.get("graph") or {}
        self.inputs = dict(self._named(self.model.inputs, graph.get("inputs", [])))
        outputs = dict(self._named(self.model.outputs, graph.get("outputs", [])))
        names = self.judged(job, list(outputs))
        self.outputs, self.given = (
            [outputs[name] for name in names],
            [self.scales.get(name, (0.0, 0)) for name in names],
        )

    def _named(self, ports: Any, edges: List[Dict[str, Any]]) -> List[Tuple[str, Any]]:
        """Return the ports with the names that the file's signature gives them, and keep their quantization."""
        named = []
        for port in ports:
            own = sorted(port.get_names()) or [str(port.get_index())]
            edge = next((e for e in edges if e["tensor"] in own), None)
            name = edge["name"] if edge else own[0]
            if edge:
                self.scales[name] = (edge["scale"], edge["zero_point"])
            named.append((name, port))
        return named

    def resize(self, batch: int) -> None:
        shapes = [port.get_partial_shape() for port in self.inputs.values()]
        first = [shape[0] for shape in shapes if shape.rank.is_static and len(shape)]
        if any(side.is_static and side.get_length() != batch for side in first):
            super().resize(batch)

    def forget(self, job: Dict[str, Any]) -> None:
        self.request.reset_state()

    def prepare(self, values: Dict[str, Any]) -> Any:
        bound = self.bind(list(values))
        fed = {}
        for given, value in values.items():
            port = self.inputs[bound[given]]
            shape = port.get_partial_shape()
            batch = fit(value, -1 if shape.rank.is_dynamic else len(shape))
            fed[port] = quantize(batch, port.get_element_type().to_dtype(), *self.scales.get(bound[given], (0.0, 0)))
        return fed

    def run(self, prepared: Any) -> Any:
        self.request.infer(prepared, share_inputs=True)
        return [self.request.get_tensor(output).data.copy() for output in self.outputs]

    def finish(self, outputs: Any) -> Any:
        return self.joined(outputs, self.given)

    def kernels(self) -> str:
        try:
            return "{} {}".format(self.device, self.model.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        except Exception:  # a device may not say it
            return str(self.device)

    def placement(self, prepared: Any) -> Dict[str, Any]:
        edges = ("Parameter", "Constant", "Result")
        operators = [op for op in self.model.get_runtime_model().get_ops() if op.get_type_name() not in edges]
        count = len(operators)
        return placed(count, count, 1, [], [(self.adapter, False)])


class LiteRtGpu(Session):
    """A ``.tflite`` file in LiteRT's compiled model, on the GPU accelerator of its package.

    The file is compiled for the GPU alone first. Where that does not take all operators, it is compiled for the GPU and
    the CPU. Which operators stay on the CPU is in LiteRT's log alone.
    """

    on_cpu = False

    def __init__(self, job: Dict[str, Any]) -> None:
        self.module: Any = import_module(job["module"])

    def open(self, job: Dict[str, Any]) -> None:
        self.graph = job.get("graph") or {}
        self.stateful = self.graph.get("stateful", False)
        gpu, cpu = self.module.HardwareAccelerator.GPU, self.module.HardwareAccelerator.CPU
        self.whole = True
        try:
            with CapturedErrors() as errors:
                self.model = self._compiled(job, gpu)
        except RuntimeError as error:
            if "Some ops are not accelerated" not in str(error):
                raise Unsupported(self._cause(errors.text) or str(error))
            self.whole = False
            try:
                with CapturedErrors() as errors:
                    self.model = self._compiled(job, gpu | cpu)
            except RuntimeError as again:
                raise Unsupported(self._cause(errors.text) or str(again))
        self.log = errors.text
        signatures = self.model.get_signature_list()
        key = "serving_default" if "serving_default" in signatures else next(iter(signatures))
        self.key = key
        self.inputs = self.model.get_input_tensor_details(key)
        self.outputs = self.model.get_output_tensor_details(key)
        self.reported = self.judged(job, list(signatures[key]["outputs"]))
        self.fed = {name: self.model.create_input_buffer_by_name(key, name) for name in self.inputs}
        self.read = {name: self.model.create_output_buffer_by_name(key, name) for name in self.outputs}

    def _compiled(self, job: Dict[str, Any], accelerators: Any) -> Any:
        options = self.module.Options(
            hardware_accelerators=accelerators, cpu_options=self.module.CpuOptions(num_threads=job["threads"])
        )
        return self.module.CompiledModel.from_file(job["artifact"], options=options)

    def _cause(self, log: str) -> str:
        """Return why there is no GPU, by the log."""
        if "No adapters found" not in log:
            return ""
        driver = re.search(r"Couldn't load Vulkan: (.*)", log)
        return "LiteRT finds no GPU{}".format(": " + driver.group(1) if driver else "")

    def _scale(self, edges: str, name: str) -> Tuple[float, int]:
        edge = next((e for e in self.graph.get(edges, []) if e["name"] == name), None)
        return (edge["scale"], edge["zero_point"]) if edge else (0.0, 0)

    def prepare(self, values: Dict[str, Any]) -> Any:
        import numpy

        bound = self.bind(list(values))
        fed = []
        for given, value in values.items():
            name = bound[given]
            details = self.inputs[name]
            batch = quantize(
                fit(value, len(details["shape"])), numpy.dtype(details["dtype"]), *self._scale("inputs", name)
            )
            expected, found = list(details["shape"]), list(batch.shape)
            if expected != found:
                raise Unsupported(
                    "the file takes shape {} for its input {}, and is given {}".format(expected, name, found)
                )
            fed.append((name, numpy.ascontiguousarray(batch)))
        return fed

    def run(self, prepared: Any) -> Any:
        import numpy

        for name, value in prepared:
            self.fed[name].write(value)
        self.model.run_by_name(self.key, self.fed, self.read)
        found = []
        for name in self.reported:
            details = self.outputs[name]
            count = int(numpy.prod(details["shape"], dtype=int))
            found.append(self.read[name].read(count, numpy.dtype(details["dtype"]).type))
        return found

    def finish(self, outputs: Any) -> Any:
        return self.joined(outputs, [self._scale("outputs", name) for name in self.reported])

    def kernels(self) -> str:
        return "gpu" if self.whole else "gpu, cpu"

    def placement(self, prepared: Any) -> Optional[Dict[str, Any]]:
        # The adapter's name and type: "SwiftShader Device (Subzero), arch=…, adapterType=CPU / Software".
        match = re.search(r"Selected adapter: (.*?), .*adapterType=(.*)", self.log)
        adapters = [(match.group(1), "CPU" in match.group(2))] if match else vulkan_adapters()
        operators = self.graph.get("operators", [])
        if self.whole:
            return placed(len(operators), len(operators), 1, [], adapters) if operators else None
        # "1 operations will run on the GPU, and the remaining 72 operations will run on the CPU."
        counted = re.search(
            r"(?:(\d+)|No) operations will run on the GPU\D*?(\d+) operations will run on the CPU", self.log
        )
        if not counted:
            return None
        delegated, left = int(counted.group(1) or 0), int(counted.group(2))
        kept = refused_operators(self.log, operators)
        others = ["OTHERS"] * (left - len(kept)) if len(kept) <= left else []
        return placed(delegated, delegated + left, None, (kept + others)[:left], adapters)


def refused_operators(log: str, operators: List[Any]) -> List[str]:
    """Return the operators that LiteRT's GPU accelerator refuses, by the messages in its log.

    A message ("CONV_2D: Tensor type(INT16) is not supported. NAME") is there once for all operators of that kind that
    have that tensor; one without a tensor's name is for all of that kind.
    """
    lines = log.partition("Following operations are not supported by GPU delegate:")[2].splitlines()[1:]
    messages: Dict[str, List[str]] = {}
    for line in lines:
        op, colon, words = line.partition(": ")
        if not colon or not re.fullmatch(r"[A-Z][A-Z0-9_]*", op):
            break
        messages.setdefault(op, []).append(words)
    names = {name for _, tensors in operators for name in tensors if name}

    def tensor_of(words: str) -> str:
        """Return the tensor that a message ends with, or an empty text. Names may have spaces."""
        parts = words.split(" ")
        return next((name for name in (" ".join(parts[i:]) for i in range(1, len(parts))) if name in names), "")

    refused = {op: {tensor_of(words) for words in said} for op, said in messages.items()}
    return [op for op, tensors in operators if refused.get(op, set()) & {"", *tensors}]


def _import_without_keras(name: str) -> Any:
    """Import TensorFlow or tensorflow_text without Keras, which takes a third of the time and inference does not need.

    TensorFlow imports it at its end, where it can, and loads it when ``tf.keras`` is used. tensorflow_text imports its
    layers for Keras.
    """
    stand_ins: Dict[str, Any] = {
        "keras.src.optimizers": None,  # None makes the import fail
        "tf_keras.src.optimizers": None,
        "tensorflow_text.python.keras": ModuleType("tensorflow_text.python.keras"),
    }
    stand_ins = {module: stand_in for module, stand_in in stand_ins.items() if module not in sys.modules}
    sys.modules.update(stand_ins)
    gc.disable()  # an import leaves no garbage, and looking for it takes a fifth of its time
    try:
        return import_module(name)
    finally:
        gc.enable()
        for module in stand_ins:
            sys.modules.pop(module, None)


class TensorFlow(Session):
    """A SavedModel in TensorFlow on the CPU: the float reference."""

    def __init__(self, job: Dict[str, Any]) -> None:
        if self.on_cpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        tensorflow = _import_without_keras(job["module"])
        tensorflow.config.threading.set_intra_op_parallelism_threads(job["threads"])
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        if job["verb"] not in ("serve", "profile"):
            # The remapper fuses operators into approximate kernels, which changes a GELU by up to 1.6e-3. It stays on
            # for timing: without it a convolutional network takes up to twice as long.
            tensorflow.config.optimizer.set_experimental_options({"remapping": False})
        self.module = tensorflow
        if (job.get("feed") or {}).get("kind") == "string":
            try:  # models that take strings may need its operators; if it is missing, loading such a model fails
                _import_without_keras("tensorflow_text")
            except Exception as error:
                sys.stderr.write("tensorflow_text: {}\n".format(error))

    def open(self, job: Dict[str, Any]) -> None:
        """Read the SavedModel. The loaded object is stored, since it owns the variables and tables."""
        try:
            self.loaded = self.module.saved_model.load(job["artifact"])
            self.function = self.loaded.signatures["serving_default"]
        except (OSError, KeyError, ValueError, RuntimeError, self.module.errors.OpError) as error:
            raise Unsupported(str(error))
        if self.function.variables:  # a frozen model has none
            library = self.function.graph.as_graph_def().library.function
            self.stateful = any(node.op.startswith("Assign") for called in library for node in called.node_def)
        self.inputs = dict(self.function.structured_input_signature[1])
        self.outputs = self.judged(job, list(self.function.structured_outputs))

    def resize(self, batch: int) -> None:
        if any(spec.shape.rank and spec.shape[0] not in (None, batch) for spec in self.inputs.values()):
            super().resize(batch)

    def prepare(self, values: Dict[str, Any]) -> Any:
        bound = self.bind(list(values))
        specs = {bound[name]: (value, self.inputs[bound[name]]) for name, value in values.items()}
        return {name: self._constant(value, spec) for name, (value, spec) in specs.items()}

    def _constant(self, value: Any, spec: Any) -> Any:
        if spec.dtype == self.module.string:
            return self.module.constant(value)
        return self.module.constant(fit(value, spec.shape.rank).astype(spec.dtype.as_numpy_dtype))

    def run(self, prepared: Any) -> Any:
        given = self.function(**prepared)
        return [given[name].numpy() for name in self.outputs]

    def finish(self, outputs: Any) -> Any:
        return self.joined(outputs, [()] * len(outputs))

    def kernels(self) -> str:
        return "tensorflow-cpu"


class TensorFlowGpu(TensorFlow):
    """A SavedModel in TensorFlow on the GPU. Operators without a kernel for it run on the CPU."""

    on_cpu = False

    def __init__(self, job: Dict[str, Any]) -> None:
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # otherwise the first process takes all memory
        super().__init__(job)
        if not self.module.config.list_physical_devices("GPU"):
            raise Unsupported("TensorFlow finds no GPU here")

    def prepare(self, values: Dict[str, Any]) -> Any:
        with self.module.device("/CPU:0"):  # so that each run copies its input to the GPU
            return super().prepare(values)

    def kernels(self) -> str:
        return "tensorflow-gpu"

    def open(self, job: Dict[str, Any]) -> None:
        super().open(job)
        self.record = TensorFlowRecord() if job["verb"] == "load" else None

    def placement(self, prepared: Any) -> Optional[Dict[str, Any]]:
        details = self.module.config.experimental.get_device_details(self.module.config.list_physical_devices("GPU")[0])
        adapters = [(str(details.get("device_name", "")), False)]
        return self.record.placement("GPU", adapters) if self.record else None


class TensorFlowRecord:
    """Records, from here on, the graphs that TensorFlow executes. Each is there in its first run alone."""

    NO_WORK = (
        "Const",
        "Identity",
        "NoOp",
        "Placeholder",
        "_Arg",
        "_Retval",
        "_Send",
        "_Recv",
        "_HostSend",
        "_HostRecv",
    )

    def __init__(self) -> None:
        self.context: Any = import_module("tensorflow.python.eager.context").context()
        self.context.enable_run_metadata()

    def placement(self, device: str, adapters: List[Tuple[str, bool]]) -> Optional[Dict[str, Any]]:
        """Return what ran on a kind of device (``GPU``); None where no graph was recorded."""
        metadata = self.context.export_run_metadata()
        self.context.disable_run_metadata()
        graphs = [graph for function in metadata.function_graphs for graph in function.partition_graphs]
        nodes = [node for graph in graphs for node in graph.node if node.op not in self.NO_WORK]
        kept = [node.op for node in nodes if "device:" + device not in node.device]
        return placed(len(nodes) - len(kept), len(nodes), None, kept, adapters) if nodes else None


SESSIONS: Dict[str, Any] = {
    "TFLite": TFLite,
    "TFLiteMicro": TFLiteMicro,
    "Onnx": Onnx,
    "OnnxGpu": OnnxGpu,
    "OpenVino": OpenVino,
    "LiteRtGpu": LiteRtGpu,
    "TensorFlow": TensorFlow,
    "TensorFlowGpu": TensorFlowGpu,
}


class CapturedErrors:
    """Collects what is written to standard error inside a ``with`` into `text`. It is written there too, by ``tee``.

    Runtimes say what they refused, and on which device they run, in their logs alone. If one takes this process down,
    its last words are still in standard error.
    """

    text = ""

    def __enter__(self) -> "CapturedErrors":
        self.file: Any = tempfile.NamedTemporaryFile()
        sys.stderr.flush()
        self.errors = os.dup(2)
        read, write = os.pipe()
        self.tee = subprocess.Popen(["tee", self.file.name], stdin=read, stdout=self.errors)
        os.close(read)
        os.dup2(write, 2)
        os.close(write)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.stderr.flush()
        os.dup2(self.errors, 2)
        os.close(self.errors)
        self.tee.wait()
        self.text = self.file.read().decode("utf-8", "replace")
        self.file.close()


def placed(
    delegated: int, operators: int, partitions: Optional[int], kept: List[str], adapters: List[Tuple[str, bool]]
) -> Dict[str, Any]:
    """Return a placement as core.measurement.Placement has it. `adapters` are GPUs: name, whether it is emulated."""
    counts: Dict[str, int] = {}
    for op in kept:
        counts[op] = counts.get(op, 0) + 1
    return {
        "delegated": delegated,
        "operators": operators,
        "partitions": partitions,
        "kept": counts,
        "adapter": ", ".join(name for name, _ in adapters),
        # Of several, runtimes take a real one.
        "software": bool(adapters) and all(software for _, software in adapters),
    }


def vulkan_adapters() -> List[Tuple[str, bool]]:
    """Return the GPUs that Vulkan lists: name, and whether a processor emulates it. Empty without Vulkan.

    The structures are those of Vulkan 1.0 (VkInstanceCreateInfo, VkPhysicalDeviceProperties).
    """
    import ctypes

    try:
        vulkan: Any = ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return []

    class InstanceInfo(ctypes.Structure):
        _fields_ = [
            ("type", ctypes.c_int),
            ("next", ctypes.c_void_p),
            ("flags", ctypes.c_uint),
            ("application", ctypes.c_void_p),
            ("layers", ctypes.c_uint),
            ("layer_names", ctypes.c_void_p),
            ("extensions", ctypes.c_uint),
            ("extension_names", ctypes.c_void_p),
        ]

    instance, count = ctypes.c_void_p(), ctypes.c_uint()
    if vulkan.vkCreateInstance(ctypes.byref(InstanceInfo(type=1)), None, ctypes.byref(instance)):
        return []
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    adapters = []
    for handle in handles:
        properties = ctypes.create_string_buffer(4096)  # 824 bytes are written
        vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
        kind = int.from_bytes(properties.raw[16:20], sys.byteorder)  # 4: VK_PHYSICAL_DEVICE_TYPE_CPU
        name = properties.raw[20:276].split(b"\0")[0].decode("utf-8", "replace")
        adapters.append((name, kind == 4))
    vulkan.vkDestroyInstance(instance, None)
    return adapters


def fit(batch: Any, sides: int) -> Any:
    """Return a batch of one sample for an input with that number of dimensions: a scalar has no batch."""
    return batch.reshape(()) if sides == 0 and batch.size == 1 else batch


def quantize(batch: Any, dtype: Any, scale: float, zero_point: int) -> Any:
    """Return real values in the file's input dtype (value = scale x (stored - zero_point))."""
    import numpy

    if dtype not in (numpy.int8, numpy.uint8) or not scale:
        return batch.astype(dtype)
    limits = numpy.iinfo(dtype)
    stored = numpy.round(batch.astype("float32") / scale) + zero_point
    return numpy.clip(stored, limits.min, limits.max).astype(dtype)


def dequantize(output: Any, scale: float = 0.0, zero_point: int = 0) -> Any:
    """Return an output of any shape as real values: (values,) float32."""
    if output.dtype.kind not in "fiub":
        raise Unsupported("the answer holds {}, not numbers".format(output.dtype))
    values = output.astype("float32").reshape(-1)
    return values if output.dtype.kind == "f" or not scale else ((values - zero_point) * scale).astype("float32")


def pick(name: str, outputs: List[str]) -> str:
    """Return the output called `name`; the first one if `name` is empty or there is only one."""
    if name in outputs:
        return name
    if name and len(outputs) > 1:
        raise Unsupported("the file has no output {}; it has {}".format(name, listed(outputs)))
    return outputs[0]


def listed(names: List[str]) -> str:
    return ", ".join(name or "(without a name)" for name in names)


def read_samples(job: Dict[str, Any]) -> Any:
    """Return only the samples that a job needs, since they count as this process's memory."""
    import numpy

    counts = {"load": 1, "serve": SAMPLES_IN_TIMING, "profile": SAMPLES_IN_TIMING}
    start, stop = (job["start"], job["stop"]) if job["verb"] == "infer" else (0, counts[job["verb"]])
    if not job["inputs"].endswith(".jsonl"):
        return numpy.load(job["inputs"], mmap_mode="r", allow_pickle=False)[start:stop]
    with open(job["inputs"], encoding="utf-8") as stream:
        return [json.loads(line) for line in islice(stream, start, stop)]


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes (0 if unknown)."""
    try:
        # Not getrusage: its maximum is inherited from the parent process.
        with open("/proc/self/status") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def die_with_parent() -> None:
    """Have Linux kill this process when its parent ends: a killed run leaves no processes behind."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def core_facts() -> Dict[int, Dict[str, Any]]:
    """Return what Linux says of each core this process may use: its relative capacity, top clock and SMT siblings.

    ``capacity`` differs between the kinds of cores of a big.LITTLE processor. Facts that cannot be read are missing.
    """
    facts: Dict[int, Dict[str, Any]] = {}
    for core in sorted(os.sched_getaffinity(0)):
        folder = "/sys/devices/system/cpu/cpu{}/".format(core)
        facts[core] = {}
        for name, file in (
            ("capacity", "cpu_capacity"),
            ("max_khz", "cpufreq/cpuinfo_max_freq"),
            ("siblings", "topology/thread_siblings_list"),
        ):
            try:
                with open(folder + file) as stream:
                    text = stream.read().strip()
                facts[core][name] = text if name == "siblings" else int(text)
            except (OSError, ValueError):
                pass
    return facts


def pin(threads: int) -> Optional[List[int]]:
    """Pin this process to `threads` cores. Returns them, or None where that is impossible.

    The fastest kind of cores comes first, then one core of each set of SMT siblings, then the last cores, away from
    core 0's interrupts.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    facts = core_facts()
    seen: Dict[str, int] = {}
    for core in sorted(facts, reverse=True):
        siblings = facts[core].get("siblings", str(core))
        facts[core]["turn"] = seen[siblings] = seen.get(siblings, -1) + 1
    speed = {core: about.get("capacity", about.get("max_khz", 0)) for core, about in facts.items()}
    order = sorted(facts, key=lambda core: (-speed[core], facts[core].pop("turn"), -core))
    chosen = sorted(order[:threads])
    os.sched_setaffinity(0, chosen)
    return chosen


def conditions() -> Dict[str, Any]:
    """Return what may disturb a measurement, as far as Linux says: load, other work, stolen time, clocks, heat.

    ``at`` is a clock in seconds, ``busy_s`` (processor time of all processes), ``steal_s`` and ``throttled`` are
    counters since the machine started; ``mhz`` is the mean of the clocks of this process's cores, ``celsius`` the
    hottest zone.
    """
    facts: Dict[str, Any] = {"at": time.monotonic()}
    try:
        facts["load"] = os.getloadavg()[0]
        with open("/proc/stat") as stream:
            user, nice, system, _, _, irq, softirq, steal = map(int, stream.readline().split()[1:9])
        ticks = os.sysconf("SC_CLK_TCK")
        facts["busy_s"] = (user + nice + system + irq + softirq) / ticks
        facts["steal_s"] = steal / ticks
    except (OSError, ValueError, IndexError):
        pass
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cpu = "/sys/devices/system/cpu/cpu{}/"
    clocks = _numbers([(cpu + "cpufreq/scaling_cur_freq").format(core) for core in cores])
    throttled = _numbers([(cpu + "thermal_throttle/core_throttle_count").format(core) for core in cores])
    heat = _numbers(glob("/sys/class/thermal/thermal_zone*/temp"))
    flags = throttling_flags()
    if flags is not None:
        facts["throttling_flags"] = flags
    if clocks:
        facts["mhz"] = sum(clocks) / len(clocks) / 1000
    if heat:
        facts["celsius"] = max(heat) / 1000
    if throttled:
        facts["throttled"] = sum(throttled)
    return facts


def throttling_flags() -> Optional[int]:
    """Return the flags of a Raspberry Pi's firmware: 1 too low a voltage, 2 capped, 4 throttled, 8 too hot, all now.

    The same, shifted by 16 bits, since the start. None on other machines.
    """
    text = _line("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def _line(path: str) -> str:
    """Return the first line of a file, or an empty text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip(" \0\n\t")
    except OSError:
        return ""


def _numbers(files: List[str]) -> List[int]:
    """Return the numbers in those of some files that can be read."""
    numbers = []
    for file in files:
        try:
            with open(file) as stream:
                numbers.append(int(stream.read()))
        except (OSError, ValueError):
            pass
    return numbers


def milliseconds(started: int) -> float:
    return (time.perf_counter_ns() - started) / 1e6


def import_session(job: Dict[str, Any]) -> Tuple[Any, Dict[str, Any]]:
    """Import the runtime. Returns its session, which is not open, and the figures of the import."""
    try:
        started = time.perf_counter_ns()
        session = SESSIONS[job["session"]](job)
        import_ms = milliseconds(started)
    except ImportError as error:
        raise Unsupported("the runtime is not installed: {}".format(error))
    return session, {"import_ms": import_ms, "import_memory_bytes": peak_memory()}


def open_session(job: Dict[str, Any], session: Any, samples: Any) -> Tuple[Feed, Any, Dict[str, Any]]:
    """Load the artifact and run it twice. Returns the feed, the output and the figures."""
    import numpy

    feed = Feed(job)
    started = time.perf_counter_ns()
    feed.open()
    tokenizer_ms = milliseconds(started)
    session.open(job)
    load_ms = milliseconds(started)
    times = []
    prepared = None if feed.tokenizes else session.prepare(feed(samples[:1]))
    for _ in range(2):
        started = time.perf_counter_ns()
        output = session.run(session.prepare(feed(samples[:1])) if feed.tokenizes else prepared)
        times.append(milliseconds(started))
    facts = {
        "load_ms": load_ms,
        "first_ms": times[0],
        "run_ms": times[1],
        "peak_memory_bytes": peak_memory(),
        "finite": bool(numpy.isfinite(session.finish(output)).all()),
        "kernels": session.kernels(),
        "runtime_version": version(job["distribution"]),
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
    }
    if feed.tokenizes:
        facts["tokenizer_ms"] = tokenizer_ms  # included in load_ms
    if job["verb"] == "load" and not session.on_cpu:
        placement = session.placement(prepared or session.prepare(feed(samples[:1])))
        if placement and not placement["delegated"]:
            raise Unsupported("the accelerator runs none of the file's {} operators".format(placement["operators"]))
        facts["placement"] = placement
    if job["verb"] == "load":
        facts.update(session.figures())
    return feed, output, facts


def start(job: Dict[str, Any], samples: Any) -> Tuple[Feed, Any, Dict[str, Any]]:
    """Import the runtime, load the artifact and run it twice. Returns the feed, the session and the figures."""
    session, facts = import_session(job)
    feed, _, more = open_session(job, session, samples)
    facts.update(more)
    return feed, session, facts


def version(distribution: str) -> str:
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        return "unknown"
    try:
        return str(metadata.version(distribution) or "unknown")
    except Exception:  # there is no record of it, or a damaged one
        return "unknown"


def load(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: load the file and run it."""
    return start(job, samples)[2]


def infer(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: write the outputs for samples [start, stop) to job["outputs"], (stop - start, values) float32.

    The state of a stateful file is reset before each sample, so that its output does not depend on earlier samples.
    """
    import numpy

    feed, session, facts = start(job, samples)
    rows = []
    for index in range(job["stop"] - job["start"]):
        session.forget(job)
        rows.append(session.finish(session.run(session.prepare(feed(samples[index : index + 1])))))
        if rows[-1].shape != rows[0].shape:
            raise ValueError("the answer's size changes: {} values, then {}".format(rows[0].size, rows[-1].size))
    if "shelf" in job:
        import base64

        answers = numpy.asarray(rows, dtype="<f4")
        return dict(facts, shape=list(answers.shape), answers=base64.b64encode(answers.tobytes()).decode("ascii"))
    temporary = "{}.{}.npy".format(job["outputs"], os.getpid())
    with open(temporary, "wb") as stream:
        numpy.save(stream, numpy.asarray(rows, dtype="float32"))
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, job["outputs"])  # atomic for readers, and after a power failure
    return facts


def profile(job: Dict[str, Any], samples: Any) -> Dict[str, Any]:
    """Verb: time each operator, by job["profiler"] (`profiler.py`). A profiled run is no timed run: it is slower."""
    from importlib import util

    pinned = pin(job["threads"])
    feed, session, facts = start(job, samples)
    batches = [session.prepare(feed(samples[i : i + 1])) for i in range(len(samples))]
    spec: Any = util.spec_from_file_location("device_profiler", job["profiler"])
    profiler = util.module_from_spec(spec)
    spec.loader.exec_module(profiler)
    try:
        facts.update(profiler.profile(session, job, batches), cores=pinned)
    except profiler.Unsupported as error:
        raise Unsupported(str(error))
    return facts


class Server:
    """Verb ``serve``: a process that runs bursts of inferences when it is asked to, and waits in between.

    Requests, each with its answer's data:

    - ``{"do": "open"}``: pin the process, load the file and run it twice → the figures of `start`, and ``cores``.
    - ``{"do": "warm", "seconds": S}``: run for S seconds and until runs no longer get faster → ``warmup_ms``,
      ``steady``.
    - ``{"do": "burst", "runs": N, "sample": I}``: time N runs on one sample → ``runs_ms``, and the parts of each run
      that the session tells apart: ``tokenize_ms``, ``set_ms``, ``invoke_ms``, ``get_ms``.
    - ``{"do": "state"}`` → ``peak_memory_bytes``, ``conditions``.

    A run is: tokenize (where the device does that), copy the input in, run, copy the output out.
    """

    def __init__(self, job: Dict[str, Any]) -> None:
        self.job = job
        self.session, self.imported = import_session(job)

    def answer(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Do what a request asks, and return the data of the answer."""
        doing: Dict[str, Any] = {"open": self.open, "warm": self.warm, "burst": self.burst, "state": self.state}
        facts: Dict[str, Any] = doing[request.pop("do")](**request)
        return facts

    def open(self) -> Dict[str, Any]:
        pinned = pin(self.job["threads"])
        self.samples = read_samples(self.job)
        self.feed, self.alone, facts = open_session(self.job, self.session, self.samples)
        if self.job["batch"] > 1:
            self._check_batch()
        indices = range(len(self.samples))
        self.prepared = [] if self.feed.tokenizes else [self.session.prepare(self._fed(i)) for i in indices]
        gc.collect()
        gc.disable()
        facts.update(self.imported, cores=pinned)
        if pinned:
            about = core_facts()
            facts["core_facts"] = [dict(about[core], core=core) for core in pinned]
        return facts

    def _fed(self, index: int) -> Dict[str, Any]:
        """Return the inputs for a batch of one sample, repeated. The device tokenizes each text of a batch."""
        import numpy

        sample, batch = self.samples[index : index + 1], self.job["batch"]
        if batch == 1:
            return self.feed(sample)
        fed = [self.feed(sample) for _ in range(batch if self.feed.tokenizes else 1)] * batch
        return {name: numpy.concatenate([one[name] for one in fed[:batch]]) for name in fed[0]}

    def _check_batch(self) -> None:
        """Raise Unsupported unless the file answers each sample of a batch like the sample alone."""
        import numpy

        batch, alone = self.job["batch"], self.session.finish(self.alone)
        if self.job.get("answers"):
            raise Unsupported("a file of which several outputs are judged is measured one sample at a time")
        try:
            self.session.resize(batch)
            rows = self.session.finish(self.session.run(self.session.prepare(self._fed(0))))
        except (ValueError, RuntimeError) as error:
            raise Unsupported("the file does not take {} samples at a time: {}".format(batch, error))
        scale = max(float(numpy.abs(alone).max()), 1e-6)
        if rows.size != batch * alone.size or float(numpy.abs(rows.reshape(batch, -1) - alone).max()) > 0.1 * scale:
            raise Unsupported("the file takes {} samples at a time, and does not answer each of them".format(batch))

    def warm(self, seconds: float) -> Dict[str, Any]:
        runs: List[float] = []
        started = time.perf_counter_ns()
        steady = False
        while not steady:
            runs.append(self._run(len(runs) % len(self.samples))[0])
            passed = milliseconds(started) / 1000
            if passed < seconds:
                continue
            late, early = runs[-STEADY_RUNS:], runs[-2 * STEADY_RUNS : -STEADY_RUNS]
            steady = len(early) == STEADY_RUNS and median(late) > median(early) * (1 - STEADY)
            if passed > max(LONGEST_WARMUP * seconds, 0.05):
                break
        return {"warmup_ms": [round(t, 5) for t in runs], "steady": steady}

    def burst(self, runs: int, sample: int) -> Dict[str, Any]:
        timed = [self._run(sample % len(self.samples)) for _ in range(runs)]
        parts = {name: [round(run[1][name], 5) for run in timed] for name in timed[0][1]}
        return dict(parts, runs_ms=[round(run[0], 5) for run in timed])

    def _run(self, index: int) -> Tuple[float, Dict[str, float]]:
        """Run one inference. Returns its milliseconds, and those of its parts."""
        started = time.perf_counter_ns()
        if self.feed.tokenizes:
            prepared = self.session.prepare(self._fed(index))
            tokenized = milliseconds(started)
        else:
            prepared = self.prepared[index]
        self.session.run(prepared)
        total = milliseconds(started)
        parts = self.session.parts()
        if self.feed.tokenizes:
            parts.update(tokenize_ms=tokenized, infer_ms=total - tokenized)
        return total, parts

    def state(self) -> Dict[str, Any]:
        return {"peak_memory_bytes": peak_memory(), "conditions": conditions()}


def median(values: List[float]) -> float:
    return sorted(values)[len(values) // 2]


def serve(job: Dict[str, Any], stream: Any) -> None:
    """Answer requests line by line until standard input ends, or opening the file fails."""

    def reply(answer: Dict[str, Any]) -> Dict[str, Any]:
        stream.write(json.dumps(answer) + "\n")
        stream.flush()
        return answer

    servers: List[Server] = []
    claims: List[Any] = []  # held as long as this process is there

    def begin() -> Dict[str, Any]:
        if "shelf" in job:
            claims.append(Shelf(job).claim(job["owner"]))
        servers.append(Server(job))
        return servers[0].imported

    last = reply(guarded(begin))
    for line in iter(sys.stdin.buffer.readline, b""):
        if last["status"] != "ok":
            return
        last = reply(guarded(lambda: servers[0].answer(json.loads(line))))  # noqa: B023 (called at once)


class Shelf:
    """The folder on a device that holds what was put there: files by their SHA-256, and folders made of them.

    Names come from the other side of the connection. Each is a SHA-256 in hexadecimal, perhaps with a suffix that a
    runtime knows files by; in a folder, a relative path of plain names.
    """

    NAME = re.compile(r"[0-9a-f]{64}(\.[a-z]{1,8})?")
    PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")

    def __init__(self, job: Dict[str, Any]) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.folder = os.path.abspath(os.path.expanduser(job["shelf"] or os.path.join(cache, "edgeproof")))
        self.files = os.path.join(self.folder, "files")
        self.venv = os.path.join(self.folder, "venv")

    def place(self, name: str) -> str:
        """Return the path of a file or folder on the shelf."""
        if not self.NAME.fullmatch(name):
            raise ValueError("{!r} names nothing here".format(name[:80]))
        return os.path.join(self.files, name)

    def have(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: return which of some files are there and whole; damaged ones are removed."""
        there = []
        for name in job["names"]:
            path = self.place(name)
            if os.path.isfile(path) and digest(path) == name[:64]:
                there.append(name)
            elif os.path.isfile(path):
                os.remove(path)
        return {"there": there}

    def put(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: write the bytes that follow the job as a file; it is there only if its SHA-256 is its name."""
        import hashlib

        path, left = self.place(job["name"]), job["bytes"]
        os.makedirs(self.files, exist_ok=True)
        if shutil.disk_usage(self.files).free < left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = "{}.{}.part".format(path, os.getpid())
        sha256 = hashlib.sha256()
        try:
            with open(part, "wb") as stream:
                while left:
                    chunk = sys.stdin.buffer.read(min(left, 1 << 20))
                    if not chunk:
                        raise ValueError("the connection ended {} bytes before the end of the file".format(left))
                    sha256.update(chunk)
                    stream.write(chunk)
                    left -= len(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            if sha256.hexdigest() != job["name"][:64]:
                raise ValueError("the file was damaged on its way")
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.remove(part)
        return {}

    def tree(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: make a folder of files that are there, anew: job["paths"] maps relative paths to names."""
        path = self.place(job["name"])
        part = "{}.{}.part".format(path, os.getpid())
        for inner, name in job["paths"].items():
            parts = inner.split("/")
            if not all(self.PART.fullmatch(one) for one in parts):
                raise ValueError("{!r} is no path below a folder".format(inner[:80]))
            target = os.path.join(part, *parts)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(self.place(name), target)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(part, path)
        return {}

    def clean(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: remove the files, and nothing that is not of this program."""
        count = size = 0
        for name in os.listdir(self.files) if os.path.isdir(self.files) else []:
            if not self.NAME.fullmatch(name.split(".")[0]):
                continue
            path = os.path.join(self.files, name)
            for folder, _, files in os.walk(path):
                size += sum(os.path.getsize(os.path.join(folder, file)) for file in files)
            count += 1
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                size += os.path.getsize(path)
                os.remove(path)
        return {"files": count, "bytes": size}

    def make_venv(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: make an environment for Python packages, anew."""
        import venv

        shutil.rmtree(self.venv, ignore_errors=True)
        venv.EnvBuilder(with_pip=False, symlinks=True).create(self.venv)
        return {}

    def unpack(self, job: Dict[str, Any]) -> Dict[str, Any]:
        """Verb: unpack wheels, which are there, into the environment. A wheel is an archive of what is installed."""
        import zipfile

        site = glob(os.path.join(self.venv, "lib", "python*", "site-packages"))[0]
        for name in job["names"]:
            with zipfile.ZipFile(self.place(name)) as wheel:
                wheel.extractall(site)
            os.remove(self.place(name))
        return {}

    def claim(self, owner: Dict[str, str]) -> Any:
        """Return a file that is locked while this process times files. Raises Busy while those of another owner do."""
        import fcntl

        users = os.path.join(self.folder, "users")
        os.makedirs(users, exist_ok=True)
        with open(os.path.join(self.folder, "users.lock"), "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            for name in os.listdir(users):
                if name.startswith(owner["token"] + "."):
                    continue
                path = os.path.join(users, name)
                with open(path) as other:
                    try:
                        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except OSError:
                        raise Busy(other.read(200))
                os.remove(path)  # its process has ended
            name = "{}.{}".format(owner["token"], os.getpid())
            own = open(os.path.join(users, name), "w")  # noqa: SIM115 (closed when the process ends)
            own.write(owner["host"])
            own.flush()
            fcntl.flock(own, fcntl.LOCK_EX)
        return own


def digest(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    import hashlib

    sha256 = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            sha256.update(chunk)
    return sha256.hexdigest()


def about(job: Dict[str, Any]) -> Dict[str, Any]:
    """Verb: return what this device is. ``packages`` has the versions of the packages of job["modules"] it has."""
    import platform
    from importlib.util import find_spec

    shelf = Shelf(job)
    existing = shelf.folder
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    memory = {}
    try:
        with open("/proc/meminfo") as stream:
            memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in stream if "kB" in line}
    except (OSError, ValueError, IndexError):
        pass
    try:
        temporary = tempfile.gettempdir()
    except OSError:
        temporary = ""
    cpufreq = "/sys/devices/system/cpu/cpu0/cpufreq/"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts: Dict[str, Any] = {
        "cpu": processor(),
        "model": _line("/proc/device-tree/model"),
        "architecture": platform.machine(),
        "cores": cores,
        "memory_bytes": memory.get("MemTotal", 0),
        "available_bytes": memory.get("MemAvailable", 0),
        "os": platform.platform(),
        "python": platform.python_version(),
        "executable": sys.executable or "",
        "libc": " ".join(platform.libc_ver()),
        "boot": _line("/proc/sys/kernel/random/boot_id"),
        "governor": _line(cpufreq + "scaling_governor"),
        "max_mhz": sum(_numbers([cpufreq + "cpuinfo_max_freq"])) / 1000,
        "clock": time.time(),
        "folder": shelf.folder,
        "writable": os.access(existing, os.W_OK | os.X_OK),
        "free_bytes": shutil.disk_usage(existing).free,
        "temporary": temporary,
        "conditions": conditions(),
        "hardware": hardware(),
        "packages": {},
    }
    battery = _numbers(sorted(glob("/sys/class/power_supply/*/capacity")))
    if battery:
        facts["battery_percent"] = battery[0]
    for distribution, module in job["modules"].items():
        try:
            there = find_spec(module) is not None
        except (ImportError, ValueError):
            there = False
        if there:
            facts["packages"][distribution] = version(distribution)
    return facts


def hardware() -> List[str]:
    """Return the kinds of accelerators for which there are drivers, as `core.runtime.Hardware` names them."""
    import ctypes

    found = {"cuda": "nvidiactl", "intel-gpu": "dri/renderD*", "intel-npu": "accel/accel*"}
    there = [kind for kind, pattern in found.items() if glob("/dev/" + pattern)]
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return there
    return ["vulkan", *there]


def processor() -> str:
    """Return the processor's name as Linux reports it."""
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.lower().startswith(("model name", "hardware")):
                    return line.split(":", 1)[1].strip()
    except (OSError, IndexError):
        pass
    return platform.processor() or platform.machine()


VERBS = {"load": load, "infer": infer, "profile": profile}
# Those that need no samples.
SHELF_VERBS: Dict[str, Any] = {
    "about": about,
    "state": lambda job: {"peak_memory_bytes": peak_memory(), "conditions": conditions()},
    "have": lambda job: Shelf(job).have(job),
    "put": lambda job: Shelf(job).put(job),
    "tree": lambda job: Shelf(job).tree(job),
    "clean": lambda job: Shelf(job).clean(job),
    "venv": lambda job: Shelf(job).make_venv(job),
    "unpack": lambda job: Shelf(job).unpack(job),
}


def placed_on_shelf(job: Dict[str, Any]) -> Dict[str, Any]:
    """Return a job with the paths of the files that it names by their places on the shelf."""
    shelf = Shelf(job)
    job = dict(job, artifact=shelf.place(job["artifact"]), inputs=shelf.place(job["inputs"]))
    needed = [job["artifact"], job["inputs"]]
    if "profiler" in job:
        job["profiler"] = shelf.place(job["profiler"])
        needed.append(job["profiler"])
    feed = job.get("feed") or {}
    if "tokenizer" in feed:
        job["feed"] = dict(feed, tokenizer=shelf.place(feed["tokenizer"]), code=shelf.place(feed["code"]))
        needed += [job["feed"]["tokenizer"], job["feed"]["code"]]
    job["gone"] = not all(os.path.exists(path) for path in needed)
    if not os.environ.get("TMPDIR"):
        try:
            tempfile.gettempdir()
        except OSError:
            tempfile.tempdir = shelf.folder
    return job


def guarded(work: Any) -> Dict[str, Any]:
    """Return the report on a piece of work. Failures of the file or the runtime are reported, not raised."""
    try:
        return {"status": "ok", "reason": "", "data": work()}
    except Unsupported as error:
        return {"status": "unsupported", "reason": str(error), "data": {}}
    except Busy as error:
        return {"status": "skipped", "reason": "Busy: {}".format(error), "data": {}}
    except Exception as error:  # a runtime may raise anything
        return {"status": "failed", "reason": "{}: {}".format(type(error).__name__, error), "data": {}}


def main() -> None:
    """Read the job named on the command line, and write the report to standard output, or answer requests."""
    die_with_parent()
    if sys.argv[1] == "-":
        job = json.loads(sys.stdin.buffer.readline())
    else:
        with open(sys.argv[1]) as stream:
            job = json.load(stream)
    if "shelf" in job and job["verb"] not in SHELF_VERBS:
        job = placed_on_shelf(job)
    if job.get("path"):
        sys.path.insert(0, job["path"])
    with os.fdopen(_ANSWER, "w") as stream:
        if job.get("gone"):
            stream.write(json.dumps({"status": "skipped", "reason": "Gone", "data": {}}) + "\n")
        elif job["verb"] == "serve":
            serve(job, stream)
        elif job["verb"] in SHELF_VERBS:
            stream.write(json.dumps(guarded(lambda: SHELF_VERBS[job["verb"]](job))) + "\n")
        else:
            stream.write(json.dumps(guarded(lambda: VERBS[job["verb"]](job, read_samples(job)))) + "\n")
    # Some runtimes crash during shutdown. The report is written, so exit without it.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

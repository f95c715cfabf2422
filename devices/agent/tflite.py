"""``.tflite`` files in TensorFlow Lite's interpreters."""

import re
import sys
import time
from importlib import import_module
from typing import Any, Dict, List, Tuple

from .errors import Unsupported
from .placement import CapturedErrors
from .session import Session
from .values import fit, quantize


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

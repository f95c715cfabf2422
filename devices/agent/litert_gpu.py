"""``.tflite`` files on the GPU accelerator of LiteRT's package."""

import re
from importlib import import_module
from typing import Any, Dict, List, Optional, Tuple

from .errors import Unsupported
from .placement import CapturedErrors, placed, vulkan_adapters
from .session import Session
from .values import fit, quantize


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

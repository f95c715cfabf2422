"""``.onnx`` files in ONNX Runtime."""

import json
import os
import re
import shutil
import tempfile
from importlib import import_module
from typing import Any, Dict, Tuple

from .errors import Unsupported
from .placement import CapturedErrors, placed, vulkan_adapters
from .session import Session
from .values import fit


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
        self.cut_off = ""
        try:
            self.session = self.started(job, options)
        except Exception as error:  # onnxruntime raises exceptions of its C extension, all of which are refusals
            # The option for x86 makes ONNX Runtime 1.32 refuse files in which two nodes share an int8 tensor.
            options.add_session_config_entry("session.x64quantprecision", "0")
            try:
                self.session = self.started(job, options)
            except Exception:
                raise Unsupported(str(error))
            self.cut_off = ", without session.x64quantprecision"
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
        return str(self.session.get_providers()[0]) + self.cut_off


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

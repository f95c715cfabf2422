"""``.tflite`` and ``.onnx`` files in OpenVINO."""

from importlib import import_module
from typing import Any, Dict, List, Tuple

from .errors import Unsupported
from .placement import placed
from .session import Session
from .values import fit, listed, quantize


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

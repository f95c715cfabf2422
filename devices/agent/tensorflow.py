"""SavedModels in TensorFlow."""

import gc
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Dict, List, Optional, Tuple

from .errors import Unsupported
from .placement import placed
from .session import Session
from .values import fit


def import_without_keras(name: str) -> Any:
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
    gc.disable()  # an import leaves no garbage, and looking for it takes a good part of its time
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
        tensorflow = import_without_keras(job["module"])
        tensorflow.config.threading.set_intra_op_parallelism_threads(job["threads"])
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        if job["verb"] not in ("serve", "profile"):
            # The remapper fuses operators into approximate kernels, which changes a GELU by up to 1.6e-3. It stays on
            # for timing: without it a convolutional network takes up to twice as long.
            tensorflow.config.optimizer.set_experimental_options({"remapping": False})
        self.module = tensorflow
        if (job.get("feed") or {}).get("kind") == "string":
            try:  # models that take strings may need its operators; if it is missing, loading such a model fails
                import_without_keras("tensorflow_text")
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

"""The verb ``profile``: the time of each operator of a runtime, each of which tells it in its own way:

- LiteRT through the C interface of the library in its package, where the operators inside XNNPACK are told too;
- ONNX Runtime and OpenVINO through their Python interfaces;
- TensorFlow through its profiler.

A profiled run is slower than a timed one, and its sum is less than the whole: what lies between operators is in no row.
"""

import glob
import json
import os
import shutil
import struct
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from .errors import Unsupported

WARMUP = 5
# Rows of larger graphs would make a document that nobody reads.
MOST_OPERATORS = 20000


class Event:
    """One operator of one run: what ran, as which kernel, and microseconds.

    `key` tells the operator apart from the others of a run; `node` is its position in the file's graph, where the
    runtime says it; `shapes` are (shapes of the inputs, of the outputs, bytes of all), where the runtime says them.
    """

    def __init__(
        self,
        key: str,
        op: str,
        microseconds: float,
        name: str = "",
        kernel: str = "",
        node: Optional[int] = None,
        shapes: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.key = key
        self.microseconds = microseconds
        self.row: Dict[str, Any] = {"op": op, "name": name, "kernel": kernel, "node": node, "shapes": shapes}


class Table:
    """Collects the events of runs: a row an operator, in the order of their first execution."""

    def __init__(self) -> None:
        self.runs: List[Dict[str, float]] = []
        self.rows: Dict[str, Dict[str, Any]] = {}

    def add(self, events: List[Event]) -> None:
        """Add one run. What runs several times in it (a loop) is one row."""
        times: Dict[str, float] = {}
        for event in events:
            self.rows.setdefault(event.key, event.row)
            times[event.key] = times.get(event.key, 0.0) + event.microseconds
        if len(self.rows) > MOST_OPERATORS:
            raise Unsupported(f"it executes more than {MOST_OPERATORS} operators")
        self.runs.append(times)

    def operators(self) -> List[Dict[str, Any]]:
        """Return the rows, each with its microseconds in each run."""
        if not self.rows:
            raise Unsupported("the runtime's profiler told of no operator")
        return [
            dict(row, us=[round(run.get(key, 0.0), 3) for run in self.runs]) for key, row in self.rows.items()
        ]  # fmt: skip


def profile(session: Any, job: Dict[str, Any], batches: List[Any]) -> Dict[str, Any]:
    """Return ``operators``, ``runs_ms`` (whole runs, profiled) and ``engine`` (what was profiled, in words).

    `session` is the agent's, open; `batches` are prepared inputs. Raises Unsupported.
    """
    find = PROFILERS.get(type(session).__name__)
    if find is None:
        raise Unsupported("{} has no profiler that Python can reach".format(job["distribution"]))
    table, runs_ms, engine = find(session, job, batches)
    return {"operators": table.operators(), "runs_ms": runs_ms, "engine": engine}


def timed(run: Callable[[], Any]) -> float:
    """Return the milliseconds that a call takes."""
    started = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started) / 1e6


def litert(session: Any, job: Dict[str, Any], batches: List[Any]) -> Tuple[Table, List[float], str]:
    """Profile a ``.tflite`` file in LiteRT's CompiledModel on the CPU, run by run."""
    model = _LiteRt(job, session)
    for batch in batches[:WARMUP]:
        model.feed(batch)
        model.run()
    table, runs_ms = Table(), []
    for index in range(job["runs"]):
        model.feed(batches[index % len(batches)])
        model.call("LiteRtResetProfiler", model.profiler)
        model.call("LiteRtStartProfiler", model.profiler)
        runs_ms.append(timed(model.run))
        model.call("LiteRtStopProfiler", model.profiler)
        events = list(model.events())
        if sum(event.microseconds for event in events) > 1000 * runs_ms[-1] * 1.05 + 100:
            raise Unsupported("the profiler of this version of LiteRT has another format")
        table.add(events)
    return table, runs_ms, "LiteRT CompiledModel on the CPU"


class _LiteRt:
    """LiteRT's C interface, through ctypes: Python's has no profiler.

    The functions and the record of an event are those of version 2.3 (litert/c/litert_profiler.h,
    litert_profiler_event.h and litert/c/options/litert_runtime_options.cc). The interface is not versioned: every
    status is checked, the size of a record is measured, and whatever differs is `Unsupported`.
    """

    OPERATOR, DELEGATED = (2,), (4, 8)  # types of events

    def __init__(self, job: Dict[str, Any], session: Any) -> None:
        import ctypes

        self.c = ctypes
        folder = os.path.dirname(sys.modules[job["module"]].__file__ or "")
        try:
            self.library = ctypes.CDLL(os.path.join(folder, "libLiteRt.so"))
        except OSError:
            raise Unsupported("this package of {} has no profiler".format(job["distribution"]))
        self.environment = self.new("LiteRtCreateEnvironment", 0, None)
        self.model = self.new("LiteRtCreateModelFromFile", self.environment, job["artifact"].encode())
        options = self.new("LiteRtCreateOptions")
        self.call("LiteRtSetOptionsHardwareAccelerators", options, 1)  # the CPU
        # LiteRT frees the text through the function that comes with it; both must live as long as the options.
        self.text = ctypes.create_string_buffer(b"enable_profiling = true\n")
        self.free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        asked = self.new("LiteRtCreateOpaqueOptions", b"runtime_options_string", self.text, self.free)
        self.call("LiteRtAddOpaqueOptions", options, asked)
        self.compiled = self.new("LiteRtCreateCompiledModel", self.environment, self.model, options)
        self.profiler = self.new("LiteRtCompiledModelGetProfiler", self.compiled)
        if not self.profiler:
            raise Unsupported("LiteRT makes no profiler for this file")
        self.index = self._signature()
        signature = self.new("LiteRtGetModelSignature", self.model, ctypes.c_size_t(self.index))
        self.inputs = self._buffers(signature, "Input")
        self.outputs = self._buffers(signature, "Output")
        names = [self._name(signature, i) for i in range(len(self.inputs))]
        missing = sorted(set(session.inputs) - set(names))
        if missing:
            raise Unsupported(f"LiteRT's CompiledModel has no input {missing[0]}")
        self.positions = {session.inputs[name]["index"]: position for position, name in enumerate(names)}

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a status, 0 where it is well."""
        try:
            function = getattr(self.library, name)
        except AttributeError:
            raise Unsupported(f"this version of LiteRT has no {name}")
        function.restype = self.c.c_int
        status = function(*arguments)
        if status:
            raise Unsupported(f"{name} of LiteRT ends with status {status}")

    def new(self, name: str, *arguments: Any) -> Any:
        """Call a function that gives an object through its last argument."""
        made = self.c.c_void_p()
        self.call(name, *arguments, self.c.byref(made))
        return made

    def _count(self, name: str, *arguments: Any) -> int:
        count = self.c.c_size_t()
        self.call(name, *arguments, self.c.byref(count))
        return int(count.value)

    def _signature(self) -> int:
        """Return the index of the signature that the agent runs: serving_default, else the first."""
        keys = []
        for index in range(self._count("LiteRtGetNumModelSignatures", self.model)):
            key = self.c.c_char_p()
            signature = self.new("LiteRtGetModelSignature", self.model, self.c.c_size_t(index))
            self.call("LiteRtGetSignatureKey", signature, self.c.byref(key))
            keys.append(key.value)
        return keys.index(b"serving_default") if b"serving_default" in keys else 0

    def _name(self, signature: Any, index: int) -> str:
        name = self.c.c_char_p()
        self.call("LiteRtGetSignatureInputName", signature, self.c.c_size_t(index), self.c.byref(name))
        return (name.value or b"").decode("utf-8", "replace")

    def _buffers(self, signature: Any, side: str) -> Any:
        """Return an array of buffers for the inputs or the outputs."""
        count = self._count(f"LiteRtGetNumSignature{side}s", signature)
        buffers = (self.c.c_void_p * count)()
        for index in range(count):
            at = self.c.c_size_t(index)
            tensor = self.new(f"LiteRtGetSignature{side}TensorByIndex", signature, at)
            kind = self.c.create_string_buffer(1024)  # a LiteRtRankedTensorType, some 72 bytes
            self.call("LiteRtGetRankedTensorType", tensor, kind)
            needs = self.new(
                f"LiteRtGetCompiledModel{side}BufferRequirements", self.compiled, self.c.c_size_t(self.index), at
            )
            made = self.new("LiteRtCreateManagedTensorBufferFromRequirements", self.environment, kind, needs)
            buffers[index] = made.value
        return buffers

    def feed(self, batch: Any) -> None:
        """Copy prepared inputs, (index of the interpreter's tensor, array), into the buffers."""
        for tensor, values in batch:
            buffer = self.c.c_void_p(self.inputs[self.positions[tensor]])
            size = self._count("LiteRtGetTensorBufferPackedSize", buffer)
            content = values.tobytes()
            if size != len(content):
                raise Unsupported(f"an input of LiteRT's CompiledModel takes {size} bytes, not {len(content)}")
            address = self.c.c_void_p()
            self.call("LiteRtLockTensorBuffer", buffer, self.c.byref(address), 1)  # to write
            self.c.memmove(address, content, size)
            self.call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> None:
        """Run the model once."""
        self.call(
            "LiteRtRunCompiledModel", self.compiled, self.c.c_size_t(self.index),
            self.c.c_size_t(len(self.inputs)), self.inputs, self.c.c_size_t(len(self.outputs)), self.outputs,
        )  # fmt: skip

    def events(self) -> Iterator[Event]:
        """Yield the operators of the run that was profiled last, in the order of their execution."""
        number = self.c.c_int()
        self.call("LiteRtGetNumProfilerEvents", self.profiler, self.c.byref(number))
        content, size = self._records(number.value)
        part, inside = 0, False
        for start in range(0, number.value * size, size):
            tag, kind = struct.unpack_from("<Qi", content, start)
            (elapsed,) = struct.unpack_from("<Q", content, start + 24)
            position, graph = struct.unpack_from("<QQ", content, start + size - 24)
            name = self.c.string_at(tag).decode("utf-8", "replace")
            if kind in self.DELEGATED:
                part += not inside  # each partition counts its operators from 0
                yield Event(f"{part}/{position}", name, float(elapsed), kernel="xnnpack")
            elif kind in self.OPERATOR and graph == 0 and "Delegate" not in name:
                yield Event(f"node {position}", name, float(elapsed), kernel="builtin", node=int(position))
            inside = kind in self.DELEGATED

    def _records(self, number: int) -> Tuple[bytes, int]:
        """Return the events and the size of one. Their record's middle part differs between versions."""
        room, blank = number * 512, 0xAA
        memory = (self.c.c_ubyte * room)(*([blank] * room))
        self.call("LiteRtGetProfilerEvents", self.profiler, self.c.c_int(number), memory)
        content = bytes(memory)
        written = len(content.rstrip(bytes([blank])))
        size, rest = divmod(-(-written // 8) * 8, max(1, number))  # the last field is padded
        if rest or not 64 <= size <= 512:
            raise Unsupported("the profiler of this version of LiteRT has another format")
        return content, size


def onnx(session: Any, job: Dict[str, Any], batches: List[Any]) -> Tuple[Table, List[float], str]:
    """Profile an ``.onnx`` file through ONNX Runtime's own profile, a JSON file that it writes at the end."""
    folder = tempfile.mkdtemp()
    try:
        options = session.options(job)
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        profiled = session.module.InferenceSession(job["artifact"], options, providers=[session.provider])
        runs_ms = []
        for index in range(WARMUP + job["runs"]):
            batch = batches[index % len(batches)]
            runs_ms.append(timed(lambda batch=batch: profiled.run(session.outputs, batch)))  # type: ignore[misc]
        with open(profiled.end_profiling()) as stream:
            told = json.load(stream)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = Table()
    events: List[Event] = []
    run = 0
    for one in told:
        arguments = one.get("args") or {}
        name = one.get("name", "")
        if one.get("cat") == "Node" and name.endswith("_kernel_time"):
            op = arguments.get("op_name", "")
            if op not in ("If", "Loop", "Scan"):  # their operators are rows of their own
                plain = name[: -len("_kernel_time")]
                key = "{} {}".format(arguments.get("node_index"), plain)
                provider = arguments.get("provider", "")
                events.append(Event(key, op, float(one["dur"]), plain, provider, shapes=_onnx_shapes(arguments)))
        elif name == "model_run":
            if run >= WARMUP:
                table.add(events)
            run, events = run + 1, []
    return table, runs_ms[WARMUP:], "ONNX Runtime's profile"


def _onnx_shapes(arguments: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Return the shapes that a node of ONNX Runtime's profile had, and the bytes that it read and wrote."""

    def shapes(key: str) -> List[List[int]]:
        return [list(map(int, shape)) for one in arguments.get(key) or [] for shape in one.values()]

    sizes = [arguments.get(key) for key in ("parameter_size", "activation_size", "output_size")]
    if not arguments.get("output_type_shape"):
        return None
    return {
        "inputs": shapes("input_type_shape"),
        "outputs": shapes("output_type_shape"),
        "bytes": sum(int(size) for size in sizes if size is not None),
    }


def tensorflow(session: Any, job: Dict[str, Any], batches: List[Any]) -> Tuple[Table, List[float], str]:
    """Profile a SavedModel through TensorFlow's profiler, whose traces hold an event for each operator."""
    profiler = session.module.profiler.experimental
    try:
        from tensorflow.tsl.profiler.protobuf import xplane_pb2
    except ImportError:
        raise Unsupported("this TensorFlow does not hold the format of its own traces")
    for batch in batches[:WARMUP]:
        session.run(batch)
    folder = tempfile.mkdtemp()
    runs_ms = []
    try:
        options = profiler.ProfilerOptions(host_tracer_level=2, python_tracer_level=0, device_tracer_level=0)
        profiler.start(folder, options)
        try:
            for index in range(job["runs"]):
                batch = batches[index % len(batches)]
                with profiler.Trace("edgeproof-run", step_num=index):
                    runs_ms.append(timed(lambda batch=batch: session.run(batch)))  # type: ignore[misc]
        finally:
            profiler.stop()
        space = xplane_pb2.XSpace()
        for path in glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True):
            with open(path, "rb") as stream:
                space.MergeFromString(stream.read())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _from_traces(space), runs_ms, "TensorFlow's profiler"


# Operators that hold others, which have events of their own; and the edges of a function.
_HOLDING = (
    "PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile", "If", "StatelessIf", "Case", "_Arg",
    "_Retval", "_DeviceArg", "_DeviceRetval", "NoOp",
)  # fmt: skip


def _from_traces(space: Any) -> Table:
    spans: List[Tuple[int, int]] = []
    found: List[Tuple[int, str, str, float]] = []
    for plane in space.planes:
        names = {key: (value.name, value.display_name) for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name, kind = names.get(event.metadata_id, ("", ""))
                start = line.timestamp_ns * 1000 + event.offset_ps
                if name.startswith("edgeproof-run"):
                    spans.append((start, start + event.duration_ps))
                elif kind and name.endswith(":" + kind) and kind not in _HOLDING:
                    found.append((start, name[: -len(kind) - 1], kind, event.duration_ps / 1e6))
    table = Table()
    found.sort()
    for first, last in sorted(spans):
        inside = [one for one in found if first <= one[0] < last]
        table.add([Event(name, kind, spent, name.rpartition("PartitionedCall/")[2]) for _, name, kind, spent in inside])
    return table


def openvino(session: Any, job: Dict[str, Any], batches: List[Any]) -> Tuple[Table, List[float], str]:
    """Profile a file through the counters of OpenVINO, for which it is compiled again."""
    settings: Dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    if session.device == "CPU":
        settings.update(INFERENCE_NUM_THREADS=job["threads"], NUM_STREAMS=1, ENABLE_CPU_PINNING=False)
    try:
        model = session.module.Core().compile_model(job["artifact"], session.device, settings)
        request = model.create_infer_request()
    except Exception as error:  # OpenVINO raises RuntimeError and types of its C extension
        raise Unsupported(str(error))
    ports = {port.get_index(): port for port in model.inputs}

    def spent() -> Dict[str, Tuple[float, Any]]:
        """Return the mean microseconds of each operator over all runs until now, which is all that OpenVINO tells."""
        return {
            str(i): (one.real_time.total_seconds() * 1e6, one)
            for i, one in enumerate(request.get_profiling_info())
            if one.status == one.Status.EXECUTED
        }

    before: Dict[str, Tuple[float, Any]] = {}
    runs_ms: List[float] = []
    for index in range(WARMUP + job["runs"]):
        if index == WARMUP:
            before = spent()
        fed = {ports[port.get_index()]: value for port, value in batches[index % len(batches)].items()}
        runs_ms.append(timed(lambda fed=fed: request.infer(fed)))  # type: ignore[misc]
    table, events = Table(), []
    for key, (mean, one) in spent().items():
        early = before.get(key, (0.0, None))[0]
        later = (mean * len(runs_ms) - early * WARMUP) / job["runs"]  # without the warm-up
        events.append(Event(key, one.node_type, max(0.0, later), one.node_name, one.exec_type))
    table.add(events)
    return table, runs_ms[WARMUP:], "OpenVINO's counters (means)"


# By the class of the agent's session.
PROFILERS: Dict[str, Callable[[Any, Dict[str, Any], List[Any]], Tuple[Table, List[float], str]]] = {
    "Onnx": onnx, "TensorFlow": tensorflow, "OpenVino": openvino, "TFLite": litert,
}  # fmt: skip

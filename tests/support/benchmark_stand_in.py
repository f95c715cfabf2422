"""A stand-in for TensorFlow Lite's benchmark_model, which says so: runs a file in LiteRT and prints as the tool does.

It travels alone, as a program with this text. Its times and answers are real; those of single operators are no more
than equal shares of a run. STAND_IN makes it print as an older one (``old``), or write no answers (``mute``).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

FLAGS = dict(argument.lstrip("-").partition("=")[::2] for argument in sys.argv[1:])
MODE = os.environ.get("STAND_IN", "")
DELEGATES = {
    "use_gpu": (
        "Initialized OpenCL-based API.",
        "Replacing 2 out of 3 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions for subgraph 0.",
        "Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 1 delegate "
        "kernels.",
    ),
    "use_nnapi": (
        "Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.",
    ),
}


def say(text: str) -> None:
    sys.stdout.write(f"{'' if MODE == 'old' else 'INFO: '}{text}\n")
    sys.stdout.flush()


def flag(name: str, default: str = "") -> str:
    return FLAGS.get(name, default)


def peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def stop(reason: str) -> None:
    sys.stderr.write(f"ERROR: {reason}\nERROR: Benchmarking failed.\n")
    sys.stderr.flush()
    os._exit(1)


def summary(times: list[int]) -> str:
    ordered, count = sorted(times), len(times)
    if not times:
        return "count=0"
    if ordered[0] == ordered[-1]:
        head = f"count={count} curr={times[-1]}" + ("(all same)" if count > 1 else "")
    else:
        mean = sum(times) / count
        deviation = int((sum((one - mean) ** 2 for one in times) / count) ** 0.5)
        head = f"count={count} first={times[0]} curr={times[-1]} min={ordered[0]} max={ordered[-1]} avg={mean:.6g} "
        head += f"std={deviation}"
    parts = {} if MODE == "old" else {"p5": 5, "median": 50, "p95": 95}
    return head + "".join(f" {name}={ordered[count * part // 100]}" for name, part in parts.items())


def runs(interpreter: Any, least: int, seconds: float) -> list[int]:
    say(
        f"Running benchmark for at least {least} iterations and at least {seconds:g} seconds but terminate if exceeding"
    )
    began = time.perf_counter()
    times: list[int] = []
    while len(times) < least or time.perf_counter() < began + seconds:
        run = time.perf_counter()
        interpreter.invoke()
        times.append(max(int((time.perf_counter() - run) * 1e6), 1))
    say(summary(times) + "\n")
    return times


def profile(interpreter: Any, milliseconds: float) -> None:
    operators = [one for one in interpreter._get_ops_details() if one["op_name"] != "DELEGATE"]
    share = f"{milliseconds / len(operators):9.3f}"
    names = {one["index"]: one["name"] for one in interpreter.get_tensor_details()}
    columns = ["[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]", "[Name]"]
    lines = ["Operator-wise Profiling Info for Regular Benchmark Runs:", f"{'=' * 30} Run Order {'=' * 30}"]
    lines.append("".join(f"\t{column:>9}" for column in columns))
    for one in operators:
        name = f"[{names.get(int(one['outputs'][0]), '')}]:{one['index']}"
        cells = [f"{one['op_name']:>24}", share, share, "  1.000%", "  1.000%", "0.000", "1", name]
        lines.append("".join(f"\t{cell}" for cell in cells))
    sys.stdout.write("\n".join([*lines, "", f"{'=' * 30} Top by Computation Time {'=' * 30}", ""]))


def main() -> None:
    say("edgeproof's stand-in for benchmark_model, not TensorFlow Lite's")
    import numpy
    from ai_edge_litert.interpreter import Interpreter

    before, started = peak(), time.perf_counter()
    try:
        interpreter = Interpreter(flag("graph"), num_threads=int(flag("num_threads", "1")))
        shapes = flag("input_layer_shape").split(":")
        for edge, shape in zip(interpreter.get_input_details(), shapes, strict=True):
            interpreter.resize_tensor_input(edge["index"], [int(side) for side in shape.split(",")])
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        stop(f"Failed to initialize the interpreter: {error}")
    init = int((time.perf_counter() - started) * 1e6)
    for delegate, lines in DELEGATES.items():
        for line in lines if flag(delegate) == "true" else ():
            say(line)
    say(f"Initialized session in {init / 1000}ms.")
    files = flag("input_layer_value_files").split(",")
    for edge, pair in zip(interpreter.get_input_details(), files, strict=True):
        path = Path(pair.partition(":")[2])
        content, wanted = path.read_bytes(), numpy.zeros(edge["shape"], edge["dtype"])
        if len(content) != wanted.nbytes:
            stop(f"The size of {path} is {len(content)} bytes. It should be {wanted.nbytes} bytes.")
        interpreter.set_tensor(edge["index"], numpy.frombuffer(content, edge["dtype"]).reshape(wanted.shape))
    warmup = runs(interpreter, int(flag("warmup_runs", "1")), float(flag("warmup_min_secs", "0.5")))
    timed = runs(interpreter, int(flag("num_runs", "50")), float(flag("min_secs", "1")))
    first, settled, mean = (warmup or [0])[0], sum(warmup) / max(len(warmup), 1), sum(timed) / len(timed)
    if MODE == "old":
        say(f"Average inference timings in us: Warmup: {settled:g}, Init: {init}, no stats: {mean:g}")
    else:
        say(f"Inference timings in us: Init: {init}, First inference: {first}, Warmup (avg): {settled:g}, "
            f"Inference (avg): {mean:g}")  # fmt: skip
        grown = peak() - before
        say(f"Memory footprint delta from the start of the tool (MB): init={grown / 2:g} overall={grown:g}")
        if flag("report_peak_memory_footprint") == "true":
            say(f"Overall peak memory footprint (MB) via periodic monitoring: {peak():g}")
    if flag("enable_op_profiling") == "true":
        profile(interpreter, timed[-1] / 1000)
    if flag("output_filepath") and MODE != "mute":
        edges = interpreter.get_output_details()
        Path(flag("output_filepath")).write_bytes(
            b"".join(numpy.ascontiguousarray(interpreter.get_tensor(edge["index"])).tobytes() for edge in edges)
        )


if __name__ == "__main__":
    main()

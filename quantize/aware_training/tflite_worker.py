"""Runs a .tflite file on samples, in a process of its own.

Usage: ``python tflite_worker.py FILE SAMPLES.npy OUT.npy SCALE OFFSET``.

A new file may crash its interpreter; in a process of its own that is an exit status. The process needs only numpy and
ai-edge-litert. It prints the operators that compute in float, as JSON.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np

BOUNDARY = ("QUANTIZE", "DEQUANTIZE", "DELEGATE")


def answers(content: bytes, samples: np.ndarray, scale: float, offset: float) -> np.ndarray:  # type: ignore[type-arg]
    """Return the file's first output (N, …) float32 for samples × `scale` + `offset`, run one by one."""
    from ai_edge_litert.interpreter import Interpreter

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    place, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    results = []
    for sample in samples:
        values = sample.astype(np.float32) * np.float32(scale) + np.float32(offset)
        interpreter.set_tensor(place["index"], values[None].astype(place["dtype"]))
        interpreter.invoke()
        results.append(interpreter.get_tensor(target)[0].copy())
    return np.asarray(results)


def float_operators(content: bytes) -> list[str]:
    """Return the operators with float inputs or outputs, except those at the boundary of the integer part."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # The tensors are not allocated: the file is only read. Reference kernels, because a delegate would hide operators.
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    floats = {t["index"] for t in interpreter.get_tensor_details() if np.dtype(t["dtype"]).kind == "f"}
    return sorted(
        {
            str(op["op_name"])
            for op in interpreter._get_ops_details()
            if op["op_name"] not in BOUNDARY and floats.intersection([*op["inputs"], *op["outputs"]])
        }
    )


def main() -> None:
    """Run the file of the command line."""
    file, source, target, scale, offset = sys.argv[1:6]
    with open(file, "rb") as stream:  # noqa: PTH123
        content = stream.read()
    np.save(target, answers(content, np.load(source, mmap_mode="r", allow_pickle=False), float(scale), float(offset)))
    sys.stdout.write(json.dumps(float_operators(content)))


if __name__ == "__main__":
    main()

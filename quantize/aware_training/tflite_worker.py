"""Runs a .tflite file on samples, in a process of its own.

Usage: ``python tflite_worker.py FILE SAMPLES.npy OUT.npy SCALE OFFSET``.

A file that a converter has just made may take its interpreter down; here that is an exit status. Needs numpy and
ai-edge-litert alone. Prints the operators that compute in float, as JSON.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np

EDGES = ("QUANTIZE", "DEQUANTIZE", "DELEGATE")


def answers(content: bytes, samples: np.ndarray, scale: float, offset: float) -> np.ndarray:  # type: ignore[type-arg]
    """Return the file's first output (N, …) float32 for samples × `scale` + `offset`, one by one."""
    from ai_edge_litert.interpreter import Interpreter

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    place, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    found = []
    for sample in samples:
        values = sample.astype(np.float32) * np.float32(scale) + np.float32(offset)
        interpreter.set_tensor(place["index"], values[None].astype(place["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(target)[0].copy())
    return np.asarray(found)


def float_operators(content: bytes) -> list[str]:
    """Return the operators that take or give float numbers, but for those at the edges of the integer part."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Not allocated: it is only read. Reference kernels, as a delegate would hide operators.
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    floats = {t["index"] for t in interpreter.get_tensor_details() if np.dtype(t["dtype"]).kind == "f"}
    return sorted(
        {
            str(op["op_name"])
            for op in interpreter._get_ops_details()
            if op["op_name"] not in EDGES and floats.intersection([*op["inputs"], *op["outputs"]])
        }
    )


def main() -> None:
    """Do what the command line says."""
    file, source, target, scale, offset = sys.argv[1:6]
    with open(file, "rb") as stream:  # noqa: PTH123
        content = stream.read()
    np.save(target, answers(content, np.load(source, mmap_mode="r", allow_pickle=False), float(scale), float(offset)))
    sys.stdout.write(json.dumps(float_operators(content)))


if __name__ == "__main__":
    main()

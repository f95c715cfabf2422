"""A bare loop in LiteRT's own API: what a careful person would write by hand, asked for bursts like Edgeproof's agent.

It answers each line of standard input with one line, like `devices/agent/`, so that the bench can time it in the same
rounds. It imports nothing of Edgeproof.
"""

import json
import os
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main() -> None:
    job = json.loads(sys.stdin.readline())
    answer(import_ms=0.0, import_memory_bytes=0)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    interpreter = Interpreter(job["artifact"], num_threads=1)
    interpreter.allocate_tensors()
    index, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    samples = np.load(job["inputs"])[:16].astype(np.float32)

    def run(sample: int) -> float:
        image = samples[sample % len(samples)][np.newaxis]
        started = time.perf_counter_ns()
        interpreter.set_tensor(index, image)
        interpreter.invoke()
        interpreter.get_tensor(output)
        return (time.perf_counter_ns() - started) / 1e6

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "warm":
            answer(warmup_ms=[run(n) for n in range(50)], steady=True)
        elif request["do"] == "burst":
            answer(runs_ms=[run(request["sample"]) for _ in range(request["runs"])])
        else:
            answer(load_ms=0.0, first_ms=0.0, peak_memory_bytes=0, import_memory_bytes=0, conditions={})


def answer(**data: object) -> None:
    sys.stdout.write(json.dumps({"status": "ok", "reason": "", "data": data}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

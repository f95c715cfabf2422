"""The process that runs the LiteRT copy of a backbone on blocks of images in shared memory.

It imports numpy and LiteRT alone, so that it starts in a tenth of a second, and it has its own interpreter lock: in the
process of Keras, LiteRT would wait for that lock after each batch. Each core runs batches with an
interpreter of its own, which scales better than several threads inside each operator.

Arguments: the model's file, how many interpreters, threads of each, the file descriptor of the shared memory. The first
line of stdout is JSON: ``{"width": features of an image}``. Then each line of stdin is JSON, a `_Block`'s place in the
shared memory; when its features are there, its number is written to stdout.
"""

from __future__ import annotations

import json
import mmap
import os
import queue
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

BATCH = 8  # more does not pay: 8 images' activations still fit a core's cache


@dataclass
class _Block:
    """Images in the shared memory, the place of their features, and the number of batches not computed yet."""

    number: int
    images: NDArray[Any]
    features: NDArray[np.float32]
    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)


class Model:
    """One LiteRT interpreter, for a file of batch BATCH."""

    def __init__(self, content: bytes, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=content, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.source, self.target = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]
        self.shape, self.width = tuple(self.source["shape"]), int(self.target["shape"][-1])
        self.batch = np.zeros(self.shape, np.float32)

    def compute(self, images: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Write the features of at most a batch of `images` (n, height, width, 3) to `out` (n, features)."""
        self.batch[: len(images)] = images
        self.interpreter.set_tensor(self.source["index"], self.batch)
        self.interpreter.invoke()
        out[:] = self.interpreter.get_tensor(self.target["index"])[: len(images)]


def main() -> None:
    """Serve until stdin ends."""
    path, instances, threads, descriptor = sys.argv[2], *map(int, sys.argv[3:])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    content = Path(path).read_bytes()
    Path(path).unlink()  # so that it does not stay when the caller is killed
    models = [Model(content, threads) for _ in range(instances)]
    print(json.dumps({"width": models[0].width}), file=answers)
    waiting: queue.SimpleQueue[tuple[_Block, int] | None] = queue.SimpleQueue()
    workers = [threading.Thread(target=_work, args=(model, waiting, answers)) for model in models]
    for worker in workers:
        worker.start()
    memory: mmap.mmap | None = None
    for line in sys.stdin:
        memory = memory or mmap.mmap(descriptor, 0)  # its size is given with the first block
        block = _block(json.loads(line), memory, models[0])
        for at in range(0, len(block.images), BATCH):
            waiting.put((block, at))
    for _ in workers:
        waiting.put(None)


def _block(place: dict[str, Any], memory: mmap.mmap, model: Model) -> _Block:
    rows, shape = place["rows"], model.shape[1:]
    pixels = np.frombuffer(memory, place["dtype"], rows * int(np.prod(shape)), place["images"])
    features = np.frombuffer(memory, np.float32, rows * model.width, place["features"])
    return _Block(
        place["number"], pixels.reshape(rows, *shape), features.reshape(rows, model.width), left=-(-rows // BATCH)
    )


def _work(model: Model, waiting: queue.SimpleQueue[tuple[_Block, int] | None], answers: IO[str]) -> None:
    while (item := waiting.get()) is not None:
        block, at = item
        part = slice(at, at + BATCH)
        try:
            model.compute(block.images[part], block.features[part])
        except Exception:
            traceback.print_exc()
            os._exit(1)  # otherwise the caller would wait for ever for this thread's blocks
        with block.lock:
            block.left -= 1
            if not block.left:
                print(block.number, file=answers)

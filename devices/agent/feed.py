"""Samples, and the inputs that are made of them."""

import json
import sys
from itertools import islice
from typing import Any, Dict

from .errors import Unsupported

SAMPLES_IN_TIMING = 16


class Feed:
    """Converts one sample to the file's inputs: a dictionary of arrays by input name, each with batch 1.

    Kinds: ``image`` (pixels 0-255 mapped linearly to [low, high], or by the ``steps`` and ``lows`` of the channels,
    which are put into an ``order``, and with the ``layout`` NCHW transposed, as `core.pixels.as_input` does), ``text``
    (token ids and their number, from the tokenizer in a folder), ``string`` (the text itself), ``tensor`` (unchanged; a
    structured array has one field per input). An empty ``input`` means the file's only one.
    """

    def __init__(self, job: Dict[str, Any]) -> None:
        self.about = job.get("feed") or {"kind": "tensor", "input": ""}
        self.kind = self.about["kind"]
        # Users wait for the tokenizer too, so it is part of every timed run.
        self.tokenizes = self.kind == "text"

    def open(self) -> None:
        """Load the tokenizer, if there is one."""
        if not self.tokenizes:
            return
        from importlib import util

        spec: Any = util.spec_from_file_location("device_tokenizer", self.about["code"])
        module = util.module_from_spec(spec)
        sys.modules["device_tokenizer"] = module  # dataclasses look up their module there
        spec.loader.exec_module(module)
        try:
            self.tokenizer: Any = module.open_tokenizer(self.about["tokenizer"])
        except Exception as error:  # an untrusted folder may be broken in any way
            raise Unsupported("the tokenizer does not open: {}".format(error or type(error).__name__))

    def __call__(self, batch: Any) -> Dict[str, Any]:
        """Return the inputs for a batch of one sample: an array (1, ...), or a list of one text."""
        import numpy

        if self.kind == "text":
            return {name: numpy.array(value, "int32") for name, value in self.tokenizer.feed(batch[0]).items()}
        if self.kind == "string":
            return {self.about["input"]: batch}
        if batch.dtype.names:
            return {name: batch[name] for name in batch.dtype.names}
        if self.about.get("batchless"):
            batch = batch[0]
        low, high = self.about.get("low", 0.0), self.about.get("high", 255.0)
        if "order" in self.about:
            batch = numpy.ascontiguousarray(batch[..., self.about["order"]])
        if "steps" in self.about:
            steps, lows = (numpy.array(self.about[name], "float32") for name in ("steps", "lows"))
            batch = batch.astype("float32") * steps + lows
        elif self.kind == "image" and (low, high) != (0.0, 255.0):
            batch = (batch.astype("float32") * ((high - low) / 255.0) + low).astype("float32")
        if self.about.get("layout") == "NCHW":
            batch = numpy.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        return {self.about["input"]: batch}


def read_samples(job: Dict[str, Any]) -> Any:
    """Return only the samples that a job needs, since they count as this process's memory."""
    import numpy

    counts = {"load": 1, "serve": SAMPLES_IN_TIMING, "profile": SAMPLES_IN_TIMING}
    start, stop = (job["start"], job["stop"]) if job["verb"] == "infer" else (0, counts[job["verb"]])
    if not job["inputs"].endswith(".jsonl"):
        return numpy.load(job["inputs"], mmap_mode="r", allow_pickle=False)[start:stop]
    with open(job["inputs"], encoding="utf-8") as stream:
        return [json.loads(line) for line in islice(stream, start, stop)]

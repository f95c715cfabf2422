"""The samples of a diagnosis for the comparing process, and how it feeds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...core.artifact import Artifact
from ...core.dataset import PreparedData, read_texts
from ...core.encoded import encode_texts
from ...core.errors import InputError
from ...core.pixels import pixel_feed
from ...core.tokenizer import open_tokenizer


def draw(data: PreparedData, split: str, samples: int, seed: int, artifact: Artifact, path: Path) -> int:
    """Write `samples` of a split to `path` (``.npy``), in the form of the artifact's contract; return their number.

    Pictures stay (N, height, width, 3) uint8, tensors (N, …); texts become token ids, a structured array with the
    fields ``ids`` and ``lens``. Raises InputError if the split is empty, or the tokenizer is missing.
    """
    count = data.counts.get(split, 0)
    if not count:
        raise InputError(f"the data have no {split} samples", "name other data with --data SOURCE")
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:samples])
    path.parent.mkdir(parents=True, exist_ok=True)
    if data.kind != "text":
        np.save(path, data.rows(split)[chosen])
        return len(chosen)
    if artifact.tokenizer is None:
        raise InputError(
            f"{artifact.id} takes token ids, but its tokenizer was not found",
            "keep the folder MODEL.tokenizer/ and the sidecar (.json) beside the file, as export wrote them",
        )
    try:
        tokenizer = open_tokenizer(artifact.tokenizer)
    except ValueError as error:
        raise InputError(str(error), "restore the folder MODEL.tokenizer/ as export wrote it") from error
    texts = read_texts(data.inputs(split))
    np.save(path, encode_texts(tokenizer, [texts[index] for index in chosen]))
    return len(chosen)


def feed(artifact: Artifact, data: PreparedData) -> dict[str, Any]:
    """Return how a sample becomes inputs: ``kind``, ``input`` (name), for pictures ``low`` and ``high``, and ``names``.

    Without a contract the samples are fed unchanged. Raises InputError if the file does not take such samples.
    """
    contract = artifact.contract
    takes = contract.kind if contract is not None else "tensor"
    if (data.kind == "text") != (takes == "text"):
        raise InputError(
            f"{artifact.id} takes {takes}, but the data are {data.kind}",
            "keep the sidecar (.json) beside the file, and give data of the kind that it was trained on",
        )
    if contract is None:
        return {"kind": "tensor", "input": "", "names": {}}
    if contract.kind == "text" and contract.dtype == "string":
        raise InputError(f"{artifact.id} takes strings; only files of numbers are compared", "diagnose another file")
    names = {"ids": contract.name, "lens": contract.lengths} if contract.kind == "text" else {}
    pixels = pixel_feed(contract) if contract.kind == "image" else {}
    return {"kind": contract.kind, "input": contract.name, "scale": contract.scale, "names": names, **pixels}

"""What an artifact is fed on a device: its input contract, as the agent's job says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import tokenizer
from ..core.artifact import Artifact
from ..core.codec import sha256_file
from ..core.model import InputContract, tokenizer_sha256
from ..core.pixels import pixel_feed

CODE = Path(tokenizer.__file__).resolve()


class FeedError(Exception):
    """This file cannot be fed these samples; `reason` and `remedy` are for the row."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def feed(artifact: Artifact, inputs: Path) -> dict[str, Any]:
    """Return the ``feed`` of the agent's job (see `agent.Feed`). Raises FeedError when the two do not fit.

    Without a contract the file gets its samples as they are. The tokenizer's code is always this installation's; of
    the folder beside the file, which may come from anywhere, only data are read.
    """
    contract = artifact.contract
    texts = inputs.suffix == ".jsonl"
    if texts != (contract is not None and contract.kind == "text"):
        raise FeedError(
            "the file does not say how texts are fed to it" if texts else "the file takes texts, the data are none",
            "keep the sidecar (.json) beside the file, and evaluate it on data of the kind that it was trained on",
        )
    if contract is None:
        return {"kind": "tensor", "input": ""}
    if contract.kind == "image":
        return pixel_feed(contract)
    if contract.kind == "tensor":
        return {"kind": "tensor", "input": contract.name, **({"batchless": True} if contract.batchless else {})}
    if contract.dtype == "string":
        return {"kind": "string", "input": contract.name}
    return {
        "kind": "text",
        "tokenizer": str(_tokenizer(artifact)),
        "code": str(CODE),
    }


def _tokenizer(artifact: Artifact) -> Path:
    """Return the folder of the artifact's tokenizer, if it is there and the one that the file was made with."""
    folder = artifact.tokenizer
    if folder is None or not (folder / "tokenizer.json").is_file():
        raise FeedError(
            "the file takes token ids, and "
            + ("no tokenizer is known for it" if folder is None else f"its tokenizer {folder.name}/ is missing"),
            "keep the folder MODEL.tokenizer/ and the sidecar (.json) beside the file, as export wrote them",
        )
    if artifact.tokenizer_sha256 and tokenizer_sha256(folder) != artifact.tokenizer_sha256:
        raise FeedError(
            f"the tokenizer in {folder.name}/ is not the one that the file was made with",
            "put back the folder MODEL.tokenizer/ as export wrote it, or export the model again",
        )
    return folder


def feed_identity(artifact: Artifact) -> dict[str, Any]:
    """Return what a figure depends on beside the file's bytes and the device; nothing for plain pictures of 0–255."""
    identity: dict[str, Any] = {}
    contract = artifact.contract
    if contract is not None and contract != _plain(contract):
        fields = ("kind", "name", "dtype", "low", "high", "lengths")
        identity["feed"] = {field: getattr(contract, field) for field in fields}
        if contract.colour == "BGR" or contract.by_channel is not None:
            identity["channels"] = [contract.colour, list(contract.mean), list(contract.std)]
    if artifact.tokenizer is not None and artifact.tokenizer.is_dir():
        # As it is now, whatever the sidecar says, and as our code reads it.
        identity["tokenizer"] = [tokenizer_sha256(artifact.tokenizer), sha256_file(CODE)]
    elif artifact.tokenizer_sha256:
        identity["tokenizer"] = artifact.tokenizer_sha256
    # Models made here have one output of this name; naming it changes nothing.
    if artifact.answer not in ("", "probabilities") or len(artifact.outputs) > 1:
        identity["answer"] = artifact.answer
    if artifact.boxes is not None:
        identity["boxes"] = [list(artifact.boxes.outputs), list(artifact.boxes.values)]
    return identity


def _plain(contract: InputContract) -> InputContract:
    colour = "RGB" if contract.colour == "BGR" else contract.colour
    return InputContract("image", contract.shape, colour=colour, resize=contract.resize)

"""Targets: a device and the runtime on it, written ``local/litert``."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from .errors import InputError

# Which formats a runtime reads. The Python module is what a device must be able to import.
RUNTIMES: dict[str, tuple[str, frozenset[str]]] = {
    "tensorflow": ("tensorflow", frozenset({"savedmodel"})),
    "litert": ("ai_edge_litert", frozenset({"tflite"})),
    "tflite-runtime": ("tflite_runtime", frozenset({"tflite"})),
    "onnxruntime": ("onnxruntime", frozenset({"onnx"})),
}
DEVICES = ("local",)


@dataclass(frozen=True, order=True)
class Target:
    """A device and a runtime. Raises InputError for a device or a runtime that Edgeproof does not know."""

    device: str
    runtime: str

    def __post_init__(self) -> None:
        for kind, found, known in (("device", self.device, DEVICES), ("runtime", self.runtime, tuple(RUNTIMES))):
            if found not in known:
                close = get_close_matches(found, known, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise InputError(
                    f"target {str(self)!r}: unknown {kind} {found!r}",
                    f"{hint}Known {kind}s: {', '.join(known)}; a target is written device/runtime, e.g. local/litert",
                )

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``device/runtime``."""
        device, _, runtime = text.partition("/")
        return cls(device, runtime)

    @property
    def module(self) -> str:
        """The Python module that the runtime is."""
        return RUNTIMES[self.runtime][0]

    def reads(self, format_: str) -> bool:
        """Whether this runtime reads files of that format at all."""
        return format_ in RUNTIMES[self.runtime][1]

    def __str__(self) -> str:
        return f"{self.device}/{self.runtime}"

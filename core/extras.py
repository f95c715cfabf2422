"""The extras of pyproject.toml: the packages that each installs, and what to say where one is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from .errors import NotInstalledError


@dataclass(frozen=True)
class Extra:
    """What ``pip install 'edgeproof[NAME]'`` adds. `packages`: the distribution of each module that it brings."""

    name: str
    packages: Mapping[str, str]

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"pip install 'edgeproof[{self.name}]'"

    def missing(self, *modules: str) -> tuple[str, ...]:
        """Return which of `modules` (of all, if none is named) are not installed. Imports none."""
        return tuple(module for module in modules or self.packages if find_spec(module) is None)

    def error(self, purpose: str, *modules: str, remedy: str = "") -> NotInstalledError | None:
        """Return the error to raise if one of `modules` (of all, if none is named) is missing. Imports none.

        `purpose` is the subject and verb of the message, e.g. ``training needs``. `remedy` replaces the extra's own.
        """
        if missing := self.missing(*modules):
            return NotInstalledError(f"{purpose} {not_installed(missing)}", remedy or self.remedy)
        return None

    def require(self, purpose: str, *modules: str, remedy: str = "") -> None:
        """Raise NotInstalledError, as `error` describes it, if one of `modules` is missing."""
        if error := self.error(purpose, *modules, remedy=remedy):
            raise error


EXTRAS: dict[str, Extra] = {
    name: Extra(name, packages)
    for name, packages in {
        "train": {
            "tensorflow": "tensorflow",
            "tf_keras": "tf-keras",
            "ai_edge_litert": "ai-edge-litert",
            "scipy": "scipy",
        },
        "onnx": {"onnx": "onnx", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
        "litert": {"ai_edge_litert": "ai-edge-litert"},
        "onnxruntime": {"onnxruntime": "onnxruntime"},
        "onnxruntime-cuda": {"onnxruntime": "onnxruntime-gpu"},
        "onnxruntime-webgpu": {"onnxruntime": "onnxruntime-webgpu"},
        "openvino": {"openvino": "openvino"},
        "tflite-runtime": {"tflite_runtime": "tflite-runtime"},
        "ethos-u": {"ethosu.vela": "ethos-u-vela"},
        "micro": {"tflite_micro": "tflite-micro"},
        "quantize": {
            "tensorflow_model_optimization": "tensorflow-model-optimization",
            "ai_edge_quantizer": "ai-edge-quantizer",
        },
        "hub": {"tensorflow_hub": "tensorflow-hub", "pkg_resources": "setuptools"},
        "text": {"tensorflow_text": "tensorflow-text"},
        "tfds": {"tensorflow_datasets": "tensorflow-datasets"},
        "tensorboard": {"tensorboard": "tensorboard"},
        "parquet": {"pyarrow": "pyarrow"},
        "audio": {"scipy": "scipy"},
        "link": {"segno": "segno"},
        "mlflow": {"mlflow": "mlflow-skinny"},
        "cluster": {"distributed": "distributed"},
    }.items()
}


# Of what is no package: a program that the user has for a device.
PROGRAM = Extra("", {"benchmark_model": "benchmark_model"})


def not_installed(modules: Sequence[str]) -> str:
    """Return what is missing, in words: ``tensorflow and tf_keras, which are not installed here``."""
    return f"{' and '.join(modules)}, which {'are' if len(modules) > 1 else 'is'} not installed here"

"""A small network whose answers differ from picture to picture, and files of it in every scheme, each made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.maker import QUANTIZER
from edgeproof.core.model import InputContract, Model
from edgeproof.core.recipe import Export
from edgeproof.core.sanitize import slug
from edgeproof.core.target import Target
from edgeproof.core.variant import Variant
from edgeproof.devices import open_runner
from edgeproof.export import export
from edgeproof.tflite import objects
from edgeproof.tflite.storage import storage

from ..conftest import made_once, result_of

LITERT, OLD, ONNX = (Target("local", name) for name in ("litert", "tflite-runtime", "onnxruntime"))


def weights(*shape: int) -> Any:
    return (np.random.default_rng(sum(shape)).normal(size=shape) / np.sqrt(np.prod(shape[:-1]) / 2)).astype(np.float32)


def balanced(*shape: int) -> Any:
    """Weights that sum to zero for each output: what all pictures have in common does not decide."""
    values = weights(*shape)
    return values - values.mean(axis=0)


def classify(image: Any) -> Any:
    """A small network of all the layers that quantizing changes, whose answers differ from picture to picture."""
    import tensorflow as tf

    here = tf.nn.relu6(tf.nn.conv2d(image / 127.5 - 1.0, weights(3, 3, 3, 16), 2, "SAME"))
    here = tf.nn.relu6(tf.nn.depthwise_conv2d(here, weights(3, 3, 16, 1), (1, 1, 1, 1), "SAME"))
    here = here + tf.nn.relu6(tf.nn.conv2d(here, weights(3, 3, 16, 16), 1, "SAME"))
    here = tf.nn.relu6(tf.nn.conv2d(here, weights(1, 1, 16, 96), 2, "SAME"))
    here = tf.reshape(tf.nn.avg_pool2d(here, 2, 2, "VALID"), (1, 4 * 4 * 96))
    hidden = tf.nn.relu(tf.matmul(here, balanced(1536, 64)) + 0.1)
    return {"probabilities": tf.nn.softmax(tf.matmul(hidden, balanced(64, 32)))}


def frozen(serve: Any, folder: Path, shape: tuple[int, ...] = (1, 32, 32, 3), **tuning: Any) -> Model:
    """A model of a function of ``image``, as export takes it."""
    import tensorflow as tf

    spec = tf.TensorSpec(shape, tf.float32, name="image")
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve.get_concrete_function()})
    contract = InputContract("image", shape, kind="image" if len(shape) == 4 else "tensor")
    return Model(folder.name, "test", folder, folder.name, (), contract, 0.0, answer="probabilities", tuning=tuning)


def make(model: Model, variant: str, folder: Path, samples: Path | None = None, maker: str = "") -> Artifact:
    return export(
        model, Variant.parse(variant), options=Export(), folder=folder, calibration=samples,
        calibration_record={"sha256": "known"}, maker=maker,
    )  # fmt: skip


class Files:
    """Files of one model, each made once for all processes, and what they answer in the real runtimes."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self.folder = folder = factory.mktemp("schemes")
        self.model = frozen(classify, folder / "model")
        random = np.random.default_rng(0)
        # Pictures with large shapes in them, of every brightness.
        coarse = random.integers(0, 256, (120, 4, 4, 3)) * random.uniform(0.2, 1, (120, 1, 1, 1))
        pictures = np.kron(coarse, np.ones((1, 8, 8, 1))) + random.normal(0, 8, (120, 32, 32, 3))
        self.samples, self.inputs = folder / "calibration.npy", folder / "test.npy"
        np.save(self.samples, np.clip(pictures[:60], 0, 255).astype(np.uint8))
        np.save(self.inputs, np.clip(pictures[60:], 0, 255).astype(np.uint8))
        self._files: dict[tuple[str, str], Artifact] = {}

    def __call__(self, variant: str, maker: str = "") -> Artifact:
        if (variant, maker) not in self._files:
            folder = made_once(
                self._factory,
                f"scheme-{slug(variant)}-{maker}",
                lambda folder: make(self.model, variant, folder, self.samples, maker),
            )
            self._files[variant, maker] = result_of(folder)
        return self._files[variant, maker]

    def content(self, variant: str, maker: str = "") -> bytes:
        artifact = self(variant, maker)
        assert artifact.path is not None, (artifact.reason, artifact.remedy)
        return artifact.path.read_bytes()

    def storage(self, variant: str, maker: str = "") -> dict[str, Any]:
        return storage(objects.read(self.content(variant, maker)))

    def answers(self, artifact: Artifact, target: Target) -> Any:
        """What a file answers to the test pictures; the outcome when it does not."""
        path = self.folder / f"{artifact.id}-{artifact.sha256[:8]}-{target.runtime}.npy"
        outcome = open_runner(artifact, target).infer(self.inputs, path, 0, 60)
        return np.load(path) if outcome.ok else outcome

    def agreement(self, artifact: Artifact, target: Target = LITERT) -> float:
        """The share of pictures to which a file gives the float file's class."""
        given = self.answers(artifact, target)
        assert isinstance(given, np.ndarray), given
        return float((given.argmax(axis=1) == self.answers(self("tflite:float32"), LITERT).argmax(axis=1)).mean())


_SHARED: dict[Path, Files] = {}


def shared(factory: pytest.TempPathFactory) -> Files:
    """The files of this session: several test modules take them."""
    base = factory.getbasetemp()
    if base not in _SHARED:
        _SHARED[base] = Files(factory)
    return _SHARED[base]


def raw_dynamic(files: Files, folder: Path) -> Artifact:
    """The file that ai-edge-quantizer itself writes."""
    from ai_edge_quantizer import quantizer as tool
    from ai_edge_quantizer import recipe

    path = folder / "raw.tflite"
    source = bytearray(files.content("tflite:float32"))
    path.write_bytes(bytes(tool.Quantizer(source, recipe.dynamic_wi8_afp32()).quantize().quantized_model))
    return replace(files("tflite:dynamic", QUANTIZER), path=path, sha256="raw")

"""What the ONNX tests share: a function frozen as the pipeline does it, exported, run by ONNX Runtime, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof.core.artifact import Artifact
from edgeproof.core.model import InputContract, Model
from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks import freeze

Arrays = dict[str, NDArray[Any]]
Function = Callable[..., Mapping[str, Any]]
Inputs = Mapping[str, tuple[tuple[int, ...], str]]


def frozen(function: Function, inputs: Inputs, folder: Path, answer: str = "y") -> Model:
    """Freeze a function of named tensors into ``folder/saved_model``; return the model that is judged by `answer`."""
    import tensorflow as tf

    specs = [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in inputs.items()]
    concrete = tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
    names = sorted(concrete.structured_outputs)
    call = freeze.caller(freeze.make_constant(concrete), specs)

    def serve(*tensors: Any) -> dict[str, Any]:
        return dict(zip(names, call(dict(zip(inputs, tensors, strict=True))), strict=True))

    freeze.write(serve, specs, folder / "saved_model")
    return model_at(folder, inputs, answer)


def model_at(folder: Path, inputs: Inputs, answer: str = "y") -> Model:
    """Return the model that `frozen` put into `folder`."""
    name, (shape, dtype) = next(iter(inputs.items()))
    contract = InputContract(name, shape, dtype, kind="tensor")
    return Model("net", "file:net", folder / "saved_model", "0" * 64, (), contract, 0.0, answer=answer)


def exported(model: Model, scheme: str = "float32", calibration: Path | None = None) -> Artifact:
    """Export a model of `frozen` to ONNX beside it."""
    return export(
        model, Variant("onnx", scheme), options=Export(), folder=model.saved_model.parent, calibration=calibration
    )


def tensorflow_answers(model: Model, samples: Arrays) -> Arrays:
    """Return what TensorFlow answers, by name."""
    import tensorflow as tf

    signature = freeze.serving(model.saved_model)
    answers = signature(**{name: tf.constant(value) for name, value in samples.items()})
    return {name: tensor.numpy() for name, tensor in answers.items()}


def onnx_answers(path: Path, samples: Arrays) -> Arrays:
    """Return what ONNX Runtime answers, by name."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, samples), strict=True))


def random_samples(inputs: Inputs, seed: int = 0) -> Arrays:
    """Return normal floats, or whole numbers of 0–4, for the inputs."""
    random = np.random.default_rng(seed)
    return {
        name: random.normal(size=shape).astype(dtype)
        if np.issubdtype(np.dtype(dtype), np.floating)
        else random.integers(0, 5, shape).astype(dtype)
        for name, (shape, dtype) in inputs.items()
    }


def agree(function: Function, inputs: Inputs, folder: Path, *, tolerance: float = 1e-5, answer: str = "y") -> Artifact:
    """Export a function to ONNX and compare its answers on two samples with TensorFlow's; return the artifact.

    `tolerance` is of the largest answer, or of 1.
    """
    model = frozen(function, inputs, folder, answer)
    artifact = exported(model)
    assert artifact.status == "ok" and artifact.path is not None, artifact.reason
    for seed in range(2):
        samples = random_samples(inputs, seed)
        expected, answers = tensorflow_answers(model, samples), onnx_answers(artifact.path, samples)
        assert answers.keys() == expected.keys()
        for name, value in expected.items():
            assert (answers[name].shape, answers[name].dtype) == (value.shape, value.dtype), name
            scale = max(1.0, float(np.abs(value.astype(np.float64)).max(initial=0)))
            np.testing.assert_allclose(answers[name], value, rtol=0, atol=tolerance * scale, err_msg=name)
    return artifact

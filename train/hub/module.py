"""Runs a Hub SavedModel through `hub.KerasLayer`: selects signature and output, and explains failures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...core.errors import EdgeproofError, InputError, NotInstalledError
from ...core.extras import EXTRAS
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.saved_model import FLOAT32, SavedModel, Signature, read
from ...frameworks.security import check_security
from ...frameworks.tensorflow import check_installed, load
from ...frameworks.tf1 import without_references

DEFAULT_V1 = "default"
DEFAULT_V2 = "serving_default"
SUM_TOLERANCE = 1e-3  # the tolerance for the sum of a softmax in float16

Kind = Literal["probabilities", "scores", "values"]


def check_hub_installed() -> None:
    """Raise InputError if the extra ``hub`` is missing. Imports none of its packages."""
    check_installed()
    extra = EXTRAS["hub"]
    extra.require("hub: backbones need", "tensorflow_hub")
    if extra.missing("pkg_resources"):
        raise NotInstalledError(
            "tensorflow_hub needs pkg_resources, which this version of setuptools no longer has",
            f"pip install 'setuptools<81', or {extra.remedy}",
        )


def check_text_installed() -> None:
    """Raise InputError if the extra ``text`` is missing. Imports none of its packages."""
    EXTRAS["text"].require("training on texts needs")
    check_hub_installed()


def load_hub() -> Any:
    """Import tensorflow_hub on top of Keras 2 and return it. Raises InputError when the extra ``hub`` is missing."""
    check_hub_installed()
    load()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources announces its end at each import
        import tensorflow_hub as hub
    return hub


@dataclass(frozen=True)
class Call:
    """How a SavedModel is called: by a `signature` (with the name of its image input), or itself if that is empty."""

    signature: str = ""
    input: str = ""


def check_module(spec: ModelSpec, folder: Path) -> tuple[SavedModel, Call]:
    """Check, without TensorFlow, that the SavedModel at `folder` can be used for `spec`, and return how it is called.

    Raises InputError when its graph may do more than compute (`check_security`), when it has no such signature or
    output, when a fixed input size differs from `image_size`, or when it cannot be fine-tuned although `trainable` is
    set.
    """
    where = f"model {spec.name!r}"
    saved = read(folder, spec.tags)
    check_security(folder, trust=spec.trust, where=where)
    name = signature_name(spec, saved, where)
    _check_trainable(spec, saved, name, where)
    if not name:
        return saved, Call()
    signature = saved.signatures[name]
    images = [
        key for key, t in signature.inputs.items() if t.dtype == FLOAT32 and (t.shape is None or len(t.shape) == 4)
    ]
    if len(images) != 1:
        raise InputError(
            f"{where}: signature {name!r} takes {described_inputs(signature)}; expected one batch of float32 images",
            "choose another with signature = '…'" if len(saved.signatures) > 1 else "use a model for images",
        )
    check_output(spec.output, list(signature.outputs), where)
    check_size(spec, signature.inputs[images[0]].shape, where)
    return saved, Call(name, images[0])


def check_size(spec: ModelSpec, shape: Any, where: str) -> None:
    """Raise InputError when an input of `shape` (batch, height, width, 3) cannot take the recipe's `image_size`."""
    if shape is None or len(shape) != 4:
        return
    sides = [None if side is None or side < 0 else int(side) for side in shape]
    if sides[0] not in (None,):
        raise InputError(
            f"{where}: the model takes {sides[0]} image(s) at a time; training needs any number",
            "choose a version of the model with a free batch size",
        )
    if sides[3] not in (None, 3):
        raise InputError(f"{where}: the model takes pictures with {sides[3]} channels, not RGB", "use a model for RGB")
    if any(side not in (None, spec.image_size) for side in sides[1:3]):
        fixed = "×".join("any" if side is None else str(side) for side in sides[1:3])
        square = sides[1] == sides[2] or None in sides[1:3]
        raise InputError(
            f"{where}: the model takes pictures of {fixed} pixels only, but image_size = {spec.image_size}",
            f"set image_size = {sides[1] or sides[2]}" if square else "use a model for square pictures",
        )


def check_output(output: str, outputs: list[str], where: str) -> None:
    """Raise InputError unless `outputs` has `output` (or, if that is empty, a default output)."""
    if output and output not in outputs:
        raise InputError(
            f"{where}: the model has no output {shorten(output)!r}",
            f"it has: {shorten(', '.join(map(repr, sorted(outputs))), 400)}" if outputs else "remove output",
        )
    if not output and len(outputs) > 1 and DEFAULT_V1 not in outputs:
        raise InputError(
            f"{where}: the model has {len(outputs)} outputs, and none is called {DEFAULT_V1!r}",
            f"choose one with output = '…': {shorten(', '.join(map(repr, sorted(outputs))), 400)}",
        )


class Module:
    """A loaded module: `layer` is the `hub.KerasLayer`; `apply` calls it and selects the wanted output."""

    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        """Load the SavedModel at `folder` (seconds). Raises InputError as `check_module`, or when it does not load;
        StageError as `without_references`."""
        hub = load_hub()
        self.where = f"model {spec.name!r}"
        self.spec = spec
        self.saved, self.call = check_module(spec, folder)
        options: dict[str, Any] = {"arguments": self._arguments(), "tags": sorted(self.saved.main.tags)}
        if self.call.signature:
            options |= {"signature": self.call.signature, "signature_outputs_as_dict": True}
        try:
            with TemporaryDirectory(prefix="edgeproof-") as scratch:
                path = without_references(folder, self.saved.main, Path(scratch) / "constant")
                self.layer = hub.KerasLayer(str(path), name="module", **options)
        except EdgeproofError:
            raise
        except Exception as error:  # TensorFlow's loader may raise any exception
            raise InputError(
                f"{self.where}: TensorFlow cannot load the SavedModel {folder}: {shorten(str(error), 300)}",
                "check that it was saved completely, by a TensorFlow no newer than this one; operators of other "
                "packages (text, recommenders, …) are not available for images",
            ) from error
        for shape in self._traced_shapes():
            check_size(spec, shape, self.where)
        if spec.trainable and not self.layer.resolved_object.trainable_variables:
            raise InputError(f"{self.where}: the model has no variables to fine-tune", "set trainable = false")

    def apply(self, images: Any) -> Any:
        """Return the wanted output for `images` (batch, height, width, 3) float32, eager or symbolic."""
        try:
            result = self.layer({self.call.input: images} if self.call.signature else images)
        except EdgeproofError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.where}: the model cannot be called with images of {self.spec.image_size} pixels"
                f"{self._shown_arguments()}: {_reason(error)}",
                "check image_size, arguments and signature against the model's own description",
            ) from error
        outputs = outputs_of(result)
        check_output(self.spec.output, list(outputs), self.where)
        if self.spec.output:
            return outputs[self.spec.output]
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs[DEFAULT_V1]

    def _shown_arguments(self) -> str:
        return f" and arguments {sorted(self.spec.arguments)}" if self.spec.arguments else ""

    def _arguments(self) -> dict[str, Any]:
        """Return the recipe's extra arguments for the call. Raises InputError for unknown ones."""
        values = dict(self.spec.arguments)
        if not self.call.signature:
            return values
        tf, _ = load()
        inputs = self.saved.signatures[self.call.signature].inputs
        accepted = sorted(set(inputs) - {self.call.input})
        if unknown := sorted(set(values) - set(accepted)):
            raise InputError(
                f"{self.where}: signature {self.call.signature!r} takes no argument {unknown[0]!r}",
                f"it takes: {', '.join(accepted) or 'none besides the images'}",
            )
        return {name: tf.constant(value, tf.dtypes.as_dtype(inputs[name].dtype)) for name, value in values.items()}

    def _traced_shapes(self) -> list[Any]:
        """Return the shape of images for which the model was traced, if there is only one."""
        if self.call.signature:
            return []
        tf, _ = load()
        functions = getattr(self.layer.resolved_object.__call__, "concrete_functions", [])
        firsts = [next(iter(tf.nest.flatten(f.structured_input_signature)), None) for f in functions]
        shapes = {tuple(t.shape.as_list()) for t in firsts if isinstance(t, tf.TensorSpec) and t.shape.rank is not None}
        return list(shapes) if len(shapes) == 1 else []


def kind_of(values: NDArray[Any]) -> Kind:
    """Classify a model's outputs (N, classes) on real samples.

    ``probabilities``: a distribution (none negative, each row adds up to one); ``scores``: each between 0 and 1, but
    not adding up (a sigmoid per class); ``values``: anything else, such as logits or features.
    """
    if not len(values) or values.shape[1] < 2 or not np.isfinite(values).all() or values.min() < -1e-6:
        return "values"
    if np.abs(values.sum(axis=1) - 1).max() <= SUM_TOLERANCE:
        return "probabilities"
    return "scores" if values.max() <= 1 + 1e-6 and values.min() > 0 else "values"


def signature_name(spec: ModelSpec, saved: SavedModel, where: str) -> str:
    """Return the signature to use; empty where the model itself is called. Raises InputError where there is none."""
    signatures = saved.signatures
    if spec.signature:
        if spec.signature not in signatures:
            raise InputError(
                f"{where}: the model has no signature {shorten(spec.signature)!r}",
                f"it has: {', '.join(map(repr, sorted(signatures)))}" if signatures else "remove signature",
            )
        return spec.signature
    if saved.callable:
        return ""
    default = DEFAULT_V1 if saved.hub_v1 else DEFAULT_V2
    if default in signatures:
        return default
    if len(signatures) == 1:
        return next(iter(signatures))
    raise InputError(
        f"{where}: the SavedModel {saved.folder} cannot be called and has no signature {default!r}",
        f"choose one with signature = '…': {', '.join(map(repr, sorted(signatures)))}"
        if signatures
        else "export it with one",
    )


def _check_trainable(spec: ModelSpec, saved: SavedModel, signature: str, where: str) -> None:
    if not spec.trainable:
        return
    if saved.hub_v1:
        raise InputError(
            f"{where}: the model is in the TF1 Hub format, which TensorFlow 2 cannot fine-tune", "set trainable = false"
        )
    if signature:
        raise InputError(
            f"{where}: a signature ({signature!r}) cannot be fine-tuned, only a model that can be called itself",
            "set trainable = false" if not saved.callable else "remove signature, or set trainable = false",
        )
    if "trainable_variables" not in saved.main.children:
        raise InputError(f"{where}: the model has no variables to fine-tune", "set trainable = false")


def described_inputs(signature: Signature) -> str:
    """Return the inputs of a signature with their shapes, in words."""
    return shorten(", ".join(f"{name} {tensor.shape}" for name, tensor in signature.inputs.items()), 200) or "nothing"


def outputs_of(result: Any) -> dict[str, Any]:
    """Return a call's result as outputs by name; those of a list are called by their numbers."""
    if isinstance(result, dict):
        return {str(name): value for name, value in result.items() if hasattr(value, "shape")}
    if isinstance(result, list | tuple):
        return {str(number): value for number, value in enumerate(result) if hasattr(value, "shape")}
    return {DEFAULT_V1: result}


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0] if lines else type(error).__name__, 300)

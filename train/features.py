"""Phase one's trick: a frozen base gives each image the same features in every epoch, so they are computed once.

On a CPU they come from a TFLite copy of the base: XNNPACK runs MobileNetV2 at 96 pixels some eight times faster than
Keras on the same two cores. The copy is compared with Keras on real samples before it is believed. Making and
comparing it takes as long as Keras needs for some hundred images, so few images go through Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.progress import Listener
from ..frameworks.tensorflow import cores, has_gpu, load
from ..tflite.converter import convert as run_converter
from .augment import Augmenter, apply
from .feature_file import grow
from .network import Base

LITERT_BATCH = 8  # more does not pay: 8 images' activations still fit a core's cache
KERAS_BATCH = 64
FEW_IMAGES = 256
TOLERANCE = 1e-3  # of the largest feature, between the two engines


@dataclass(frozen=True)
class Extractor:
    """`compute` maps (n, height, width, 3) pixels of 0–255 to (n, features) float32; `engine` says what runs it."""

    engine: str
    features: int
    compute: Callable[[NDArray[Any]], NDArray[Any]]


def extractor(
    base: Base,
    samples: NDArray[Any],
    listener: Listener,
    *,
    begin: Callable[[Extractor], None] = lambda extract: None,
    keep: Callable[[bytes], None] = lambda content: None,
) -> Extractor:
    """Return the fastest way to compute `base`'s features that gives what Keras gives on `samples` (n, h, w, 3).

    `begin` is called with the likely answer before it is compared with Keras, so that the caller can start computing;
    if another one is returned, what that computed is worth nothing. `keep` gets the copy that was found right.
    """
    keras = keras_extractor(base)
    if has_gpu():
        return keras
    if find_spec("ai_edge_litert") is None:
        listener.note("info", "features come from Keras: ai-edge-litert, which is faster, is not installed")
        return keras
    try:
        content = convert(base)
        litert = litert_extractor(content)
        begin(litert)
        found = litert_extractor(content, threads=1).compute(samples)  # one of its own: the other may be at work
        expected = np.asarray(base.model(samples.astype(np.float32), training=False))
    except Exception as error:  # the converter and the engine raise whatever they like
        listener.note("warning", "features come from Keras: the base could not be converted", reason=str(error)[:300])
        return keras
    difference = float(np.abs(expected - found).max())
    if not difference <= TOLERANCE * float(np.abs(expected).max()):
        listener.note("warning", "features come from Keras: LiteRT's differ", difference=difference)
        return keras
    keep(content)
    return litert


def keras_extractor(base: Base) -> Extractor:
    """Return the plain way, through Keras."""
    tf, _ = load()
    shape = [None, *base.model.input_shape[1:]]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)  # type: ignore[untyped-decorator]
    def infer(image: Any) -> Any:
        return base.model(image, training=False)

    def compute(images: NDArray[Any]) -> NDArray[Any]:
        parts = [images[at : at + KERAS_BATCH].astype(np.float32) for at in range(0, len(images), KERAS_BATCH)]
        return np.concatenate([infer(part).numpy() for part in parts])

    return Extractor("keras", base.features, compute)


def convert(base: Base) -> bytes:
    """Return `base` in inference mode as a float32 TFLite file of a fixed batch.

    The converter makes variables constants by itself; what it cannot hold shows when its answers are compared.
    """
    tf, _ = load()

    def infer(image: Any) -> Any:
        return tf.cast(base.model(image, training=False), tf.float32)

    shape = (LITERT_BATCH, *base.model.input_shape[1:])
    concrete = tf.function(infer, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], base.model)
    converter.experimental_lower_to_saved_model = False  # through a SavedModel it takes twice as long
    return run_converter(converter)


def litert_extractor(content: bytes, threads: int | None = None) -> Extractor:
    """Return the fast way: what `convert` gave, run by LiteRT on all cores."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads or cores())
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    width = int(target["shape"][-1])
    batch = np.zeros(source["shape"], np.float32)

    def compute(images: NDArray[Any]) -> NDArray[Any]:
        out = np.empty((len(images), width), np.float32)
        for at in range(0, len(images), LITERT_BATCH):
            part = images[at : at + LITERT_BATCH]
            batch[: len(part)] = part
            interpreter.set_tensor(source["index"], batch)
            interpreter.invoke()
            out[at : at + len(part)] = interpreter.get_tensor(target["index"])[: len(part)]
        return out

    return Extractor("litert", width, compute)


def compute(
    extract: Extractor,
    images: NDArray[Any],
    path: Path,
    *,
    augmenter: Augmenter | None,
    progress: Callable[[int], None],
) -> NDArray[Any]:
    """Return the features of `images` (N, h, w, 3) uint8, changed by `augmenter`, as `feature_file.grow` does.

    `images` may be a memory map larger than memory.
    """

    def block(start: int, stop: int) -> NDArray[Any]:
        return extract.compute(_pixels(images, np.arange(start, stop), augmenter))

    return grow(path, len(images), extract.features, block, progress)


def _pixels(images: NDArray[Any], index: NDArray[Any], augmenter: Augmenter | None) -> NDArray[Any]:
    block = images[index[0] : index[-1] + 1]
    if augmenter is None:
        return block
    changes = augmenter.changes(index)
    changed: NDArray[Any] = apply(block, changes.transforms, changes.gain, changes.contrast).numpy()
    return changed

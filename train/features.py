"""Features for phase one: a frozen base maps each image to the same features in every epoch, so they are computed once.

On a CPU they come from a TFLite copy of the base: XNNPACK runs MobileNetV2 at 96 pixels some eight times faster than
Keras on the same two cores. The copy is compared with Keras on real samples before it is used. Converting and
comparing it takes as long as Keras needs for some hundred images, so Keras computes small data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import Rows
from ..core.encoded_images import EncodedImages
from ..core.helpers import Helpers
from ..core.progress import Listener
from ..frameworks.flat_graph import flat_graph
from ..frameworks.tensorflow import cores, has_gpu, load
from ..tflite.converter import convert as run_converter
from .augment import Augmenter, apply
from .feature_file import grow
from .feature_process import FeatureProcess
from .feature_worker import BATCH, Model
from .network import Base
from .shared_features import SharedFeatures

KERAS_BATCH = 64
FEW_IMAGES = 256
TOLERANCE = 1e-3  # of the largest feature, between the two engines


class Engine(Protocol):
    """Computes features of images."""

    @property
    def engine(self) -> str:
        """Its name."""
        ...

    @property
    def features(self) -> int:
        """The number of features of an image."""
        ...

    def compute(self, images: NDArray[Any]) -> NDArray[Any]:
        """Map (n, height, width, 3) pixels of 0–255 to (n, features) float32."""
        ...

    def stream(self, blocks: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Map each block as `compute` does; the next blocks may be read ahead."""
        ...

    def close(self) -> Any:
        """Release its resources."""
        ...


@dataclass(frozen=True)
class Extractor:
    """An `Engine` in this process."""

    engine: str
    features: int
    compute: Callable[[NDArray[Any]], NDArray[Any]]

    def stream(self, blocks: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Map the blocks one after the other."""
        for images in blocks:
            yield self.compute(images)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""


def extractor(
    base: Base,
    samples: NDArray[Any],
    listener: Listener,
    *,
    helpers: Helpers | None = None,
    begin: Callable[[Engine], None] = lambda extract: None,
    keep: Callable[[bytes], None] = lambda content: None,
) -> Engine:
    """Return the fastest engine for `base`'s features whose results equal Keras's on `samples` (n, h, w, 3).

    `helpers` compute, too. `begin` is called with the candidate before it is compared with Keras, so that the caller
    can start computing; if another engine is returned, those results must be discarded. `keep` gets the copy that
    passed the comparison.
    """
    keras = keras_extractor(base)
    if has_gpu():
        return keras
    if find_spec("ai_edge_litert") is None:
        listener.note("info", "features come from Keras: ai-edge-litert, which is faster, is not installed")
        return keras
    try:
        content = convert(base)
        litert = litert_process(content, helpers)
        begin(litert)
        answers = litert_extractor(content).compute(samples)  # in this process, since the other one is busy
        expected = np.asarray(base.model(samples.astype(np.float32), training=False))
    except Exception as error:  # the converter and the engine may raise any exception
        listener.note("warning", "features come from Keras: the base could not be converted", reason=str(error)[:300])
        return keras
    difference = float(np.abs(expected - answers).max())
    if not difference <= TOLERANCE * float(np.abs(expected).max()):
        listener.note("warning", "features come from Keras: LiteRT's differ", difference=difference)
        return keras
    keep(content)
    return litert


def litert_process(content: bytes, helpers: Helpers | None) -> FeatureProcess | SharedFeatures:
    """Return the engine that runs the file of `convert` on all cores of this machine, and by helpers."""
    if helpers is not None and helpers.helpers:
        return SharedFeatures(content, cores(), helpers)
    return FeatureProcess(content, cores())


def keras_extractor(base: Base) -> Extractor:
    """Return an engine that uses Keras."""
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
    """Return `base` in inference mode as a float32 TFLite file of batch BATCH, as `feature_worker` runs it.

    Conversion defects show when its features are compared.
    """
    tf, _ = load()

    def infer(image: Any) -> Any:
        return tf.cast(base.model(image, training=False), tf.float32)

    shape = (BATCH, *base.model.input_shape[1:])
    concrete = tf.function(infer, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))
    if (frozen := flat_graph(concrete)) is not None:
        converter = tf.compat.v1.lite.TFLiteConverter(frozen, [concrete.inputs[0]], concrete.outputs)
    else:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], base.model)
        converter.experimental_lower_to_saved_model = False  # through a SavedModel it takes twice as long
    return run_converter(converter)


def litert_extractor(content: bytes) -> Extractor:
    """Return an engine that runs the file of `convert` with LiteRT in this process, on one core."""
    model = Model(content, threads=1)

    def compute(images: NDArray[Any]) -> NDArray[Any]:
        out = np.empty((len(images), model.width), np.float32)
        for at in range(0, len(images), BATCH):
            part = slice(at, at + BATCH)
            model.compute(images[part], out[part])
        return out

    return Extractor("litert", model.width, compute)


def compute(
    extract: Engine,
    images: Rows,
    path: Path,
    *,
    augmenter: Augmenter | None,
    progress: Callable[[int], None],
) -> NDArray[Any]:
    """Return the features of `images` (N, h, w, 3) uint8, changed by `augmenter`, as `feature_file.grow` does.

    `images` may be larger than memory: blocks are read, and decoded, while the features of those before are computed.
    """

    def pixels(spans: Sequence[tuple[int, int]]) -> Generator[NDArray[Any], None, None]:
        rows = (images[start:stop] for start, stop in spans) if isinstance(images, np.ndarray) else images.blocks(spans)
        for (start, stop), block in zip(spans, rows, strict=True):
            yield _changed(block, np.arange(start, stop), augmenter)

    def stream(spans: Sequence[tuple[int, int]]) -> Generator[NDArray[Any], None, None]:
        if augmenter is None and isinstance(extract, SharedFeatures) and isinstance(images, EncodedImages):
            yield from extract.stream_encoded(images, spans)
            return
        with closing(pixels(spans)) as blocks:
            yield from extract.stream(blocks)

    return grow(path, len(images), extract.features, stream, progress)


def _changed(block: NDArray[Any], index: NDArray[Any], augmenter: Augmenter | None) -> NDArray[Any]:
    if augmenter is None:
        return block
    changes = augmenter.changes(index)
    changed: NDArray[Any] = apply(block, changes.transforms, changes.gain, changes.contrast).numpy()
    return changed

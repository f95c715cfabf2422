"""Catalogues that other packages keep: ``keras:NAME`` (tf.keras.datasets) and ``tfds:NAME`` (TensorFlow Datasets).

Both import TensorFlow, and only when their data are read. What they print goes to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.extras import EXTRAS
from ..core.sanitize import shorten
from ..core.store import package_versions
from .files import SPLIT_NAMES, stat_identity
from .idx import from_arrays
from .listing import TEST, TRAIN, UNASSIGNED, Indices, Listing, Look, Payload, Remark, quoted

# Class names in the order of their numbers. Fashion-MNIST: github.com/zalandoresearch/fashion-mnist; CIFAR:
# cs.toronto.edu/~kriz/cifar.html (CIFAR-100's fine labels are in alphabetical order).
FASHION_MNIST = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
KERAS = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": FASHION_MNIST,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
}

OFFLINE = (
    "check the network and run again; or work offline with builtin:fashion-mnist-mini, with your own images "
    "(folder:PATH, csv:FILE) or with downloaded idx files (idx:PATH)"
)


def _need(module: str, extra: str, source: str) -> None:
    """Raise NotInstalledError when a module is not installed. Imports nothing."""
    EXTRAS[extra].require(f"data source {shorten(source, 200)!r} needs", module)


@dataclass(frozen=True)
class KerasSource:
    """One of `KERAS`, downloaded by Keras into ``KERAS_HOME`` (by default ``~/.keras``) unless it is there already."""

    source: str
    name: str

    def look(self) -> Look:
        """Return the name and the package's version: these sets do not change."""
        _need("tf_keras", "train", self.source)
        return Look({"keras": self.name, **package_versions(["tf-keras"])})

    def listing(self) -> Listing:
        """Load the arrays, with a download where they are not kept yet."""
        _need("tf_keras", "train", self.source)
        # tf_keras's downloads look at ~/.keras alone unless they are told; ~ and relative paths as Keras reads them.
        home = os.environ.get("KERAS_HOME")
        try:
            with redirect_stdout(sys.stderr):
                from tf_keras import datasets

                (train, train_labels), (test, test_labels) = getattr(datasets, self.name).load_data(cache_dir=home)
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise InputError(
                f"data source {self.source!r} could not be loaded: {shorten(str(error) or type(error).__name__, 300)}",
                f"{OFFLINE}. A broken download stands in {home or '~/.keras'}/datasets: remove it there",
            ) from error
        splits = np.repeat(np.array([TRAIN, TEST], np.int8), [len(train), len(test)])
        targets = np.concatenate([train_labels, test_labels]).astype(np.int64).reshape(-1)
        return from_arrays(self.source, KERAS[self.name], [train, test], targets, splits)


@dataclass(frozen=True)
class TfdsSource:
    """A set of TensorFlow Datasets with one image and one class label; ``NAME/CONFIG:VERSION`` says which one.

    It is looked for in `data_dir` (data.root; by default ``TFDS_DATA_DIR`` or ``~/tensorflow_datasets``) and
    downloaded where it is not there. Images come encoded, so that they pass the same checks as files.
    """

    source: str
    name: str
    data_dir: Path | None

    def look(self) -> Look:
        """Return the name and what is kept of the set: names, sizes and times."""
        _need("tensorflow_datasets", "tfds", self.source)
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise InputError(
                f"data source {self.source!r}: data.root = {self.data_dir} is not a folder",
                "data.root is where TensorFlow Datasets keeps its sets; leave it out for the usual place",
            )
        default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        kept = (self.data_dir or Path(default).expanduser()) / self.name.partition(":")[0]
        files = sorted(path for path in kept.rglob("*") if path.is_file()) if kept.is_dir() else []
        named = ((path.relative_to(kept).as_posix(), str(path)) for path in files)
        return Look({"tfds": self.name, **stat_identity(named)})

    def listing(self) -> Listing:
        """Read the labels; images are read, in order, when they are streamed."""
        self.look()
        with redirect_stdout(sys.stderr):
            builder = self._builder()
            image, label, labels = self._features(builder)
            offered = builder.info.splits
            parts = [
                (name, SPLIT_NAMES[name]) for name in offered if name in SPLIT_NAMES and offered[name].num_examples
            ]
            if TRAIN not in {code for _, code in parts}:
                raise InputError(
                    f"data source {self.source!r} has no split called train; it has {quoted(list(offered))}",
                    "choose a set with a train split",
                )
            targets = {split: self._labels(builder, split, label) for split, _ in parts}
        left_out = [split for split in offered if split not in targets]
        remarks = (
            (Remark(f"splits of {self.source} that are left out: {quoted(left_out)}", "they are not labelled splits"),)
            if left_out
            else ()
        )
        sizes = [len(targets[split]) for split, _ in parts]
        starts = np.cumsum([0, *sizes])

        def stream(indices: Indices) -> Iterator[Payload]:
            for (split, _), start, size in zip(parts, starts[:-1].tolist(), sizes, strict=True):
                wanted = indices[(indices >= start) & (indices < start + size)] - start
                if len(wanted):
                    yield from self._images(builder, split, image, wanted)

        splits = np.repeat(np.array([code for _, code in parts], np.int8), sizes)
        if set(splits.tolist()) == {TRAIN}:
            splits = np.full(len(splits), UNASSIGNED, np.int8)
        return Listing(
            self.source,
            labels,
            [f"{split}/{i:07d}" for (split, _), size in zip(parts, sizes, strict=True) for i in range(size)],
            np.concatenate([targets[split] for split, _ in parts]).astype(np.int64),
            splits,
            stream,
            remarks=remarks,
        )

    def _builder(self) -> Any:
        """Return the set's builder with its data in place."""
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(self.name, data_dir=str(self.data_dir) if self.data_dir else None)
            # The bucket is asked for nothing: behind a closed network each question costs minutes.
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
        except Exception as error:  # its own errors, those of the network, and assertions of the sets' own code
            known = isinstance(error, tfds.core.registered.DatasetNotFoundError)
            what = "is not known to TensorFlow Datasets" if known else "could not be loaded"
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"data source {shorten(self.source, 200)!r} {what}: {shorten(first, 300)}",
                f"a set that is kept elsewhere is found through data.root. Else {OFFLINE}",
            ) from error
        return builder

    def _features(self, builder: Any) -> tuple[str, str, tuple[str, ...]]:
        """Return the keys of the image and of the label, and the label names."""
        import tensorflow_datasets as tfds

        features = dict(builder.info.features)
        images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
        classes = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
        supervised = [key for key in builder.info.supervised_keys or () if isinstance(key, str)]
        images = [key for key in images if key in supervised] or images
        classes = [key for key in classes if key in supervised] or classes
        if len(images) != 1 or len(classes) != 1:
            found = ", ".join(f"{key}: {type(feature).__name__}" for key, feature in sorted(features.items()))
            raise InputError(
                f"data source {self.source!r} is not one image and one class label an example; it has {found}",
                "choose a set for image classification, or write its images into a folder a class",
            )
        if np.dtype(features[images[0]].np_dtype) not in (np.dtype("uint8"), np.dtype("uint16")):
            raise InputError(
                f"data source {self.source!r}: its images are {features[images[0]].np_dtype}, not uint8 or uint16",
                "write its images into a folder a class",
            )
        feature = features[classes[0]]
        return images[0], classes[0], tuple(feature.int2str(number) for number in range(feature.num_classes))

    def _labels(self, builder: Any, split: str, label: str) -> Indices:
        import tensorflow_datasets as tfds

        examples = self._read(builder, split, tfds.decode.PartialDecoding({label: True}))
        targets = np.fromiter((int(example[label]) for example in examples), np.int64)
        if len(targets) and targets.min() < 0:
            raise InputError(
                f"data source {self.source!r}: split {split} has {int((targets < 0).sum())} examples without a label",
                "choose a set whose splits are labelled",
            )
        return targets

    def _images(self, builder: Any, split: str, image: str, wanted: Indices) -> Iterator[Payload]:
        """Yield the encoded images at ascending places of a split."""
        import tensorflow_datasets as tfds

        examples = enumerate(self._read(builder, split, {image: tfds.decode.SkipDecoding()}))
        for place in wanted.tolist():
            yield bytes(next(example[image] for number, example in examples if number == place))

    @staticmethod
    def _read(builder: Any, split: str, decoders: Any) -> Iterator[Any]:
        """Yield a split's examples, always in the same order."""
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        yield from tfds.as_numpy(
            builder.as_dataset(split=split, shuffle_files=False, decoders=decoders, read_config=config)
        )

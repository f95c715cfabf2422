"""Catalogues of other packages: ``keras:NAME`` (tf.keras.datasets) and ``tfds:NAME`` (TensorFlow Datasets).

Both import TensorFlow, but only when their data are read. Their output goes to standard error.
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
from ..core.sample_files import Payload
from ..core.sanitize import shorten
from ..core.store import package_versions
from .files import SPLIT_NAMES, stat_identity
from .idx import from_arrays
from .listing import TEST, TRAIN, UNASSIGNED, Indices, Listing, Probe, Remark, quoted

# Class names by class number. Fashion-MNIST: github.com/zalandoresearch/fashion-mnist; CIFAR:
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
    "(folder:PATH, csv:FILE), or with idx files that you have (idx:PATH)"
)


def _require(module: str, extra: str, source: str) -> None:
    """Raise NotInstalledError when a module is not installed. Imports nothing."""
    EXTRAS[extra].require(f"data source {shorten(source, 200)!r} needs", module)


@dataclass(frozen=True)
class KerasSource:
    """One of `KERAS`. Keras downloads it into ``KERAS_HOME`` (by default ``~/.keras``) if it is not there."""

    source: str
    name: str

    def probe(self) -> Probe:
        """Return the name and the package's version; these data sets do not change."""
        _require("tf_keras", "train", self.source)
        return Probe({"keras": self.name, **package_versions(["tf-keras"])})

    def listing(self) -> Listing:
        """Load the arrays; downloads them the first time."""
        _require("tf_keras", "train", self.source)
        # By default tf_keras downloads to ~/.keras only. It expands ~ and relative paths itself.
        home = os.environ.get("KERAS_HOME")
        try:
            with redirect_stdout(sys.stderr):
                from tf_keras import datasets

                (train, train_labels), (test, test_labels) = getattr(datasets, self.name).load_data(cache_dir=home)
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise InputError(
                f"data source {self.source!r} could not be loaded: {shorten(str(error) or type(error).__name__, 300)}",
                f"{OFFLINE}. If {home or '~/.keras'}/datasets holds a broken download, remove it",
            ) from error
        splits = np.repeat(np.array([TRAIN, TEST], np.int8), [len(train), len(test)])
        targets = np.concatenate([train_labels, test_labels]).astype(np.int64).reshape(-1)
        return from_arrays(self.source, KERAS[self.name], [train, test], targets, splits)


@dataclass(frozen=True)
class TfdsSource:
    """A data set of TensorFlow Datasets with one image and one class label, named ``NAME/CONFIG:VERSION``.

    It is read from `data_dir` (data.root; by default ``TFDS_DATA_DIR`` or ``~/tensorflow_datasets``), and downloaded if
    it is not there. Images are passed on encoded, so that they get the same checks as files.
    """

    source: str
    name: str
    data_dir: Path | None

    def probe(self) -> Probe:
        """Return the name, and a hash over the names, sizes and times of the stored files."""
        _require("tensorflow_datasets", "tfds", self.source)
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise InputError(
                f"data source {self.source!r}: data.root = {self.data_dir} is not a folder",
                "data.root is the folder of TensorFlow Datasets; omit it for the default folder",
            )
        default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        folder = (self.data_dir or Path(default).expanduser()) / self.name.partition(":")[0]
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        named = ((path.relative_to(folder).as_posix(), str(path)) for path in files)
        return Probe({"tfds": self.name, **stat_identity(named)})

    def listing(self) -> Listing:
        """Read the labels; images are read in order when they are streamed."""
        self.probe()
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
                positions = indices[(indices >= start) & (indices < start + size)] - start
                if len(positions):
                    yield from self._images(builder, split, image, positions)

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
        """Return the builder after its data were downloaded."""
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(self.name, data_dir=str(self.data_dir) if self.data_dir else None)
            # No requests to Google Cloud Storage: behind a firewall each of them costs minutes.
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
        except Exception as error:  # errors of the package, of the network, and of the data sets' own code
            unknown = isinstance(error, tfds.core.registered.DatasetNotFoundError)
            what = "is not known to TensorFlow Datasets" if unknown else "could not be loaded"
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InputError(
                f"data source {shorten(self.source, 200)!r} {what}: {shorten(first, 300)}",
                f"if the data set is in another folder, set data.root. Otherwise {OFFLINE}",
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
            types = ", ".join(f"{key}: {type(feature).__name__}" for key, feature in sorted(features.items()))
            raise InputError(
                f"data source {self.source!r} does not have one image and one class label per example; it has {types}",
                "choose a set for image classification, or write its images into one folder per class",
            )
        if np.dtype(features[images[0]].np_dtype) not in (np.dtype("uint8"), np.dtype("uint16")):
            raise InputError(
                f"data source {self.source!r}: its images are {features[images[0]].np_dtype}, not uint8 or uint16",
                "write its images into one folder per class",
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

    def _images(self, builder: Any, split: str, image: str, positions: Indices) -> Iterator[Payload]:
        """Yield the encoded images at ascending positions of a split."""
        import tensorflow_datasets as tfds

        examples = enumerate(self._read(builder, split, {image: tfds.decode.SkipDecoding()}))
        for position in positions.tolist():
            yield bytes(next(example[image] for number, example in examples if number == position))

    @staticmethod
    def _read(builder: Any, split: str, decoders: Any) -> Iterator[Any]:
        """Yield a split's examples, always in the same order."""
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
        yield from tfds.as_numpy(
            builder.as_dataset(split=split, shuffle_files=False, decoders=decoders, read_config=config)
        )

"""A small float model for the tests of further training: a network of our own, fine-tuned on made-up pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeproof.core.dataset import PreparedData, save_prepared
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.frameworks.tensorflow import load
from edgeproof.train.fit import fit

SIZE = 32
LABELS = ("disc", "square", "stripes")


class Heard(Silent):
    """Remembers what it was told."""

    def __init__(self):
        self.notes, self.tasks = [], []

    def note(self, level, message, **facts):
        self.notes.append((level, message))

    def progress(self, task, done, total, note=""):
        self.tasks.append((task, done, total))


def picture(kind: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    cx, cy, r = *rng.uniform(10, 22, 2), rng.uniform(5, 9)
    shapes = (
        (x - cx) ** 2 + (y - cy) ** 2 < r**2,
        np.maximum(abs(x - cx), abs(y - cy)) < r,
        np.sin(x * rng.uniform(0.8, 1.2) + cy) > 0,
    )
    image = rng.uniform(0, 60, (SIZE, SIZE, 3)) + shapes[kind][..., None] * rng.uniform(80, 190, 3)
    return image.astype(np.uint8)


def make_data(folder: Path, counts=None) -> PreparedData:
    rng, counts = np.random.default_rng(4), counts or {"train": 120, "validation": 60, "test": 30}
    for split, count in counts.items():
        labels = np.arange(count) % 3
        np.save(folder / f"{split}.npy", np.stack([picture(int(kind), rng) for kind in labels]))
        np.save(folder / f"{split}-labels.npy", labels.astype(np.int64))
    data = PreparedData(folder, "made up", LABELS, SIZE, SIZE, "stretch", counts, "d" * 64)
    save_prepared(data, folder)
    return data


def small_network(nested: bool = False):
    """Convolution, depthwise convolution, residual sum; `nested`: its middle is a model of its own, with dropout."""
    _, keras = load()
    k = keras.layers
    image = keras.Input((SIZE, SIZE, 3))
    x = k.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(k.Rescaling(1 / 127.5, -1.0)(image))
    x = k.ReLU(6.0)(k.BatchNormalization(name="stem_bn")(x))

    def middle(x):
        y = k.Conv2D(16, 1, use_bias=False, name="expand")(x)
        y = k.ReLU(6.0)(k.BatchNormalization(name="expand_bn")(y))
        y = k.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
        y = k.ReLU(6.0)(k.BatchNormalization(name="depthwise_bn")(y))
        y = k.Conv2D(8, 1, use_bias=False, name="project")(k.Dropout(0.1)(y) if nested else y)
        return k.Add()([x, k.BatchNormalization(name="project_bn")(y)])

    if nested:
        inner = keras.Input(x.shape[1:])
        x = keras.Model(inner, middle(inner), name="middle")(x)
    else:
        x = middle(x)
    x = k.Conv2D(32, 3, strides=2, use_bias=False, name="top")(x)
    x = k.ReLU(6.0)(k.BatchNormalization(name="top_bn")(x))
    return keras.Model(image, x, name="small")


def trained_backbone(data: PreparedData, path: Path) -> Path:
    """Train the small network on the data as one would, and save what is below its head."""
    _, keras = load()
    keras.utils.set_random_seed(2)
    backbone = small_network()
    head = keras.layers.Dense(len(LABELS), activation="softmax")
    classifier = keras.Model(backbone.input, head(keras.layers.GlobalAveragePooling2D()(backbone.output)))
    classifier.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    images, labels = data.rows("train")[:].astype(np.float32), np.load(data.targets("train"))
    classifier.fit(images, labels, batch_size=16, epochs=25, verbose=0)
    backbone.save(path)
    return path


@dataclass(frozen=True)
class Fitted:
    model: Model
    data: PreparedData


def fitted(folder: Path, like: Fitted | None = None, **train) -> Fitted:
    """The float model, fine-tuned by `train.fit`, in `folder`; `train` are further keys of that table.

    With `like` its data and its backbone, which are beside its model, are taken.
    """
    if like is None:
        (folder / "data").mkdir()
        data = make_data(folder / "data")
        path = trained_backbone(data, folder / "small.keras")
    else:
        data, path = like.data, like.data.folder.parent / "small.keras"
    spec = ModelSpec(name="small", backbone=f"file:{path.name}", image_size=SIZE, value_range=(0, 255))
    how = Train(epochs=30, batch_size=16, learning_rate=1e-2, patience=0, **train)
    model = fit(spec, how, seed=3, data=data, folder=path.parent, workspace=folder / "model", listener=Silent())
    return Fitted(model, data)

"""Phase one: the head, a small Keras model that Keras' ``fit`` trains on features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.recipe import Train
from ..frameworks.tensorflow import load
from ..tasks.classification import top_class
from .answers import Answer
from .compile import compile_model
from .dropout import new_dropout
from .keras_fit import Phase

BLOCK_BYTES = 256 << 20  # of features in memory at a time
RESIDENT_BYTES = 512 << 20  # features up to this size are held in memory, and batches gathered from them
AT_ONCE = 64  # steps that Keras runs in one call: a step takes a millisecond, and so does a call from Python
PREFETCH = 16
INPUT, OUTPUT = "features", "probabilities"


@dataclass(frozen=True)
class Labelled:
    """Features with their classes. `views` are arrays (N, features) float32, one per version of each image.

    `labels` are classes (N,), or what `Answer.targets` makes of other targets: (N, units) float32.
    """

    views: Sequence[NDArray[Any]]
    labels: NDArray[Any]

    @property
    def targets(self) -> NDArray[Any]:
        """The targets as Keras takes them."""
        return self.labels if self.labels.ndim > 1 else self.labels.astype(np.int32)

    def __len__(self) -> int:
        return len(self.labels)


def class_weights(labels: NDArray[Any], classes: int, balanced: bool) -> NDArray[Any]:
    """Return a weight per class: 1, or if `balanced` N / (classes × count), so that each class weighs the same."""
    if not balanced:
        return np.ones(classes, np.float32)
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)


def new_head(features: int, classes: int | Answer, spec: Train, seed: int) -> Any:
    """Return the head of ``[train]``: features (n, features) → probabilities (n, classes), a Keras model.

    Dropout, then for each of ``hidden`` a dense layer, its activation and dropout, then a dense layer with softmax, or
    with what an `Answer` says.
    Weights are initialized with Keras' defaults (Glorot uniform, zeros), drawn from `seed`. Dropout has its own
    generator, which `keras_fit` seeds before each epoch from the seed and the epoch.
    """
    _, keras = load()
    layers = keras.layers
    x = inputs = keras.Input((features,), name=INPUT)
    if spec.dropout:
        x = new_dropout(spec.dropout, "dropout")(x)
    for number, units in enumerate(spec.head.hidden, 1):
        start = keras.initializers.GlorotUniform(seed=seed + number)
        dense = layers.Dense(
            units, spec.head.activation, kernel_initializer=start, name=f"hidden_{number}", dtype="float32"
        )
        x = dense(x)
        if spec.head.dropout:
            x = new_dropout(spec.head.dropout, f"hidden_{number}_dropout")(x)
    start = keras.initializers.GlorotUniform(seed=seed)
    answer = classes if isinstance(classes, Answer) else Answer(classes)
    last = layers.Dense(answer.units, answer.activation, kernel_initializer=start, name=OUTPUT, dtype="float32")
    return keras.Model(inputs, last(x), name="head")


def apply_head(head: Any, features: Any) -> Any:
    """Call the layers of `head` one by one on a Keras tensor, so that the result is a flat model."""
    _, keras = load()
    x = features
    for layer in head.layers[1:]:
        own = layer
        if isinstance(layer, keras.layers.Dropout):
            # Keras' own layer: the model needs no generator from here on.
            own = keras.layers.Dropout(layer.rate, name=layer.name, dtype="float32")
        x = own(x)
    return x


def sample_weights(labels: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Return the weight of each sample (n,), that of its class; 1 of tags, and without classes.

    One tag is one weight beside labels 0 and 1, which are no classes.
    """
    if len(weights) < 2 or (labels.ndim > 1 and labels.shape[1] > 1):
        return np.ones(len(labels), np.float32)
    return weights[labels.reshape(len(labels)).astype(np.int64)]


def head_phase(
    head: Any,
    train: Labelled,
    validation: Labelled,
    spec: Train,
    weights: NDArray[Any],
    seed: int,
    answer: Answer | None = None,
) -> Phase:
    """Return phase one, ready to run. Each epoch goes through all of `train`, in an order drawn from seed and epoch.

    An epoch uses one view of an image with several; each image starts at another view and cycles through all. The loss
    cross-entropy, with `weights` per class where the recipe asks for them, or what an `answer` says.
    """
    steps = -(-len(train) // spec.batch_size)
    if head.optimizer is None:
        compile_head(head, spec, train.labels, validated=len(validation) > 0, answer=answer)
    return Phase(
        number=1,
        task="train head",
        model=head,
        epochs=spec.epochs,
        steps=steps,
        batches=lambda first: _training_dataset(train, spec, weights, seed, first, steps),
        validation=_validation_dataset(validation, spec) if len(validation) else None,
        generators=generators(head),
        seed=seed,
    )


def compile_head(
    head: Any, spec: Train, labels: NDArray[Any], *, validated: bool, answer: Answer | None = None
) -> None:
    """Compile `head` for the samples of a training epoch, which have `labels`, and trace its steps.

    Without an `answer` it is a softmax.

    Tracing takes longer than a hundred steps, and needs no features, so it can run while they are computed.
    """
    width = head.input_shape[-1]
    compile_model(
        head, spec, answer=answer or Answer(head.output_shape[-1]), learning_rate=spec.learning_rate,
        epochs=spec.epochs, steps=-(-len(labels) // spec.batch_size),
        at_once=1 if spec.callbacks else AT_ONCE,  # a user's callback may handle every step
    )  # fmt: skip
    nothing = Labelled([np.zeros((0, width), np.float32)], labels[:0])
    trace = [
        (head.make_train_function(), spec.class_weights),
        *([(head.make_test_function(), False)] if validated else []),
    ]
    for function, weighted in trace:
        function.get_concrete_function(iter(_dataset(lambda: iter(()), nothing, 0, weighted=weighted)))


def generators(head: Any) -> list[Any]:
    """Return the random generators of the head's dropout layers, first to last."""
    _, keras = load()
    return [layer._random_generator._generator for layer in head.layers if isinstance(layer, keras.layers.Dropout)]


def evaluate(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the sum of cross-entropies of `logits` (n, classes) and the number of correct ones, as an array of two."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return np.array([losses.sum(), (top_class(logits) == labels).sum()])


def gather(views: Sequence[NDArray[Any]], view: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    """Return row ``index[i]`` of view ``view[i]`` for each i; a memory map is read in storage order."""
    out = np.empty((len(index), views[0].shape[1]), np.float32)
    for number, rows in enumerate(views):
        mine = np.flatnonzero(view == number)
        mine = mine[np.argsort(index[mine])]
        out[mine] = rows[index[mine]]
    return out


Blocks = Iterator[tuple[NDArray[Any], ...]]


def _training_dataset(train: Labelled, spec: Train, weights: NDArray[Any], seed: int, first: int, steps: int) -> Any:
    """Return (rows, labels), with class weights also those, of the epochs from `first` (0 is the first) on; the last
    batch of an epoch may be smaller."""
    start_view = np.random.default_rng((seed, 11)).integers(len(train.views), size=len(train))
    labels = train.targets
    columns = (labels, sample_weights(labels, weights)) if spec.class_weights else (labels,)

    def orders() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield for each epoch the order of the images, and the view of each."""
        for number in range(first + 1, spec.epochs + 1):
            order = np.random.default_rng((seed, 12, number)).permutation(len(train))
            yield order, (start_view[order] + number - 1) % len(train.views)

    batches = steps * (spec.epochs - first)
    if sum(view.nbytes for view in train.views) <= RESIDENT_BYTES:
        return _resident_dataset(train, columns, orders, spec.batch_size, batches)
    block = _block(train, spec.batch_size)

    def blocks() -> Blocks:
        for order, views in orders():
            for at in range(0, len(order), block):
                index = order[at : at + block]
                rows = gather(train.views, views[at : at + block], index)
                yield from _batched((rows, *(column[index] for column in columns)), spec.batch_size)

    return _dataset(blocks, train, batches, weighted=spec.class_weights)


def _resident_dataset(train: Labelled, columns: tuple[NDArray[Any], ...], orders: Any, batch: int, batches: int) -> Any:
    """As `_dataset`, but TensorFlow gathers batches from features in memory: Python code runs once an epoch."""
    tf, _ = load()
    features = tf.concat([tf.constant(np.asarray(view)) for view in train.views], axis=0)
    constants = [tf.constant(column) for column in columns]

    def places() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for order, views in orders():
            yield order + views * len(train), order

    def epoch(places: Any, order: Any) -> Any:
        def rows(start: Any) -> Any:
            part = slice(start, start + batch)
            return (tf.gather(features, places[part]), *(tf.gather(column, order[part]) for column in constants))

        return tf.data.Dataset.range(0, len(train), batch).map(rows)

    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([None], tf.int64))
    dataset = tf.data.Dataset.from_generator(places, output_signature=signature)
    return _fed(dataset.flat_map(epoch), batches)


def _validation_dataset(validation: Labelled, spec: Train) -> Any:
    block = _block(validation, spec.batch_size)

    def blocks() -> Blocks:
        for at in range(0, len(validation), block):
            rows = np.asarray(validation.views[0][at : at + block])
            yield from _batched((rows, validation.targets[at : at + block]), len(rows))

    batches = -(-len(validation) // block)
    return _dataset(blocks, validation, batches, cached=batches == 1)  # Keras iterates over it after each epoch


def _block(data: Labelled, batch: int) -> int:
    """The number of rows in memory at a time, a multiple of the batch."""
    return max(1, BLOCK_BYTES // (4 * data.views[0].shape[1] * batch)) * batch


def _batched(arrays: tuple[NDArray[Any], ...], batch: int) -> Blocks:
    """Yield arrays (batches, batch, …) of the rows of `arrays`; the remaining rows come as one smaller batch."""
    rows = len(arrays[0])
    full_rows = rows - rows % batch
    if full_rows:
        yield tuple(array[:full_rows].reshape(-1, batch, *array.shape[1:]) for array in arrays)
    if full_rows < rows:
        yield tuple(array[None, full_rows:] for array in arrays)


def _dataset(blocks: Any, data: Labelled, batches: int, *, weighted: bool = False, cached: bool = False) -> Any:
    """Return the `batches` that `blocks` yields as a ``tf.data.Dataset``; `cached`: in memory after the first pass."""
    tf, _ = load()
    width, targets = data.views[0].shape[1], data.targets
    signature = (
        tf.TensorSpec([None, None, width], tf.float32),
        tf.TensorSpec([None, None, *targets.shape[1:]], targets.dtype),
        tf.TensorSpec([None, None], tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(blocks, output_signature=signature if weighted else signature[:2])
    dataset = dataset.unbatch()
    return _fed(dataset.cache() if cached else dataset, batches)


def _fed(dataset: Any, batches: int) -> Any:
    """Return a dataset of batches for Keras, which are prefetched during training."""
    tf, _ = load()
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1  # it only copies memory: more threads would slow the training
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
    return dataset.prefetch(PREFETCH).with_options(options)

"""The recipes of the three tutorial models, each compared with the same model written in plain Keras.

Both sides start from the same weights, see the same samples in the same order and use the same optimizer. Ours trains
on features that LiteRT computed, plain Keras on the pixels or texts themselves; those features differ in the last bits
(some 1e-6 of the largest), and Adam divides by the gradient's own size, so that weights drift apart by a little. Ten
epochs of that were seen to move probabilities by less than a hundredth; allowed is `TOLERANCE`.
"""

from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.progress import Silent
from edgeproof.core.recipe_file import load_recipe
from edgeproof.data import prepare, prepare_texts
from edgeproof.frameworks.tensorflow import fresh, load
from edgeproof.train.head import new_head

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TOLERANCE = 0.02

pytestmark = pytest.mark.slow


def recipe_run(name, folder, *overrides, text=False):
    """Train what a shipped recipe says, but for `overrides` that make it small; return recipe, data and model."""
    if text:
        from edgeproof.train.text.fit import fit_text as fit
    else:
        from edgeproof.train.fit import fit
    recipe = load_recipe(RECIPES / name, overrides)
    spec = recipe.model[0]
    where = {"seed": recipe.seed, "folder": recipe.folder, "workspace": folder / "data", "listener": Silent()}
    if text:
        data = prepare_texts(recipe.data, **where)
    else:
        data = prepare(recipe.data, image_size=spec.image_size, resize=spec.resize, workers=1, **where)
    model = fit(
        spec, recipe.train, seed=recipe.seed, data=data, folder=recipe.folder, workspace=folder / "model",
        listener=Silent(),
    )  # fmt: skip
    return recipe, data, model


def fit_plainly(model, head, recipe, samples, labels):
    """Compile and fit as the tutorials do, from our head's start and in our order; return the history.

    `head` are the model's dense layers. The order of an epoch is drawn from seed and epoch (`train.head`).
    """
    _, keras = load()
    seed, train = recipe.seed, recipe.train
    ours = new_head(head[0].kernel.shape[0], head[-1].units, train, seed)
    dense = [layer for layer in ours.layers if layer.weights]
    for layer, start in zip(head, dense, strict=True):
        layer.set_weights(start.get_weights())
    model.compile(keras.optimizers.Adam(train.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history, best = [], (np.inf, None)
    for epoch in range(1, train.epochs + 1):
        order = np.random.default_rng((seed, 12, epoch)).permutation(len(labels["train"]))
        row = model.fit(
            samples["train"][order], labels["train"][order], batch_size=train.batch_size, shuffle=False, verbose=0,
            validation_data=(samples["validation"], labels["validation"]),
        ).history  # fmt: skip
        history.append({name: values[0] for name, values in row.items()})
        if history[-1]["val_loss"] < best[0]:
            best = history[-1]["val_loss"], model.get_weights()
    model.set_weights(best[1])
    return history


def compare(model, history, plain, answers, expected):
    """Both sides' losses by epoch, and their answers on the test split."""
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            [row[name] for row in model.history], [row[name] for row in history], rtol=TOLERANCE, atol=TOLERANCE
        )
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE)
    assert history[-1]["loss"] < history[0]["loss"], "it learns at all"


def split_of(data):
    labels = {split: np.load(data.targets(split)) for split in ("train", "validation")}
    images = {split: data.rows(split)[:].astype(np.float32) for split in ("train", "validation", "test")}
    return images, labels


def answers_of(model, images):
    tf, _ = load()
    serve = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return np.concatenate([serve(tf.constant(image[None]))["probabilities"] for image in images])


@pytest.mark.thorough  # the two below are trained and compared the same way; hidden layers are in `test_head`, too
def test_resnet50_with_a_hidden_layer_is_what_keras_makes_of_it(tmp_path):
    few = ("data.limit_train=80", "data.limit_test=20", "model.0.image_size=32")
    recipe, data, model = recipe_run("tutorial-resnet50.toml", tmp_path, *few)
    images, labels = split_of(data)
    _, keras = fresh(recipe.seed)
    base = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    base.trainable = False
    image = keras.Input((32, 32, 3))
    x = base(keras.applications.resnet50.preprocess_input(image), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    hidden = keras.layers.Dense(1024, activation="relu")
    last = keras.layers.Dense(10, activation="softmax")
    plain = keras.Model(image, last(hidden(x)))
    history = fit_plainly(plain, [hidden, last], recipe, images, labels)
    assert model.provenance["parameters"] == plain.count_params() + 12, "ours has a convolution for preprocessing"
    assert len(model.history) == 10
    compare(model, history, plain, answers_of(model, images["test"]), plain.predict(images["test"], verbose=0))


def test_a_hub_classifier_below_a_new_head_is_what_hub_makes_of_it(tmp_path):
    import tensorflow_hub as hub

    from edgeproof.train.hub.efficientnet_lite import saved_model

    few = ("data.limit_train=80", "data.limit_test=20", "model.0.image_size=64", "train.epochs=3")
    recipe, data, model = recipe_run("tutorial-hub-efficientnet.toml", tmp_path, *few)
    images, labels = split_of(data)
    _, keras = fresh(recipe.seed)
    module = hub.KerasLayer(str(saved_model("classification", Silent())), trainable=False)
    last = keras.layers.Dense(10, activation="softmax")
    image = keras.Input((64, 64, 3))
    plain = keras.Model(image, last(module((image - 127.0) / 128.0)))
    history = fit_plainly(plain, [last], recipe, images, labels)
    assert last.kernel.shape == (1000, 10), "the head stands on the logits of ImageNet's classes"
    compare(model, history, plain, answers_of(model, images["test"]), plain.predict(images["test"], verbose=0))


def test_a_sentence_encoder_with_two_classes_is_what_hub_makes_of_it(tmp_path):
    import tensorflow_hub as hub

    from edgeproof.core.dataset import read_texts
    from edgeproof.train.text.freeze import run_texts
    from edgeproof.train.text.multilingual import saved_model

    recipe, data, model = recipe_run("tutorial-sentence-encoder.toml", tmp_path, "data.limit_train=200", text=True)
    labels = {split: np.load(data.targets(split)) for split in ("train", "validation", "test")}
    texts = {split: np.array(read_texts(data.inputs(split)), object) for split in labels}
    tf, keras = fresh(recipe.seed)
    encoder = hub.KerasLayer(str(saved_model()), input_shape=[], dtype=tf.string, trainable=False)
    last = keras.layers.Dense(2, activation="softmax")
    text = keras.Input((), dtype=tf.string)
    plain = keras.Model(text, last(encoder(text)))
    history = fit_plainly(plain, [last], recipe, texts, labels)
    expected = plain.predict(texts["test"], verbose=0)
    compare(model, history, plain, run_texts(model.text_model, list(texts["test"])), expected)
    assert (expected.argmax(axis=1) == labels["test"]).mean() > 0.8

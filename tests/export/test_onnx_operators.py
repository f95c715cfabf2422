"""Operators that tf2onnx lacks or gets wrong: what ONNX Runtime answers is what TensorFlow answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import export

from ..support.onnx_models import agree, exported, frozen, model_at, onnx_answers, tensorflow_answers

pytestmark = pytest.mark.slow


def test_exact_gelu_agrees_also_where_it_is_almost_nothing(tmp_path: Path) -> None:
    """TensorFlow writes it with erfc, ONNX has erf alone: the tails lose less than a float's step at 1."""
    import tensorflow as tf

    count = 4001
    model = frozen(lambda x: {"y": tf.nn.gelu(x), "erfc": tf.math.erfc(x)}, {"x": ((1, count), "float32")}, tmp_path)
    artifact = exported(model)
    assert artifact.status == "ok" and artifact.path is not None, artifact.reason
    samples = {"x": np.linspace(-20, 20, count, dtype=np.float32)[None]}
    expected, answers = tensorflow_answers(model, samples), onnx_answers(artifact.path, samples)
    for name in expected:
        np.testing.assert_allclose(answers[name], expected[name], rtol=2e-7, atol=5e-7)
    # Keras' definition, in double precision.
    from scipy.special import erfc

    exact = samples["x"].astype(np.float64)
    np.testing.assert_allclose(answers["y"], 0.5 * exact * erfc(-exact / np.sqrt(2)), rtol=2e-7, atol=5e-7)


def test_functions_of_numbers_keep_their_digits(tmp_path: Path) -> None:
    """Near 0, where exp(x) - 1 and log(1 + x) as they stand would have lost them."""
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        return {
            "y": tf.math.expm1(x),
            "log1p": tf.math.log1p(tf.abs(x)),
            "xlogy": tf.math.xlogy(tf.nn.relu(x), tf.nn.relu(x)),
            "xlog1py": tf.math.xlog1py(tf.nn.relu(x), tf.abs(x)),
            "xdivy": tf.math.xdivy(tf.nn.relu(x), tf.nn.relu(x)),
            "no_nan": tf.math.multiply_no_nan(1.0 / x, tf.nn.relu(x)),
            "modulo": tf.truncatemod(x, 0.75),
            "whole": tf.truncatemod(tf.cast(x * 9, tf.int32), 4),
        }

    model = frozen(serve, {"x": ((1, 9), "float32")}, tmp_path)
    artifact = exported(model)
    assert artifact.status == "ok" and artifact.path is not None, artifact.reason
    samples = {"x": np.array([[-1e-6, 1e-6, -3e-4, 3e-4, -0.5, 0.5, -2.0, 2.0, 10.0]], np.float32)}
    expected, answers = tensorflow_answers(model, samples), onnx_answers(artifact.path, samples)
    assert np.isfinite(expected["no_nan"]).all() and expected["xdivy"][0, 0] == 0
    for name in expected:
        np.testing.assert_allclose(answers[name], expected[name], rtol=1e-6, atol=1e-12, err_msg=name)


def test_tensors_are_moved_counted_and_set(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        square = x[:, :4, :4, 0]
        return {
            "y": tf.roll(x, [-1, 3], [1, 2]),
            "diagonal": tf.linalg.diag(x[0, :, :, 0]),
            "one": tf.linalg.diag(x[:, 0, 0]),
            "set": tf.linalg.set_diag(square, square[:, 0]),
            "buckets": tf.raw_ops.Bucketize(input=x, boundaries=[-0.5, 0.0, 1.0]),
            "lower": tf.searchsorted([-1.0, 0.0, 0.5], x[0, 0, :, 0]),
            "upper": tf.searchsorted([-1.0, 0.0, 0.5], x[0, 0, :, 0], side="right"),
            "rows": tf.compat.v1.where([True, False, True, False, True], x[0], x[0] * 2.0),
            "cross": tf.linalg.cross(x, x[..., ::-1]),
        }

    agree(serve, {"x": ((1, 5, 6, 3), "float32")}, tmp_path)


def test_pictures_change_their_colours(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        picture = tf.concat([tf.sigmoid(x), tf.zeros((1, 6, 1, 3)), tf.ones((1, 6, 1, 3))], 2)
        hsv = tf.image.rgb_to_hsv(picture)
        return {"y": hsv, "back": tf.image.hsv_to_rgb(hsv), "hue": tf.image.adjust_hue(picture, 0.2)}

    agree(serve, {"x": ((1, 6, 5, 3), "float32")}, tmp_path, tolerance=3e-6)


def test_a_transposed_convolution_may_reach_beyond_its_kernel(tmp_path: Path) -> None:
    import tensorflow as tf

    kernel = np.random.default_rng(1).normal(size=(2, 2, 5, 3)).astype(np.float32)

    def serve(x: Any) -> dict[str, Any]:
        return {
            "y": tf.nn.conv2d_transpose(x, kernel, (1, 21, 15, 5), 3, "VALID"),
            "same": tf.nn.conv2d_transpose(x, kernel, (1, 21, 15, 5), 3, "SAME"),
        }

    agree(serve, {"x": ((1, 7, 5, 3), "float32")}, tmp_path)


METHODS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "gaussian", "mitchellcubic")


@pytest.mark.parametrize(("here", "there"), [((61, 129), (32, 32)), ((61, 29), (13, 9)), ((5, 7), (10, 21))])
def test_pictures_are_resized_to_the_very_size(tmp_path: Path, here: tuple[int, int], there: tuple[int, int]) -> None:
    """Each method and each way of counting pixels; a scale of 32 / 61 would give 31 rows."""
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        resized = {method: tf.image.resize(x, there, method) for method in METHODS}
        resized["smooth"] = tf.image.resize(x, there, "bilinear", antialias=True)
        for kind in ("ResizeBilinear", "ResizeNearestNeighbor"):
            for ways in ({"align_corners": True}, {"half_pixel_centers": True}, {}):
                resized["_".join([kind, *ways])] = getattr(tf.raw_ops, kind)(images=x, size=there, **ways)
        return resized

    artifact = agree(serve, {"x": ((1, *here, 2), "float32")}, tmp_path, tolerance=3e-5, answer="bilinear")
    assert {output.shape for output in artifact.outputs} == {(1, *there, 2)}


def test_a_waveform_becomes_a_picture_for_a_network(tmp_path: Path) -> None:
    """TensorFlow's own tutorial of speech commands: waveform, spectrogram, Resizing, convolutions."""
    import tensorflow as tf
    import tf_keras as keras

    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((124, 129, 1)),
            layers.Resizing(32, 32),
            layers.Normalization(mean=0.3, variance=0.5),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(8),
        ]
    )

    def serve(waveform: Any) -> dict[str, Any]:
        spectrogram = tf.abs(tf.signal.stft(waveform, frame_length=255, frame_step=128))
        return {"y": network(spectrogram[..., tf.newaxis], training=False)}

    agree(serve, {"waveform": ((1, 16000), "float32")}, tmp_path)


def test_complex_numbers_become_pairs_of_real_ones(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        transform = tf.signal.stft(x, 64, 32, fft_length=60)
        mel = tf.abs(transform) @ tf.signal.linear_to_mel_weight_matrix(10, 31, 16000, 80.0, 7600.0)
        picture = tf.signal.rfft2d(tf.reshape(x, (1, 20, 20)), (18, 24))
        spectrum = tf.signal.fft(tf.cast(x, tf.complex64))
        turned = spectrum * tf.exp(tf.complex(tf.zeros_like(x), x)) / tf.complex(x, tf.ones_like(x))
        return {
            "y": tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(mel + 1e-6)),
            "power": tf.math.real(transform * tf.math.conj(transform)),
            "angle": tf.math.angle(transform),
            "back": tf.signal.inverse_stft(tf.signal.stft(x, 64, 32), 64, 32),
            "odd": tf.signal.irfft(tf.signal.rfft(x[:, :45]), (45,)),
            "picture": tf.abs(picture),
            "turned": tf.math.imag(tf.signal.ifft(tf.reverse(turned, [1]))),
            "dct": tf.signal.dct(x, norm="ortho"),
        }

    agree(serve, {"x": ((1, 400), "float32")}, tmp_path, tolerance=2e-5)


def test_complex_numbers_that_stay_complex_are_a_row_with_what_to_do(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        return {"y": tf.abs(tf.math.asin(tf.signal.rfft(x) / 100.0))}

    artifact = exported(frozen(serve, {"x": ((1, 16), "float32")}, tmp_path))
    assert artifact.status == "failed" and "complex numbers" in artifact.reason and "tf.Asin" in artifact.reason
    assert "spectrogram" in artifact.remedy
    long = exported(frozen(lambda x: {"y": tf.abs(tf.signal.rfft(x))}, {"x": ((1, 8192), "float32")}, tmp_path))
    assert long.status == "failed" and "8,192" in long.reason and "stft" in long.remedy


def test_mfcc_in_tflite_is_told_of_complex_numbers_and_the_remedy_works(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        return {"y": tf.signal.mfccs_from_log_mel_spectrograms(x)}

    artifact = agree(serve, {"x": ((1, 5, 16), "float32")}, tmp_path)
    assert artifact.status == "ok"
    model = model_at(tmp_path, {"x": ((1, 5, 16), "float32")})
    refused = export(model, Variant("tflite", "float32"), options=Export(), folder=tmp_path)
    assert refused.status == "failed" and "complex numbers" in refused.reason and "onnx:float32" in refused.remedy


def test_what_a_loop_computes_is_rewritten_too(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        rounds = tf.cast(tf.reduce_sum(tf.abs(x)), tf.int32)
        step = lambda i, y: (i + 1, tf.math.erfc(y) * 0.5 + tf.roll(x, -1, 1))  # noqa: E731
        return {"y": tf.while_loop(lambda i, _: i < rounds, step, (0, x))[1]}

    agree(serve, {"x": ((1, 4), "float32")}, tmp_path)


def test_one_model_gives_one_file_with_loops_in_it_too(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any) -> dict[str, Any]:
        step = lambda i, y: (i + 1, tf.math.log1p(tf.abs(tf.matmul(y, np.eye(4, dtype=np.float32)))))  # noqa: E731
        return {
            "y": tf.while_loop(lambda i, _: i < 3, step, (0, x))[1],
            "z": tf.cond(x[0, 0] > 0, lambda: x, lambda: -x),
        }

    model = frozen(serve, {"x": ((1, 4), "float32")}, tmp_path)
    first = exported(model)
    assert first.status == "ok" and first.sha256 == exported(model).sha256

"""Modules of waveforms made as publishers make them: YAMNet's shape, and one with a batch and a signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.frameworks.tensorflow import fresh

RATE, SAMPLES, FEATURES = 1000, 500, 6
WINDOW, HOP, BANDS, PATCH = 64, 32, 8, 6


def weights() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    return (
        random.normal(0, 0.3, (PATCH * BANDS, FEATURES)).astype(np.float32),
        random.normal(0, 1, (FEATURES, 4)).astype(np.float32),
    )


def yamnet(folder: Path) -> Path:
    """As YAMNet: a waveform (samples,) of any length to (scores (T, 4), embeddings (T, 6), log mel (frames, 8))."""
    tf, _ = fresh(7)
    first, second = (tf.Variable(value) for value in weights())
    mel = tf.constant(tf.signal.linear_to_mel_weight_matrix(BANDS, WINDOW // 2 + 1, RATE, 20.0, RATE / 2))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def call(waveform: Any) -> Any:
        least = WINDOW + HOP * (PATCH - 1)
        waveform = tf.pad(waveform, [[0, tf.maximum(0, least - tf.shape(waveform)[0])]])
        spectrum = tf.abs(tf.signal.stft(waveform, WINDOW, HOP, WINDOW))
        log_mel = tf.math.log(tf.matmul(spectrum, mel) + 0.001)
        patches = tf.signal.frame(log_mel, PATCH, PATCH // 2, axis=0)
        embeddings = tf.nn.relu(tf.matmul(tf.reshape(patches, [-1, PATCH * BANDS]), first))
        return tf.nn.sigmoid(tf.matmul(embeddings, second)), embeddings, log_mel

    root = tf.train.Checkpoint()
    root.__call__ = call
    root.variables = [first, second]
    tf.saved_model.save(root, str(folder))
    return folder


def embeddings(wave: np.ndarray) -> np.ndarray:
    """NumPy's mean of `yamnet`'s embeddings of a waveform, but for the mel matrix, which TensorFlow makes."""
    tf, _ = fresh(7)
    mel = tf.signal.linear_to_mel_weight_matrix(BANDS, WINDOW // 2 + 1, RATE, 20.0, RATE / 2).numpy()
    frames = np.stack([wave[at : at + WINDOW] for at in range(0, len(wave) - WINDOW + 1, HOP)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    log_mel = np.log(np.abs(np.fft.rfft(frames * hann)) @ mel + 0.001)
    patches = [log_mel[at : at + PATCH].ravel() for at in range(0, len(log_mel) - PATCH + 1, PATCH // 2)]
    found: np.ndarray = np.maximum(np.stack(patches) @ weights()[0], 0).mean(axis=0)
    return found


def batched(folder: Path, samples: int | None = None) -> Path:
    """A model (batch, samples) to its signature's ``loudness`` (batch, 2) and ``frames`` (batch, T, 3)."""
    tf, _ = fresh(7)

    @tf.function(input_signature=[tf.TensorSpec([None, samples], tf.float32, name="audio")])
    def serve(audio: Any) -> Any:
        frames = tf.abs(tf.signal.frame(audio, 100, 50, axis=-1))
        three = tf.stack([tf.reduce_max(frames, -1), tf.reduce_mean(frames, -1), tf.reduce_min(frames, -1)], axis=-1)
        loud = tf.stack([tf.reduce_max(tf.abs(audio), 1), tf.reduce_mean(tf.abs(audio), 1)], axis=1)
        return {"loudness": loud, "frames": three}

    module = tf.Module()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    return folder


def sounds(count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return N waveforms (N, SAMPLES) of low and high tones and noise, their class, and their pitch in Hz."""
    random = np.random.default_rng(3)
    y = np.arange(count) % 3
    pitch = np.where(y == 0, random.uniform(40, 90, count), random.uniform(250, 400, count))
    turns = 2 * np.pi * pitch[:, None] * np.arange(SAMPLES) / RATE + random.uniform(0, 6, (count, 1))
    x = np.where(y[:, None] < 2, np.sin(turns), random.normal(0, 0.7, (count, SAMPLES)))
    x = x * random.uniform(0.3, 0.5, (count, 1)) + random.normal(0, 0.01, x.shape)
    return np.clip(x, -1, 1).astype(np.float32), y, pitch

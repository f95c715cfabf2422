"""The rate that the waveforms of known modules have. A table; the models' own pages say it.

They are archived at https://github.com/tensorflow/tfhub.dev (assets/docs/google/models/…): YAMNet, VGGish, the TRILL
family (nonsemantic-speech-benchmark) and speech_embedding take 16 kHz.
"""

from __future__ import annotations

import re

from ...core.recipe import ModelSpec

_RATES = ((r"yamnet|vggish|nonsemantic_speech|/trill|/frill|speech_embedding", 16_000),)


def known_rate(spec: ModelSpec) -> int | None:
    """Return the rate in Hz that the module of a ``hub:`` backbone takes, where its handle tells it."""
    scheme, _, handle = spec.backbone.partition(":")
    name = handle.lower().replace("-", "_")
    return next((rate for pattern, rate in _RATES if scheme == "hub" and re.search(pattern, name)), None)

"""Which values the pixels of known Hub models must have. A table, with where each line was read.

Hub's convention is RGB of 0–1 (https://www.tensorflow.org/hub/common_signatures/images#input), which all image models
of google/ and tensorflow/ follow. The exceptions below were read in the models' own pages, as archived at
https://github.com/tensorflow/tfhub.dev (assets/docs/PUBLISHER/…).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...core.recipe import ModelSpec

UNIT = (0.0, 1.0)
SYMMETRIC = (-1.0, 1.0)
BYTES = (0.0, 255.0)
_MODES = {"tf": SYMMETRIC, "inside": BYTES}


@dataclass(frozen=True)
class Pixels:
    """What a model's pixels must be: linearly mapped onto `span`, or the `mode` ``caffe`` or ``torch`` of
    `imagenet_utils.preprocess_input`. `why` says how that is known; it is empty where it is only assumed."""

    span: tuple[float, float] | None
    mode: str = ""
    why: str = ""

    @property
    def name(self) -> str:
        """For people and records: the mode, or the span."""
        return self.mode or "[{:g}, {:g}]".format(*(self.span or UNIT))


@dataclass(frozen=True)
class _HandleRule:
    pattern: str  # of PUBLISHER/MODEL…, in lower case, dashes as underscores
    pixels: Pixels


_PAGES = "the model's page in github.com/tensorflow/tfhub.dev"
HANDLE_RULES = (
    _HandleRule(r"adityakane(2001)?/regnety", Pixels(BYTES, why=_PAGES)),
    _HandleRule(r"sayakpaul/(vit|mixer|bit|distill_bit|mlp_mixer)", Pixels(SYMMETRIC, why=_PAGES)),
    _HandleRule(r"sayakpaul/convnext", Pixels(None, "torch", why=_PAGES)),
    _HandleRule(r"rishit_dagli/(xcit|swin_transformer|tnt)", Pixels(SYMMETRIC, why=_PAGES)),
    _HandleRule(r"bohemian_visual_recognition_alliance/", Pixels(SYMMETRIC, why=_PAGES)),
    _HandleRule(r"deepmind/bigbigan", Pixels(SYMMETRIC, why=_PAGES)),
    _HandleRule(r"(google|tensorflow)/", Pixels(UNIT, why="Hub's convention for images, which its publisher follows")),
)


def pixels_of(spec: ModelSpec, handle: str) -> Pixels:
    """Return what the pixels of a Hub model must be: as the recipe says, else as known of its handle, else 0–1."""
    if spec.value_range is not None:
        return Pixels(spec.value_range, why="the recipe's value_range")
    if spec.preprocessing:
        mode = spec.preprocessing
        why = "the recipe's preprocessing"
        return Pixels(_MODES[mode], why=why) if mode in _MODES else Pixels(None, mode, why=why)
    name = _publisher_and_model(handle)
    for rule in HANDLE_RULES:
        if re.match(rule.pattern, name):
            return rule.pixels
    return Pixels(UNIT)


def _publisher_and_model(handle: str) -> str:
    """Return ``publisher/model…`` of a URL on tfhub.dev or Kaggle; empty for any other handle."""
    url = urlsplit(handle) if "://" in handle else None
    if url is None or not re.fullmatch(r"(www\.)?(tfhub\.dev|kaggle\.com)", url.hostname or ""):
        return ""
    path = url.path.strip("/").lower().replace("-", "_")
    return path.removeprefix("models/")

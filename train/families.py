"""The families of `tf.keras.applications` as a table, without importing them: names, sizes, preprocessing, widths.

A test compares this table with the installed tf-keras. Sources: the builders' own checks in
``tf_keras/src/applications`` (2.21): `obtain_input_shape(min_size=…)`, `preprocess_input`, the accepted `alpha`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from ..core.errors import InputError

Preprocessing = Literal["tf", "caffe", "torch", "inside"]


@dataclass(frozen=True)
class Family:
    """Models that share a module of tf_keras.applications.

    `minimum` is the smallest side in pixels. `preprocessing` is the mode of `imagenet_utils.preprocess_input`, or
    ``inside`` where the Keras model begins with it. `alphas` are the widths with ImageNet weights; a family
    without widths has none.
    """

    module: str
    names: tuple[str, ...]
    preprocessing: Preprocessing
    minimum: int = 32
    alphas: tuple[float, ...] = ()


_REGNET_SIZES = ("002", "004", "006", "008", "016", "032", "040", "064", "080", "120", "160", "320")

FAMILIES = (
    Family("convnext", tuple(f"ConvNeXt{s}" for s in ("Tiny", "Small", "Base", "Large", "XLarge")), "inside"),
    Family("densenet", ("DenseNet121", "DenseNet169", "DenseNet201"), "torch"),
    Family("efficientnet", tuple(f"EfficientNetB{n}" for n in range(8)), "inside"),
    Family("efficientnet_v2", tuple(f"EfficientNetV2{s}" for s in ("B0", "B1", "B2", "B3", "S", "M", "L")), "inside"),
    Family("inception_resnet_v2", ("InceptionResNetV2",), "tf", minimum=75),
    Family("inception_v3", ("InceptionV3",), "tf", minimum=75),
    Family("mobilenet", ("MobileNet",), "tf", alphas=(0.25, 0.5, 0.75, 1.0)),
    Family("mobilenet_v2", ("MobileNetV2",), "tf", alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    Family("mobilenet_v3", ("MobileNetV3Small", "MobileNetV3Large"), "inside", alphas=(0.75, 1.0)),
    Family("nasnet", ("NASNetMobile", "NASNetLarge"), "tf"),
    Family("regnet", tuple(f"RegNet{kind}{size}" for kind in "XY" for size in _REGNET_SIZES), "inside"),
    Family("resnet", ("ResNet50", "ResNet101", "ResNet152"), "caffe"),
    Family("resnet_rs", tuple(f"ResNetRS{n}" for n in (50, 101, 152, 200, 270, 350, 420)), "inside"),
    Family("resnet_v2", ("ResNet50V2", "ResNet101V2", "ResNet152V2"), "tf"),
    Family("vgg16", ("VGG16",), "caffe"),
    Family("vgg19", ("VGG19",), "caffe"),
    Family("xception", ("Xception",), "tf", minimum=71),
)

BY_NAME: Mapping[str, Family] = MappingProxyType({name: family for family in FAMILIES for name in family.names})


def family_of(name: str) -> Family:
    """Return the family of a model of tf.keras.applications. Raises InputError with the nearest names."""
    if name in BY_NAME:
        return BY_NAME[name]
    raise InputError(f"tf.keras.applications has no model {name!r}", did_you_mean(name, BY_NAME))


def did_you_mean(word: str, choices: Mapping[str, object] | tuple[str, ...]) -> str:
    """Return a hint with the closest of `choices`, if one is close, and all of them."""
    by_lower = {name.lower(): name for name in choices}
    close = get_close_matches(word.lower(), by_lower, n=1)
    hint = f"did you mean {by_lower[close[0]]!r}? " if close else ""
    return f"{hint}Known: {', '.join(choices)}"

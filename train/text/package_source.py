"""``package:NAME`` for texts: the multilingual sentence encoder, with weights from an installed package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load
from ..families import did_you_mean
from ..hub.module import check_text_installed
from ..source import check_keys, name_of
from . import multilingual
from .base import Cut, IdsInput, TextBase, TextRequest
from .hubs import layer_of
from .vocabulary import write_tokenizer

_KEYS = frozenset({"name", "backbone", "max_tokens", "trainable"})


class TextPackages:
    """A source of backbones: see `source.BackboneSource`."""

    packages = ("tensorflow-hub", "tensorflow-text")

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check the name, keys, the extra ``text`` and the package's verified files (33 MB)."""
        _check_name(spec)
        check_keys(spec, _KEYS)
        check_text_installed()
        for file in multilingual.SHA256:
            multilingual.package_file(file)

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The recipe's settings, and the hashes of the verified files."""
        _check_name(spec)
        for file in multilingual.SHA256:
            multilingual.package_file(file)
        chosen = {key: getattr(spec, key) for key in sorted(_KEYS - {"name"})}
        return {**chosen, "weights": multilingual.SHA256, "format": multilingual.FORMAT}

    def build(self, spec: ModelSpec, request: TextRequest) -> TextBase:
        """Load it; its Hub SavedModel is built first if the cache has none."""
        _check_name(spec)
        return _build(spec, scratch=request.scratch)


def _check_name(spec: ModelSpec) -> None:
    if name_of(spec) != multilingual.NAME:
        raise InputError(
            f"there is no text backbone {shorten(spec.backbone)!r}",
            did_you_mean(spec.backbone, (f"package:{multilingual.NAME}",)),
        )


def _build(spec: ModelSpec, *, scratch: Path) -> TextBase:
    tf, _ = load()
    path = multilingual.saved_model()
    layer = layer_of(str(path), trainable=spec.trainable, arguments={"max_tokens": spec.max_tokens})
    root = layer.resolved_object
    folder = scratch / "tokenizer"
    settings = {"kind": "sentencepiece", "length": spec.max_tokens, "pad": 0, "unknown": 0,
                "start": multilingual.START, "end": multilingual.END}  # fmt: skip
    write_tokenizer(folder, settings, model=multilingual.package_file(multilingual.PIECES).read_bytes())
    return TextBase(
        features=multilingual.FEATURES,
        embed=lambda texts, training: layer(texts, training=training),
        keep=[root],
        learned=list(layer.trainable_variables),
        losses=lambda: layer.losses,
        cut=Cut(
            folder,
            (IdsInput(spec.max_tokens),),
            lambda texts: root.tokenize(texts, tf.constant(spec.max_tokens)),
            lambda tensors, training: multilingual.encode(root.weights, *tensors),
        ),
        facts={"built_from": f"{multilingual.DISTRIBUTION} {multilingual.VERSION}"},
    )

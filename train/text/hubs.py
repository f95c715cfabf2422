"""Hub text encoders behind `hub.KerasLayer`: those that take strings, and pairs of a preprocessor and an encoder.

https://www.tensorflow.org/hub/common_saved_model_apis/text defines their interface. A pair is cut between its two
models: the encoder's three inputs can be computed from ids and their number. An encoder of strings is divided where its
strings end (`divide`), for any network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InputError
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.saved_model import read
from ...frameworks.security import check_security
from ...frameworks.tensorflow import load
from ...frameworks.tf1 import without_references
from ..hub.fetch import already_here, identify, resolve
from ..hub.handles import check_recipe_handle
from ..hub.module import check_text_installed, load_hub
from ..source import check_keys, name_of
from .base import Cut, IdsInput, TextBase, TextRequest
from .divide import divide, inputs_of
from .frontier import NoFrontier
from .tokenizer_recovery import TokenizerNotFound, find_tokenizer, tokenizer_of, write_string_part

IDS, MASK, TYPES = "input_word_ids", "input_mask", "input_type_ids"
SIGNATURE_V2 = "serving_default"
SAMPLES = 64  # texts on which a cut is verified
_KEYS = frozenset(
    {"name", "backbone", "max_tokens", "sha256", "tags", "signature", "output", "arguments", "preprocessor",
     "trainable", "trust"}
)  # fmt: skip
POOLED = ("pooled_output", "default")


class HubEncoders:
    """``hub:HANDLE`` for texts: a source of backbones, see `source.BackboneSource`."""

    packages = ("tensorflow-hub", "tensorflow-text")

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check keys, the extra ``text`` and both handles.

        A local model must be a SavedModel that only computes and has the requested signature.
        """
        where = f"model {spec.name!r}"
        check_keys(spec, _KEYS)
        check_text_installed()
        handle = name_of(spec)
        check_recipe_handle(handle, spec.sha256, folder, where)
        if (local := already_here(handle, spec.sha256, folder)) is not None:
            check_encoder(spec, local)
        if spec.preprocessor:
            handle, where = handle_of(spec.preprocessor), f"{where}: preprocessor"
            check_recipe_handle(handle, "", folder, where)
            if (local := already_here(handle, "", folder)) is not None:
                check_security(local, trust=spec.trust, where=where)

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The recipe's settings, and the identities of both handles."""
        decides: dict[str, Any] = {
            key: getattr(spec, key) for key in sorted(_KEYS - {"name", "sha256", "preprocessor"})
        }
        decides["encoder"] = identify(name_of(spec), spec.sha256, folder)
        if spec.preprocessor:
            decides["preprocessor"] = identify(handle_of(spec.preprocessor), "", folder)
        return decides

    def build(self, spec: ModelSpec, request: TextRequest) -> TextBase:
        """Load the encoder, and cut it at its token ids if the cut is correct on real texts."""
        where, scratch = f"model {spec.name!r}", request.scratch
        texts, listener = request.samples(SAMPLES), request.listener
        encoder = resolve(name_of(spec), sha256=spec.sha256, folder=request.folder, listener=listener)
        if not spec.preprocessor:
            return _strings(spec, encoder, texts, where=where, scratch=scratch)
        handle = handle_of(spec.preprocessor)
        preprocessor = resolve(handle, sha256="", folder=request.folder, listener=listener)
        check_security(preprocessor, trust=spec.trust, where=f"{where}: preprocessor")
        return _pair(spec, encoder, preprocessor, texts, where=where, scratch=scratch)


def handle_of(preprocessor: str) -> str:
    """Return the Hub handle that the key `preprocessor` names, with or without ``hub:`` before it."""
    return preprocessor.removeprefix("hub:")


def check_encoder(spec: ModelSpec, path: Path) -> str:
    """Check, without TensorFlow, the encoder's SavedModel at `path`; return the signature to use, or "".

    An empty signature means that the model itself is called, or (in the TF1 Hub format) its default. Raises InputError
    when the graph may do more than compute, lacks the signature, or cannot be fine-tuned although `trainable` is set.
    """
    where = f"model {spec.name!r}"
    check_security(path, trust=spec.trust, where=where)
    saved = read(path, spec.tags)
    signature = spec.signature
    if not signature and not saved.callable and not saved.hub_v1:
        signature = SIGNATURE_V2
    if signature and signature not in saved.signatures:
        raise InputError(
            f"{where}: the SavedModel {path} has no signature {shorten(signature)!r}",
            f"set signature to one of: {', '.join(map(repr, sorted(saved.signatures)))}"
            if saved.signatures
            else "give a SavedModel that can be called, or one with a signature",
        )
    if spec.trainable and (signature or saved.hub_v1 or "trainable_variables" not in saved.main.children):
        what = f"signature {signature!r} cannot" if signature else "the SavedModel has no variables that can"
        what = "a model in the TF1 Hub format cannot" if saved.hub_v1 else what
        raise InputError(f"{where}: {what} be fine-tuned", "set trainable = false")
    return signature


def layer_of(handle: Any, **arguments: Any) -> Any:
    """Return a `hub.KerasLayer`; the operators of tensorflow_text are registered before it loads anything."""
    hub = load_hub()
    import tensorflow_text  # noqa: F401

    return hub.KerasLayer(handle, **arguments)


def _load(spec: ModelSpec, path: Path, where: str, scratch: Path) -> Any:
    """Load the encoder. A signature returns a dictionary; `_pick` selects from it."""
    signature = check_encoder(spec, path)
    options: dict[str, Any] = {"trainable": spec.trainable, "arguments": dict(spec.arguments)}
    if signature:
        options |= {"signature": signature, "signature_outputs_as_dict": True}
    graph = read(path, spec.tags).main
    options["tags"] = sorted(graph.tags)
    plain = without_references(path, graph, scratch / "constant")
    try:
        return layer_of(str(plain), **options)
    except Exception as error:  # TensorFlow may raise any exception on an external file
        raise InputError(
            f"{where}: the SavedModel {path} cannot be loaded: {shorten(str(error), 300)}",
            "set signature to one of the model's, if it is not callable by itself",
        ) from error


def _pick(spec: ModelSpec, result: Any, where: str, *, fallback: Sequence[str] = POOLED) -> Any:
    """Return the (n, width) float features among an encoder's outputs."""
    tf, _ = load()
    outputs = dict(result) if isinstance(result, dict) else {"": result}
    if spec.output and list(outputs) == [""]:
        raise InputError(f"{where}: the encoder has one output without a name, not {spec.output!r}", "remove output")
    names = (spec.output,) if spec.output else ("", *fallback)
    name = next((n for n in names if n in outputs), None)
    if name is None and not spec.output and len(outputs) == 1:
        name = next(iter(outputs))
    if name is None:
        raise InputError(
            f"{where}: the encoder has no output {spec.output!r}" if spec.output
            else f"{where}: the encoder has several outputs",
            f"set output to one of: {', '.join(sorted(outputs))}",
        )  # fmt: skip
    features = outputs[name]
    if not tf.is_tensor(features) or features.shape.rank != 2 or features.shape[1] is None:
        shape = getattr(features, "shape", type(features).__name__)
        raise InputError(
            f"{where}: the encoder's output {name or 'as it is'} has shape {shape}, expected (texts, width)",
            "set output to the one that returns one vector per text",
        )
    return tf.cast(features, tf.float32)


def _first(spec: ModelSpec, embed: Callable[[Any, bool], Any], texts: Sequence[str], where: str) -> int:
    """Call the encoder once, on real texts, and return the width of its features."""
    tf, _ = load()
    try:
        return int(embed(tf.constant(list(texts)[:2]), False).shape[1])
    except InputError:
        raise
    except Exception as error:
        reason = str(error).split("(type KerasLayer).")[-1].strip()  # Keras puts its own text before the cause
        remedy = "an encoder that has a preprocessor needs preprocessor = 'hub:HANDLE'; one of images does not apply"
        if "unexpected keyword argument" in reason:
            remedy = "remove it from arguments"
        elif re.search(r"Dimensions must be equal|indices|out of (bounds|range)|Incompatible shapes", reason):
            remedy = f"lower max_tokens, now {spec.max_tokens}, to the encoder's maximum length"
        raise InputError(
            f"{where}: {shorten(spec.backbone)} cannot encode texts: {shorten(reason, 300)}", remedy
        ) from error


def _strings(spec: ModelSpec, path: Path, texts: Sequence[str], *, where: str, scratch: Path) -> TextBase:
    layer = _load(spec, path, where, scratch)

    def embed(batch: Any, training: bool) -> Any:
        return _pick(spec, layer(batch, training=training), where)

    width = _first(spec, embed, texts, where)
    common: dict[str, Any] = {
        "features": width,
        "learned": list(layer.trainable_variables) if spec.trainable else [],
        "losses": lambda: layer.losses,
    }
    common["keep"] = [layer.resolved_object]
    folder = scratch / "tokenizer"

    def cut() -> tuple[Cut, dict[str, Any]]:
        divided = divide(lambda batch: embed(batch, False), texts, spec.max_tokens)
        facts: dict[str, Any] = {"padded": divided.padded, "cut_difference": divided.difference}

        def string_part(folder: Path, why: str) -> dict[str, Any]:
            return write_string_part(divided, layer.resolved_object, folder, why)

        try:
            facts |= tokenizer_of(divided, path, texts, folder)
        except TokenizerNotFound as error:
            facts |= string_part(folder, str(error))
        return Cut(
            folder, inputs_of(divided), divided.tokenize, lambda tensors, _: divided.embed(*tensors),
            singly=True, string_part=string_part,
        ), facts  # fmt: skip

    try:
        first, facts = cut()
    except NoFrontier as error:
        return TextBase(embed=embed, note=str(error), **common)
    return TextBase(embed=embed, cut=first, facts=facts, recut=lambda: cut()[0], **common)


def _pair(
    spec: ModelSpec, path: Path, preprocessor: Path, texts: Sequence[str], *, where: str, scratch: Path
) -> TextBase:
    tf, _ = load()
    layer = _load(spec, path, where, scratch)
    pack, length, root = _packer(spec, preprocessor, texts, where)

    def encode(inputs: Any, training: bool) -> Any:
        return _pick(spec, layer(inputs, training=training), where)

    def embed(batch: Any, training: bool) -> Any:
        return encode(pack(batch), training)

    def embed_ids(tensors: Sequence[Any], training: bool) -> Any:
        ids, lens = tensors
        mask = tf.cast(tf.range(ids.shape[1])[None, :] < lens[:, None], tf.int32)
        return encode({IDS: ids, MASK: mask, TYPES: tf.zeros_like(ids)}, training)

    def tokenize(batch: Any) -> tuple[Any, Any]:
        packed = pack(batch)
        return tf.cast(packed[IDS], tf.int32), tf.reduce_sum(tf.cast(packed[MASK], tf.int32), axis=1)

    width = _first(spec, embed, texts, where)
    common: dict[str, Any] = {
        "features": width,
        "embed": embed,
        "keep": [layer.resolved_object, root],
        "learned": list(layer.trainable_variables) if spec.trainable else [],
        "losses": lambda: layer.losses,
    }
    sample = tf.constant(list(texts))
    packed = pack(sample)
    try:
        if set(packed) != {IDS, MASK, TYPES}:
            raise TokenizerNotFound(f"the preprocessor gives {', '.join(sorted(packed))}")
        if np.asarray(packed[TYPES]).any():
            raise TokenizerNotFound("the preprocessor gives type ids other than zero")
        ids, lens = (np.asarray(part) for part in tokenize(sample))
        if not (np.asarray(packed[MASK]) == (np.arange(length) < lens[:, None])).all():
            raise TokenizerNotFound("the preprocessor's mask is not a run of ones")
        facts = find_tokenizer(preprocessor, list(texts), ids, lens, scratch / "tokenizer")
    except TokenizerNotFound as error:
        return TextBase(note=f"its preprocessor could not be rebuilt: {error}", **common)
    return TextBase(cut=Cut(scratch / "tokenizer", (IdsInput(length),), tokenize, embed_ids), facts=facts, **common)


def _packer(spec: ModelSpec, path: Path, texts: Sequence[str], where: str) -> tuple[Callable[[Any], Any], int, Any]:
    """Return the function from texts to the encoder's inputs, the number of ids of a text, and the preprocessor.

    Preprocessors with ``tokenize`` and ``bert_pack_inputs`` use spec.max_tokens; others have a fixed length.
    """
    tf, _ = load()
    sample = tf.constant(list(texts)[:2])
    try:
        layer = layer_of(str(path))
        root = layer.resolved_object
        if hasattr(root, "tokenize") and hasattr(root, "bert_pack_inputs"):
            tokens = layer_of(root.tokenize)
            packed = layer_of(root.bert_pack_inputs, arguments={"seq_length": tf.constant(spec.max_tokens)})

            def pack(batch: Any) -> Any:
                return dict(packed([tokens(batch)]))

        else:

            def pack(batch: Any) -> Any:
                return dict(layer(batch))

        if not isinstance(layer(sample), dict):
            raise InputError(
                f"{where}: the preprocessor {path} gives vectors, not token ids", "it is an encoder itself"
            )
        length = int(np.asarray(pack(sample)[IDS]).shape[1])
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{where}: the preprocessor {path} cannot be used: {shorten(str(error), 300)}",
            "give the preprocessor that the encoder's page names",
        ) from error
    return pack, length, root

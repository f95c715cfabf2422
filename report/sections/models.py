"""The models: how each was made, its input, labels, tokenizer and training curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.formatting import percent, seconds
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..section import Section
from ..training_curve import curve
from .data import flat, scalar
from .model_comparison import origin

LABELS_SHOWN = 40
EXAMPLES_SHOWN = 8
RESIZE = {
    "stretch": "both sides scaled",
    "crop": "shorter side scaled, centre cut out",
    "pad": "longer side scaled, black borders",
}


@dataclass(frozen=True)
class TokenizerCard:
    """What turns texts into a model's ids. `mismatches` are (text, the reference's ids, the device's ids)."""

    facts: tuple[tuple[str, str], ...]
    same: bool
    mismatches: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class ModelCard:
    """One fine-tuned model. `settings` are how it was made; `history` is what the training curve is drawn from."""

    name: str
    facts: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    labels_more: int
    history: tuple[Mapping[str, Any], ...]
    tokenizer: TokenizerCard | None


def models(content: Content) -> list[ModelCard]:
    """Return a card per model; keys that a run lacks are left out."""
    return [_model(m, content) for m in content.results.models]


def _labelled(key: str, value: str) -> str:
    """Return a figure of the training with its label; counts and settings are no figures and need none."""
    figure = any(word in key.lower() for word in ("loss", "accuracy", "seconds", "difference"))
    return f"{value} (measured)" if figure else value


def _model(model: Mapping[str, Any], content: Content) -> ModelCard:
    labels = [shorten(str(label), 40) or "(empty)" for label in model.get("labels") or []]
    history = tuple(row for row in model.get("history") or [] if isinstance(row, Mapping))
    facts: list[tuple[str, str]] = []
    if model.get("status", "ok") != "ok":
        facts.append(("Status", shorten(f"{model['status']}: {model.get('reason', '')}", REASON_LIMIT)))
    if model.get("backbone"):
        where = origin(str(model["backbone"]))
        facts.append(("Backbone", shorten(str(model["backbone"]), 120) + (f" ({where})" if where else "")))
    if isinstance(model.get("accuracy"), int | float):
        samples = f"{model.get('samples') or 0:,} samples"
        words = f"{percent(model['accuracy'])} of {samples} (measured)"
        facts.append((f"{content.metric.title} on {content.tested_on}", words))
    if isinstance(model.get("train_seconds"), int | float):
        epochs = f" for {len(history)} epochs" if history else ""
        facts.append(("Training", f"{seconds(model['train_seconds'])}{epochs} (measured)"))
    if isinstance(contract := model.get("input"), Mapping) and contract:
        facts.append(("Input", _contract(contract)))
    tokenizer = model.get("tokenizer")
    if isinstance(tokenizer, Mapping):
        facts.append(("Reference", "the same network behind its original tokenizer; takes the text, (1,) string"))
    facts += _outputs(model, content)
    if not labels and model.get("status", "ok") == "ok":
        facts.append(("Classes", "not known: its files are compared with their float model, by agreement"))
    provenance = dict(model.get("provenance") or {})
    trusted = _is_trusted(provenance)
    if isinstance(provenance.get("model"), Mapping):
        provenance["model"] = _asked(provenance["model"])
    if why := provenance.pop("uncut", ""):
        facts.append(("Takes strings", shorten(f"it could not be cut at its token ids: {why}", REASON_LIMIT)))
    if trusted:
        facts.append(("Trusted", "the file contains code, which was run because the user allowed it (trust)"))
    facts += [(f"In training: {key.lower()}", f"{value} (measured)") for key, value in flat(model.get("metrics") or {})]
    settings = [
        (key, f"{value} (measured)" if key.lower().startswith(("seconds", "freeze")) else value)
        for key, value in flat(provenance)
    ]
    shown = tuple(labels[:LABELS_SHOWN])
    return ModelCard(
        shorten(str(model.get("name", "")), NAME_LIMIT),
        tuple(facts),
        tuple(settings),
        shown,
        len(labels) - len(shown),
        history,
        _tokenizer(tokenizer) if isinstance(tokenizer, Mapping) else None,
    )


def _asked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's settings of a model that differ from the defaults, without name and backbone."""
    defaults = {name: entry.get_default() for name, entry in ModelSpec.model_fields.items()}
    shown_elsewhere = {"name", "backbone", "trust"}
    return {k: v for k, v in spec.items() if k not in shown_elsewhere and (k not in defaults or v != defaults[k])}


def _is_trusted(provenance: Mapping[str, Any]) -> bool:
    """Whether a file was allowed to run code that it brings."""
    places = [provenance, *(provenance.get(key) for key in ("model", "source"))]
    return any(place.get(k) is True for place in places if isinstance(place, Mapping) for k in ("trust", "trusted"))


def _outputs(model: Mapping[str, Any], content: Content) -> list[tuple[str, str]]:
    """Return the outputs of a model that has several, with the one that is judged."""
    exported = [a for a in content.results.artifacts if a.model == model.get("name") and len(a.outputs) > 1]
    if not exported:
        return []
    answer = exported[0].answer or exported[0].outputs[0].name
    named = [
        f"{shorten(s.name)} {s.dtype} {' × '.join(map(str, s.shape))}{' (judged)' if s.name == answer else ''}"
        for s in exported[0].outputs
    ]
    return [("Outputs", shorten("; ".join(named), REASON_LIMIT))]


def _tokenizer(record: Mapping[str, Any]) -> TokenizerCard:
    """Return what is known of a tokenizer and of how often it gives the reference's ids."""
    kind, length = shorten(str(record.get("kind", "")), 40), record.get("length")
    stored = record.get("parity")
    parity: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    samples, same, cut = (parity.get(key) for key in ("samples", "same", "truncated"))
    vocabulary = (
        "sentencepiece.model" if kind == "sentencepiece" else "vocabularies" if kind == "words" else "vocab.txt"
    )
    facts = [("Kind", kind), ("Length", f"{scalar(length)} token ids; longer texts are cut, shorter ones padded")]
    files = f"tokenizer.json, {vocabulary}; tokenizer.py reads them and needs no TensorFlow"
    if kind == "tensorflow":
        files = (
            "string_part: the model's own operators. No tokenizer for devices gives its ids: every figure here was "
            "measured with ids that TensorFlow made, and an app has to compute them itself"
        )
    facts.append(("Files", files))
    facts.append(
        ("Golden vectors", "golden.json: texts, their ids and the float model's probabilities, to test an app")
    )
    is_counted = isinstance(samples, int) and isinstance(same, int)
    if is_counted:
        facts.append(("Parity", f"{same:,} of {samples:,} test texts give the same ids as in the reference (measured)"))
    if isinstance(cut, int):
        facts.append(("Truncated", f"{cut:,} test texts are longer than {scalar(length)} tokens"))
    if record.get("sha256"):
        facts.append(("SHA-256", shorten(str(record["sha256"]), 80)))
    examples = parity.get("examples")
    mismatches = tuple(
        (_shown(e.get("text", ""), 160), _ids(e.get("reference")), _ids(e.get("device")))
        for e in (examples if isinstance(examples, list) else [])[:EXAMPLES_SHOWN]
        if isinstance(e, Mapping)
    )
    return TokenizerCard(tuple(facts), not is_counted or same == samples, mismatches)


def _shown(text: Any, limit: int) -> str:
    """Return a text from the data on one line; one of nothing but spaces says so."""
    return shorten(str(text), limit) if str(text).strip() else f"({len(str(text))} blank characters)"


def _ids(ids: Any) -> str:
    if isinstance(ids, list | tuple):
        return shorten(" ".join(str(i) for i in ids), 200) or "none"
    return shorten(str(ids), 200)


def _contract(contract: Mapping[str, Any]) -> str:
    shape = " × ".join(str(n) for n in contract.get("shape") or [])
    name = f"{contract.get('name', 'input')}, {contract.get('dtype', 'float32')} {shape}".strip()
    kind = contract.get("kind", "image")
    if kind == "text" and contract.get("dtype") == "string":
        parts = [name, "takes the text itself: the tokenizer is inside the file"]
    elif kind == "text":
        lengths = contract.get("lengths")
        parts = [
            f"takes token ids ({name}) padded behind"
            + (f", and how many are real ({lengths}, int32 1)" if lengths else ""),
            f"ids from {contract.get('low', 0):g} to {contract.get('high', 0):.0f}",
            "the tokenizer makes both",
        ]
    elif kind == "tensor":
        parts = [name, "values as the model takes them: nothing is scaled or resized"]
    else:
        parts = [
            name,
            f"{contract.get('colour', 'RGB')} values from {contract.get('low', 0):g} to {contract.get('high', 255):g}",
            f"pictures of other sizes: {RESIZE.get(str(contract.get('resize')), contract.get('resize'))}",
            "preprocessing is inside the file",
        ]
    return shorten("; ".join(parts), 300)


def _build(content: Content) -> dict[str, Any] | None:
    cards = models(content)
    drawn = [(card, curve(card.history, f"training{i}")) for i, card in enumerate(cards)]
    return {"cards": drawn} if cards else None


SECTION = Section("models", "Models", _build, "models.html.j2")

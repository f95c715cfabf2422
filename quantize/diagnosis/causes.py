"""From figures to suspicions: what is probably wrong with a quantized file, in words, and what to do.

The order of guilt is measured, not guessed: each tensor's own error was put alone into the float model, and what came
of it at the answer is its share of the damage. The rules below only say *why* a guilty tensor does badly. Their limits
are in `LIMITS`, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ...core.diagnosis import Cause, Suspicion, TensorError
from ...core.remedies import Origin, Remedy
from ...core.variant import find_scheme

Row = dict[str, Any]

LIMITS = {
    # Answers this near the float model's (error below a tenth, or a fortieth, of the answer) explain no loss.
    "near_db": 20.0,
    "very_near_db": 28.0,
    "agreement": 0.97,
    # Training moves weights; its file is another model, which is right on other samples.
    "agreement_trained": 0.85,
    # A tensor with less than this share of the damage is not named; with this much it is a culprit of its own.
    "share": 0.08,
    # A channel 16 times the median one costs the others 4 of 8 bits.
    "channel_ratio": 16.0,
    # Weights of kernels differ more by nature, and rounding them hurts less.
    "weight_ratio": 8.0,
    # More than half of a tensor's own error is cut-off values, not rounding.
    "clipping": 0.5,
    # Values outside of the range: calibration on enough samples leaves fewer than 1 in 10,000.
    "saturated": 2e-3,
    # On so many of the tensors, and doing so much of the damage, it is not one tensor's fault.
    "saturated_tensors": 0.25,
    "saturated_damage": 0.3,
    # A table that is looked up gets the range of what calibration looked up; kernels are never cut off.
    "saturated_weights": 0.01,
    # Less than a sixth of the range costs 2.6 bits.
    "range_use": 0.16,
    # A weight's own rounding: int8 per channel is at 40 dB and more, int4 at 18 dB.
    "weight_db": 30.0,
}
# Input ranges that models are trained with, and a span that is far from every other reason.
_CONVENTIONS = {"0 to 1": (0.0, 1.0), "-1 to 1": (-1.0, 1.0), "0 to 255": (0.0, 255.0)}
_FAR = 8.0
# Their int8 scale is fixed by TFLite's quantization spec, whatever the calibration saw.
_FIXED = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION")
# Fewer samples say nothing about an agreement of 97 %.
_COUNTED = 30


@dataclass(frozen=True)
class _File:
    """What the remedies depend on."""

    scheme: str
    origin: Origin


def judge(
    result: dict[str, Any], scheme: str, origin: Origin = ""
) -> tuple[tuple[TensorError, ...], tuple[Suspicion, ...]]:
    """Return the ranked tensors and the ranked suspicions from what the comparing process found.

    `scheme` and `origin` are the artifact's; they choose the remedies. A file of a model that was trained further
    differs from the float model by its training as well: it is only suspected where its answers are often others.
    """
    rows: list[Row] = result["rows"]
    file = _File(scheme, origin)
    suspicions: list[Suspicion] = []
    causes: dict[int, tuple[Cause, str]] = {}
    inputs = [row for row in rows if row["kind"] == "input"]
    mismatch = next((found for row in inputs if (found := _preprocessing(row))), None)
    if mismatch is not None:
        row, why, remedy = mismatch
        suspicions.append(Suspicion("preprocessing", why, remedy, (row["name"],)))
        causes[id(row)] = ("preprocessing", why)
    if (broken := next((row for row in rows if row.get("not_finite")), None)) is not None:
        why = f"{_place(broken)} gives NaN or infinity: everything after it is lost"
        suspicions.append(Suspicion("sensitive-layer", why, _remedy("sensitive-layer", file), (broken["name"],)))
        causes[id(broken)] = ("sensitive-layer", why)
    for row in rows:
        if row["kind"] == "weight" and (row.get("saturated") or 0) > LIMITS["saturated_weights"]:
            why = f"of {_place(row)} {_saturation_words(row)}: no calibration sample used the others"
            suspicions.append(Suspicion("calibration", why, _remedy("calibration", file), (row["name"],)))
            causes[id(row)] = ("calibration", _saturation_words(row))
    if _lossy(result, bool(_training(scheme))):
        if mismatch is None and (unseen := _calibration(rows)):
            why, tensors = unseen
            names = tuple(row["name"] for row in tensors)
            suspicions.append(Suspicion("calibration", why, _remedy("calibration", file), names))
            causes |= {id(row): ("calibration", _saturation_words(row)) for row in tensors}
        suspicions += _culprits(rows, file, causes, blamed=bool(suspicions))
        if not suspicions:
            suspicions += _spread(rows, file, causes)
    elif (
        result["agreement"] is not None and result["samples"] >= _COUNTED and result["agreement"] < LIMITS["agreement"]
    ):
        suspicions += _last(rows, file, causes)
    ranked = sorted(rows, key=lambda row: _guilt(row, causes))
    return tuple(_tensor(row, *causes.get(id(row), ("", ""))) for row in ranked), tuple(suspicions)


def _training(scheme: str) -> str:
    """Return what the float model went through before it was converted; empty where nothing, or not known."""
    row = find_scheme(scheme)
    return row.training if row else ""


def _lossy(result: dict[str, Any], trained: bool) -> bool:
    """Whether the answers are so far from the float model's that there is something to explain."""
    snr, agreement = result["answer_snr_db"], result["agreement"]
    if trained:
        return agreement is not None and bool(agreement < LIMITS["agreement_trained"])
    if snr is None:
        return True
    unlike = agreement is not None and result["samples"] >= _COUNTED and agreement < LIMITS["agreement"]
    return bool(snr < LIMITS["near_db"] or (unlike and snr < LIMITS["very_near_db"]))


# --- causes of the whole ------------------------------------------------------------------------------------------


def _preprocessing(row: Row) -> tuple[Row, str, str] | None:
    """Compare the values fed with what the input was calibrated to hold."""
    figures = [row.get(key) for key in ("low", "high", "float_low", "float_high")]
    if any(figure is None for figure in figures):
        return None
    low, high, fed_low, fed_high = (float(figure) for figure in figures if figure is not None)
    if not high > low:
        return None
    span, fed = high - low, fed_high - fed_low
    ours, theirs = _convention(low, high), _convention(fed_low, fed_high)
    named = bool(ours and theirs and ours != theirs)
    far = fed > 0 and (fed > _FAR * span or fed < span / _FAR)
    if not named and not far:
        return None
    words = f"the samples fed hold {fed_low:.4g} to {fed_high:.4g}, the file's input {low:.4g} to {high:.4g}"
    if row["saturated"] and row["saturated"] > LIMITS["saturated"]:
        words += f": {row['saturated']:.0%} of the values are cut off"
    else:
        words += f": {row['range_use']:.1%} of its range is used, {max(1, round(fed / span * 255))} of 255 steps"
    convention = ours or f"{low:.3g} to {high:.3g}"
    remedy = (
        f"feed what the file was calibrated with ({convention}), or calibrate it with samples as the app feeds them; "
        "pictures of 0–255 and of 0–1 are the usual mix-up (export's --value-range says which the model takes)"
    )
    return row, words, remedy


def _convention(low: float, high: float) -> str:
    for name, (first, last) in _CONVENTIONS.items():
        slack = 0.03 * (last - first)
        if abs(low - first) <= slack and abs(high - last) <= slack:
            return name
    return ""


def _calibration(rows: Sequence[Row]) -> tuple[str, list[Row]] | None:
    """Ranges that the samples exceed on many tensors: the calibration has not seen what the samples hold."""
    ranged = [
        row
        for row in rows
        if row["kind"] != "weight" and row.get("saturated") is not None and row["operator"] not in _FIXED
    ]
    beyond = [row for row in ranged if row["saturated"] > LIMITS["saturated"]]
    if len(beyond) < max(3, LIMITS["saturated_tensors"] * len(ranged)):
        return None
    damage = sum((row.get("share") or 0) * (row.get("clipping_share") or 0) for row in beyond)
    if damage < LIMITS["saturated_damage"]:
        return None
    beyond.sort(key=lambda row: -(row.get("share") or 0) * (row.get("clipping_share") or 0))
    worst = max(beyond, key=lambda row: row["saturated"])
    why = (
        f"on {len(beyond)} of {len(ranged)} tensors the samples exceed the calibrated range (at {_place(worst)} "
        f"{_percent(worst['saturated'])} of the values); what is cut off there does {damage:.0%} of the damage"
    )
    return why, beyond


def _culprits(rows: Sequence[Row], file: _File, causes: dict[int, tuple[Cause, str]], blamed: bool) -> list[Suspicion]:
    """Name each tensor that alone does much of the damage, with the reason; the guiltiest first."""
    found: list[tuple[float, Suspicion]] = []
    for row in sorted(rows, key=lambda row: -(row.get("share") or 0)):
        share = row.get("share") or 0.0
        if share < LIMITS["share"]:
            break
        cause, words = _reason(row, file.scheme)
        if id(row) in causes or (blamed and cause in ("saturation", "sensitive-layer")):
            continue
        why = f"{_place(row)} alone does {share:.0%} of the damage: {words}"
        causes[id(row)] = (cause, words)
        found.append((share, Suspicion(cause, why, _remedy(cause, file), (row["name"],))))
    return [suspicion for _, suspicion in _merged(found)]


def _merged(found: list[tuple[float, Suspicion]]) -> list[tuple[float, Suspicion]]:
    """Join suspicions that say the same of the same operator's weights and result."""
    kept: dict[tuple[str, str], tuple[float, Suspicion]] = {}
    for share, suspicion in found:
        key = (suspicion.cause, suspicion.tensors[0])
        if key in kept:
            before, first = kept[key]
            joined = tuple(dict.fromkeys((*first.tensors, *suspicion.tensors)))
            kept[key] = (before + share, replace(first, tensors=joined))
        else:
            kept[key] = (share, suspicion)
    return sorted(kept.values(), key=lambda pair: -pair[0])


def _reason(row: Row, scheme: str) -> tuple[Cause, str]:
    """Say why a tensor does badly, from its own figures."""
    ratio = row.get("channel_ratio") or 1.0
    if row["kind"] == "weight":
        if row.get("scales") == 1 and ratio >= LIMITS["weight_ratio"]:
            return "outlier-channel", (
                f"its weights share one scale, and channel {row['channel']} reaches {ratio:.0f} times as far as the "
                f"median channel, whose weights keep {_db(row.get('channel_snr_db'))}"
            )
        if _training(scheme):
            return "sensitive-layer", f"training and rounding changed its weights ({_db(row.get('snr_db'))})"
        if (row.get("snr_db") or 0) < LIMITS["weight_db"]:
            return "weights", f"its {row['dtype']} weights keep only {_db(row.get('snr_db'))} of the float ones"
        return "sensitive-layer", (
            f"its weights are rounded as well as {row['dtype']} can ({_db(row.get('snr_db'))}), but the layers after "
            "it make much of small errors"
        )
    if (row.get("clipping_share") or 0) > LIMITS["clipping"] and (row.get("saturated") or 0) > 0:
        return "saturation", _saturation_words(row)
    channel_db, own = row.get("channel_snr_db"), row.get("own_snr_db")
    if row["operator"] in _FIXED and row.get("step") and row["dtype"] in ("int8", "uint8"):
        return "sensitive-layer", (
            f"int8 stores what {row['operator']} gives in fixed steps of {row['step']:.3g}, and its values lie between "
            f"{row['float_low']:.3g} and {row['float_high']:.3g}"
        )
    if ratio >= LIMITS["channel_ratio"] and (channel_db is None or own is None or channel_db < own - 3):
        return "outlier-channel", (
            f"channel {row['channel']} reaches {ratio:.0f} times as far as the median channel, and one scale holds "
            f"both: the median channel keeps {_db(channel_db)}"
        )
    if row.get("range_use") is not None and row["range_use"] < LIMITS["range_use"]:
        return "unused-range", (
            f"the samples use {row['range_use']:.1%} of its range ({row['low']:.4g} to {row['high']:.4g}, "
            f"the values {row['float_low']:.4g} to {row['float_high']:.4g})"
        )
    words = f"{row['operator']} keeps {_db(own)} of what a float operator makes of the same inputs"
    if row.get("step") and row.get("typical"):
        words += f"; the step of its scale is {row['step']:.3g}, a typical value {row['typical']:.3g}"
    return "sensitive-layer", words


def _spread(rows: Sequence[Row], file: _File, causes: dict[int, tuple[Cause, str]]) -> list[Suspicion]:
    """No tensor stands out: name those that together do half of the damage."""
    worst, done = [], 0.0
    for row in sorted(rows, key=lambda row: -(row.get("share") or 0)):
        if done > 0.499 or not row.get("share"):
            break
        worst.append(row)
        done += row["share"]
    if not worst:
        return []
    kinds = {row["operator"] for row in worst}
    why = (
        f"no tensor stands out: {len(worst)} of {len(rows)} together do half of the damage, the worst of them "
        f"({_place(worst[0])}) {worst[0]['share']:.0%}; their operators are {', '.join(sorted(kinds))}"
    )
    causes |= {id(row): ("sensitive-layer", _reason(row, file.scheme)[1]) for row in worst}
    names = tuple(row["name"] for row in worst)
    return [Suspicion("sensitive-layer", why, _remedy("everywhere", file), names)]


def _last(rows: Sequence[Row], file: _File, causes: dict[int, tuple[Cause, str]]) -> list[Suspicion]:
    """The answer before the last step is right, and the classes differ: the last step loses it."""
    results = [row for row in rows if row["kind"] == "activation" and row.get("share") is None]
    behind = [row for row in results if row.get("own_snr_db") is not None]
    if not behind:
        return []
    row = min(behind, key=lambda row: row["own_snr_db"])
    kept = _db(row["own_snr_db"])
    why = f"{_place(row)} loses what the layers before it kept: its {row['dtype']} answers keep {kept}"
    causes[id(row)] = ("sensitive-layer", why)
    return [Suspicion("sensitive-layer", why, _remedy("sensitive-layer", file), (row["name"],))]


_REMEDIES: dict[str, Remedy] = {
    "outlier-channel": Remedy(
        ("tflite:int8-mixed", "tflite:int16x8", "tflite:qat-int8"),
        also=(
            "use per-channel weights",
            "scale the channel down where it is made and up where it is read (cross-layer equalization)",
        ),
    ),
    "saturation": Remedy(
        ("tflite:int8-mixed", "tflite:int16x8"), also=("calibrate with samples that reach such values",)
    ),
    "calibration": Remedy(
        also=(
            "calibrate with samples from the same source as those it will see, and more of them "
            "(export.calibration.samples; `edgeproof export --calibrate SOURCE --samples N`)",
        )
    ),
    "sensitive-layer": Remedy(("tflite:int8-mixed", "tflite:int16x8", "tflite:qat-int8")),
    "unused-range": Remedy(also=("look for single extreme samples in the calibration data, and leave them out",)),
    "weights": Remedy(("tflite:weight-int8", "tflite:dynamic", "tflite:int4-block32")),
    "everywhere": Remedy(("tflite:qat-int8", "tflite:int16x8", "tflite:dynamic")),
}
_TRAINED = Remedy(("tflite:int16x8",), also=("train longer with the quantization (quantize.qat.frozen_epochs)",))


def _remedy(cause: str, file: _File) -> str:
    if _training(file.scheme) == "qat" and cause in ("everywhere", "sensitive-layer", "outlier-channel"):
        return _TRAINED.words(file.origin)
    known = _REMEDIES.get(cause, _REMEDIES["sensitive-layer"])
    return known.words(file.origin, without=f"tflite:{file.scheme}")


# --- words and rows -----------------------------------------------------------------------------------------------


def _place(row: Row) -> str:
    what = {"weight": "the weights of ", "input": "the input, ", "activation": ""}[row["kind"]]
    return f"{what}{short_name(row['name'])} ({row['operator']}, operator {row['position']})"


def short_name(name: str) -> str:
    """Return the part of a fused tensor name that says the most: its first, without what the converter appends."""
    parts = [part for part in name.split(";") if part]
    return parts[0] if parts else name


def _saturation_words(row: Row) -> str:
    return (
        f"{_percent(row['saturated'])} of the values lie outside of its range ({row['low']:.4g} to {row['high']:.4g}; "
        f"they reach {row['float_low']:.4g} to {row['float_high']:.4g})"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.3%}"


def _db(value: float | None) -> str:
    return "an unknown part" if value is None else f"{value:.0f} dB"


def _guilt(row: Row, causes: dict[int, tuple[Cause, str]]) -> tuple[int, float, float]:
    """Sort key: what stands out for the whole first, then by share of the damage, then by own error."""
    cause = causes.get(id(row), ("", ""))[0]
    first = 0 if cause == "preprocessing" or row.get("not_finite") else 1
    own = row.get("own_snr_db")
    return first, -(row.get("share") or 0.0), own if own is not None else 1e3


def _tensor(row: Row, cause: Cause, why: str) -> TensorError:
    known = {field.name for field in fields(TensorError)} - {"cause", "why", "shape"}
    figures: dict[str, Any] = {key: value for key, value in row.items() if key in known}
    return TensorError(shape=tuple(row["shape"]), cause=cause, why=why, **figures)


def in_graph_order(tensors: Iterable[TensorError]) -> list[TensorError]:
    """Return tensors as the file runs them: inputs, then each operator's weights before its result."""
    return sorted(tensors, key=lambda t: (t.position, t.kind != "weight", t.name))

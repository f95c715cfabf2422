"""From figures to findings: the probable causes of a quantized file's loss, in words, with remedies.

The ranking is measured: each tensor's own error is put alone into the float model, and the error that it causes in the
answer, as a fraction of the sum over all tensors, is its error share. The rules below only say *why* a tensor with a
large share has a large error. Their limits are in `LIMITS`, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ...core.diagnosis import Cause, Finding, TensorError
from ...core.remedies import Origin, Remedy
from ...core.variant import find_scheme

Row = dict[str, Any]

LIMITS = {
    # Answers with these SNRs (error below a tenth, or a twenty-fifth, of the answer) explain no loss.
    "near_db": 20.0,
    "very_near_db": 28.0,
    "agreement": 0.97,
    # Training changes the weights: its file is another model, which is right on other samples.
    "agreement_trained": 0.85,
    # A tensor with at least this error share is reported on its own.
    "share": 0.08,
    # A channel with 16 times the median range costs the others 4 of 8 bits.
    "channel_ratio": 16.0,
    # The ranges of kernels' channels differ more than those of activations, and rounding a kernel costs less.
    "weight_ratio": 8.0,
    # More than half of a tensor's own error is clipping, not rounding.
    "clipping": 0.5,
    # Values outside of the range: calibration on enough samples leaves fewer than 1 in 10,000.
    "saturated": 2e-3,
    # Clipping on this fraction of the tensors, with this error share in all, has a common cause.
    "saturated_tensors": 0.25,
    "saturated_share": 0.3,
    # A lookup table gets the range of the rows that calibration looked up; kernels are never clipped.
    "saturated_weights": 0.01,
    # Less than a sixth of the range costs 2.6 bits.
    "range_use": 0.16,
    # A weight's own rounding: int8 per channel is at 40 dB and more, int4 at 18 dB.
    "weight_db": 30.0,
}
# Input ranges that models are trained with, and a ratio of spans that nothing but another range explains.
_CONVENTIONS = {"0 to 1": (0.0, 1.0), "-1 to 1": (-1.0, 1.0), "0 to 255": (0.0, 255.0)}
_FAR = 8.0
# The int8 scale of these outputs is fixed by TFLite's quantization spec, whatever the calibration data.
_FIXED = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION")
# With fewer samples an agreement of 97 % cannot be estimated.
_COUNTED = 30


@dataclass(frozen=True)
class _File:
    """What the remedies depend on."""

    scheme: str
    origin: Origin


def find_causes(
    result: dict[str, Any], scheme: str, origin: Origin = ""
) -> tuple[tuple[TensorError, ...], tuple[Finding, ...]]:
    """Return the ranked tensors and the ranked findings from the result of `compare_worker`.

    `scheme` and `origin` are the artifact's; they select the remedies. A file of a model that was trained further
    differs from the float model by its training as well: it has findings only if the agreement is low.
    """
    rows: list[Row] = result["rows"]
    file = _File(scheme, origin)
    findings: list[Finding] = []
    causes: dict[int, tuple[Cause, str]] = {}
    inputs = [row for row in rows if row["kind"] == "input"]
    mismatch = next((check for row in inputs if (check := _preprocessing(row))), None)
    if mismatch is not None:
        row, why, remedy = mismatch
        findings.append(Finding("preprocessing", why, remedy, (row["name"],)))
        causes[id(row)] = ("preprocessing", why)
    if (broken := next((row for row in rows if row.get("not_finite")), None)) is not None:
        why = f"{_place(broken)} gives NaN or infinity: everything after it is undefined"
        findings.append(Finding("sensitive-layer", why, _remedy("sensitive-layer", file), (broken["name"],)))
        causes[id(broken)] = ("sensitive-layer", why)
    for row in rows:
        if row["kind"] == "weight" and (row.get("saturated") or 0) > LIMITS["saturated_weights"]:
            why = f"of {_place(row)} {_saturation_words(row)}: no calibration sample used these values"
            findings.append(Finding("calibration", why, _remedy("calibration", file), (row["name"],)))
            causes[id(row)] = ("calibration", _saturation_words(row))
    if _lossy(result, bool(_training(scheme))):
        if mismatch is None and (clipped := _calibration(rows)):
            why, tensors = clipped
            names = tuple(row["name"] for row in tensors)
            findings.append(Finding("calibration", why, _remedy("calibration", file), names))
            causes |= {id(row): ("calibration", _saturation_words(row)) for row in tensors}
        findings += _main_tensors(rows, file, causes, explained=bool(findings))
        if not findings:
            findings += _distributed(rows, file, causes)
    elif _disagrees(result):
        findings += _last_operator(rows, file, causes)
    ranked = sorted(rows, key=lambda row: _rank(row, causes))
    return tuple(_tensor(row, *causes.get(id(row), ("", ""))) for row in ranked), tuple(findings)


def _training(scheme: str) -> str:
    """Return the kind of further training before the conversion; empty if there was none, or it is not known."""
    row = find_scheme(scheme)
    return row.training if row else ""


def _lossy(result: dict[str, Any], trained: bool) -> bool:
    """Whether the answers differ enough from the float model's to need an explanation."""
    snr, agreement = result["answer_snr_db"], result["agreement"]
    if trained:
        return agreement is not None and bool(agreement < LIMITS["agreement_trained"])
    if snr is None:
        return True
    return bool(snr < LIMITS["near_db"] or (_disagrees(result) and snr < LIMITS["very_near_db"]))


def _disagrees(result: dict[str, Any]) -> bool:
    """Whether enough samples show that the answers often differ from the float model's."""
    agreement, enough = result["agreement"], result["samples"] >= _COUNTED
    return agreement is not None and enough and bool(agreement < LIMITS["agreement"])


# --- causes that concern the whole file -----------------------------------------------------------------------------


def _preprocessing(row: Row) -> tuple[Row, str, str] | None:
    """Compare the range of the samples fed with the calibrated range of the input.

    Returns the row, the finding and the remedy; None if the ranges fit.
    """
    figures = [row.get(key) for key in ("low", "high", "float_low", "float_high")]
    if any(figure is None for figure in figures):
        return None
    low, high, fed_low, fed_high = (float(figure) for figure in figures if figure is not None)
    if not high > low:
        return None
    span, fed = high - low, fed_high - fed_low
    calibrated, supplied = _convention(low, high), _convention(fed_low, fed_high)
    named = bool(calibrated and supplied and calibrated != supplied)
    far = fed > 0 and (fed > _FAR * span or fed < span / _FAR)
    if not named and not far:
        return None
    words = f"the samples fed range from {fed_low:.4g} to {fed_high:.4g}, the file's input from {low:.4g} to {high:.4g}"
    if row["saturated"] and row["saturated"] > LIMITS["saturated"]:
        words += f": {row['saturated']:.0%} of the values are clipped"
    else:
        words += f": {row['range_use']:.1%} of its range is used, {max(1, round(fed / span * 255))} of 255 steps"
    convention = calibrated or f"{low:.3g} to {high:.3g}"
    remedy = (
        f"feed values in the calibrated range ({convention}), or calibrate the file with samples as the app feeds "
        "them; a common error is pixels of 0–1 instead of 0–255 or the reverse (export's --value-range sets the "
        "range that the model takes)"
    )
    return row, words, remedy


def _convention(low: float, high: float) -> str:
    for name, (first, last) in _CONVENTIONS.items():
        slack = 0.03 * (last - first)
        if abs(low - first) <= slack and abs(high - last) <= slack:
            return name
    return ""


def _calibration(rows: Sequence[Row]) -> tuple[str, list[Row]] | None:
    """Return the finding and its tensors if the samples exceed the calibrated ranges of many tensors, else None."""
    ranged = [
        row
        for row in rows
        if row["kind"] != "weight" and row.get("saturated") is not None and row["operator"] not in _FIXED
    ]
    beyond = [row for row in ranged if row["saturated"] > LIMITS["saturated"]]
    if len(beyond) < max(3, LIMITS["saturated_tensors"] * len(ranged)):
        return None
    clipping = sum((row.get("share") or 0) * (row.get("clipping_share") or 0) for row in beyond)
    if clipping < LIMITS["saturated_share"]:
        return None
    beyond.sort(key=lambda row: -(row.get("share") or 0) * (row.get("clipping_share") or 0))
    worst = max(beyond, key=lambda row: row["saturated"])
    why = (
        f"on {len(beyond)} of {len(ranged)} tensors the samples exceed the calibrated range (at {_place(worst)} "
        f"{_percent(worst['saturated'])} of the values); this clipping causes {clipping:.0%} of the answer's error"
    )
    return why, beyond


def _main_tensors(
    rows: Sequence[Row], file: _File, causes: dict[int, tuple[Cause, str]], explained: bool
) -> list[Finding]:
    """Return a finding for each tensor with a large error share, the largest first.

    `explained`: an earlier finding explains the loss already; general causes are then left out.
    """
    findings: list[tuple[float, Finding]] = []
    for row in sorted(rows, key=lambda row: -(row.get("share") or 0)):
        share = row.get("share") or 0.0
        if share < LIMITS["share"]:
            break
        cause, words = _reason(row, file.scheme)
        if id(row) in causes or (explained and cause in ("saturation", "sensitive-layer")):
            continue
        why = f"{_place(row)} alone causes {share:.0%} of the answer's error: {words}"
        causes[id(row)] = (cause, words)
        findings.append((share, Finding(cause, why, _remedy(cause, file), (row["name"],))))
    return [finding for _, finding in _merged(findings)]


def _merged(findings: list[tuple[float, Finding]]) -> list[tuple[float, Finding]]:
    """Merge findings of the same cause about the same operator's weights and result; add their shares."""
    merged: dict[tuple[str, str], tuple[float, Finding]] = {}
    for share, finding in findings:
        key = (finding.cause, finding.tensors[0])
        if key in merged:
            before, first = merged[key]
            joined = tuple(dict.fromkeys((*first.tensors, *finding.tensors)))
            merged[key] = (before + share, replace(first, tensors=joined))
        else:
            merged[key] = (share, finding)
    return sorted(merged.values(), key=lambda pair: -pair[0])


def _reason(row: Row, scheme: str) -> tuple[Cause, str]:
    """Return the cause of a tensor's error, and the figures that show it."""
    ratio = row.get("channel_ratio") or 1.0
    if row["kind"] == "weight":
        if row.get("scales") == 1 and ratio >= LIMITS["weight_ratio"]:
            return "outlier-channel", (
                f"its weights share one scale, and the range of channel {row['channel']} is {ratio:.0f} times that of "
                f"the median channel, whose weights have an SNR of {_db(row.get('channel_snr_db'))}"
            )
        if _training(scheme):
            return "sensitive-layer", f"training and rounding changed its weights (SNR {_db(row.get('snr_db'))})"
        if (row.get("snr_db") or 0) < LIMITS["weight_db"]:
            return "weights", f"its {row['dtype']} weights have an SNR of only {_db(row.get('snr_db'))}"
        return "sensitive-layer", (
            f"its weights are as accurate as {row['dtype']} allows (SNR {_db(row.get('snr_db'))}), but the layers "
            "after it amplify small errors"
        )
    if (row.get("clipping_share") or 0) > LIMITS["clipping"] and (row.get("saturated") or 0) > 0:
        return "saturation", _saturation_words(row)
    channel_db, own = row.get("channel_snr_db"), row.get("own_snr_db")
    if row["operator"] in _FIXED and row.get("step") and row["dtype"] in ("int8", "uint8"):
        return "sensitive-layer", (
            f"int8 stores the output of {row['operator']} in fixed steps of {row['step']:.3g}, and its values lie "
            f"between {row['float_low']:.3g} and {row['float_high']:.3g}"
        )
    if ratio >= LIMITS["channel_ratio"] and (channel_db is None or own is None or channel_db < own - 3):
        return "outlier-channel", (
            f"the range of channel {row['channel']} is {ratio:.0f} times that of the median channel, and they share "
            f"one scale: the median channel has an SNR of {_db(channel_db)}"
        )
    if row.get("range_use") is not None and row["range_use"] < LIMITS["range_use"]:
        return "unused-range", (
            f"the samples use {row['range_use']:.1%} of its range ({row['low']:.4g} to {row['high']:.4g}, "
            f"the values {row['float_low']:.4g} to {row['float_high']:.4g})"
        )
    words = f"{row['operator']} has an SNR of {_db(own)} relative to a float operator with the same inputs"
    if row.get("step") and row.get("typical"):
        words += f"; its quantization step is {row['step']:.3g}, the RMS of its values {row['typical']:.3g}"
    return "sensitive-layer", words


def _distributed(rows: Sequence[Row], file: _File, causes: dict[int, tuple[Cause, str]]) -> list[Finding]:
    """Return one finding about the tensors that together cause half of the answer's error; no single one dominates."""
    worst, total = [], 0.0
    for row in sorted(rows, key=lambda row: -(row.get("share") or 0)):
        if total > 0.499 or not row.get("share"):
            break
        worst.append(row)
        total += row["share"]
    if not worst:
        return []
    kinds = {row["operator"] for row in worst}
    why = (
        f"no single tensor dominates: {len(worst)} of {len(rows)} together cause half of the answer's error, the worst "
        f"of them ({_place(worst[0])}) {worst[0]['share']:.0%}; their operators are {', '.join(sorted(kinds))}"
    )
    causes |= {id(row): ("sensitive-layer", _reason(row, file.scheme)[1]) for row in worst}
    names = tuple(row["name"] for row in worst)
    return [Finding("sensitive-layer", why, _remedy("everywhere", file), names)]


def _last_operator(rows: Sequence[Row], file: _File, causes: dict[int, tuple[Cause, str]]) -> list[Finding]:
    """Return a finding about the operators after the compared answer: that answer is accurate, the classes differ."""
    results = [row for row in rows if row["kind"] == "activation" and row.get("share") is None]
    behind = [row for row in results if row.get("own_snr_db") is not None]
    if not behind:
        return []
    row = min(behind, key=lambda row: row["own_snr_db"])
    snr = _db(row["own_snr_db"])
    why = f"{_place(row)} loses the accuracy of the layers before it: its {row['dtype']} answers have an SNR of {snr}"
    causes[id(row)] = ("sensitive-layer", why)
    return [Finding("sensitive-layer", why, _remedy("sensitive-layer", file), (row["name"],))]


_REMEDIES: dict[str, Remedy] = {
    "outlier-channel": Remedy(
        ("tflite:int8-mixed", "tflite:int16x8", "tflite:qat-int8"),
        also=(
            "use per-channel weights",
            "scale the channel down where it is computed and up where it is read (cross-layer equalization)",
        ),
    ),
    "saturation": Remedy(
        ("tflite:int8-mixed", "tflite:int16x8"), also=("calibrate with samples that have such values",)
    ),
    "calibration": Remedy(
        also=(
            "calibrate with more samples, from the source of the samples in use "
            "(export.calibration.samples; `edgeproof export --calibrate SOURCE --samples N`)",
        )
    ),
    "sensitive-layer": Remedy(("tflite:int8-mixed", "tflite:int16x8", "tflite:qat-int8")),
    "unused-range": Remedy(also=("look for outliers among the calibration samples, and leave them out",)),
    "weights": Remedy(("tflite:weight-int8", "tflite:dynamic", "tflite:int4-block32")),
    "everywhere": Remedy(("tflite:qat-int8", "tflite:int16x8", "tflite:dynamic")),
}
_TRAINED = Remedy(("tflite:int16x8",), also=("train longer with the quantization (quantize.qat.frozen_epochs)",))


def _remedy(cause: str, file: _File) -> str:
    if _training(file.scheme) == "qat" and cause in ("everywhere", "sensitive-layer", "outlier-channel"):
        return _TRAINED.words(file.origin)
    remedy = _REMEDIES.get(cause, _REMEDIES["sensitive-layer"])
    return remedy.words(file.origin, without=f"tflite:{file.scheme}")


# --- words and rows -----------------------------------------------------------------------------------------------


def _place(row: Row) -> str:
    what = {"weight": "the weights of ", "input": "the input, ", "activation": ""}[row["kind"]]
    return f"{what}{short_name(row['name'])} ({row['operator']}, operator {row['position']})"


def short_name(name: str) -> str:
    """Return the first of the names that the converter joins with semicolons in a fused tensor's name."""
    parts = [part for part in name.split(";") if part]
    return parts[0] if parts else name


def _saturation_words(row: Row) -> str:
    return (
        f"{_percent(row['saturated'])} of the values lie outside of its range ({row['low']:.4g} to {row['high']:.4g}; "
        f"the values range from {row['float_low']:.4g} to {row['float_high']:.4g})"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.3%}"


def _db(value: float | None) -> str:
    return "unknown size" if value is None else f"{value:.0f} dB"


def _rank(row: Row, causes: dict[int, tuple[Cause, str]]) -> tuple[int, float, float]:
    """Sort key: causes that concern the whole file first, then by error share, then by own error."""
    cause = causes.get(id(row), ("", ""))[0]
    first = 0 if cause == "preprocessing" or row.get("not_finite") else 1
    own = row.get("own_snr_db")
    return first, -(row.get("share") or 0.0), own if own is not None else 1e3


def _tensor(row: Row, cause: Cause, why: str) -> TensorError:
    names = {field.name for field in fields(TensorError)} - {"cause", "why", "shape"}
    figures: dict[str, Any] = {key: value for key, value in row.items() if key in names}
    return TensorError(shape=tuple(row["shape"]), cause=cause, why=why, **figures)


def in_graph_order(tensors: Iterable[TensorError]) -> list[TensorError]:
    """Return tensors in the order of execution: inputs, then of each operator the weights before the result."""
    return sorted(tensors, key=lambda t: (t.position, t.kind != "weight", t.name))

"""A recipe's ``runtime``: files that do not load there, the fallbacks to make instead, and their cost.

It uses the table of operator versions (`tflite.runtime_versions`), before anything is run; whether a file then gives
correct results there is measured (`evaluate.consistency`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ..core.artifact import Artifact
from ..core.errors import EdgeproofError
from ..core.measurement import Measurement
from ..core.remedies import Remedy, can_be_made
from ..core.results import Results
from ..core.statistics import paired_loss
from ..core.target import Target
from ..core.variant import Variant
from ..devices import locate
from ..export import inspect
from ..tasks import metric_of
from ..tflite import Incompatibility, incompatibilities, needs_of


def incompatibility(artifact: Artifact, runtime: Target) -> tuple[str, str] | None:
    """Return (reason, remedy) if a file does not load on `runtime` by the table; None if it should, or is no file.

    The reason names the operator, its version, the first runtime with it, and what the runtime has; the remedy lists
    the alternatives.
    """
    lacking = _incompatibilities(artifact, runtime)
    if not lacking:
        return None
    more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
    names = map(str, fallback_variants(artifact, runtime))
    instead = [name for name in names if can_be_made(name, artifact.origin)]
    choices = [f"use {' or '.join(instead)}"] if instead else []
    choices += [f"update the runtime to {lacking[0].first}"] if lacking[0].first else []
    older = Remedy(model="whose operators are older").words(artifact.origin)
    return lacking[0].reason + more, "; or ".join(choices) or older


def fallback_variants(artifact: Artifact, runtime: Target) -> tuple[Variant, ...]:
    """Return the variants to make of the same model if this file does not load on `runtime`; none if it does.

    They are the nearest to its scheme, or older schemes if none is near. Whether they load is checked when they are
    made, by `incompatibility`.
    """
    lacking = _incompatibilities(artifact, runtime)
    if not lacking:
        return ()
    scheme = artifact.variant.scheme
    only_dense = {one.operator for one in lacking} == {"FULLY_CONNECTED"}
    names = (only_dense and scheme.dense_fallbacks) or scheme.fallbacks
    return tuple(Variant("tflite", name) for name in names if name != scheme.name)


def cost(
    results: Results,
    plain: Artifact,
    adapted: Artifact,
    runtime: Target,
    scores: Mapping[tuple[str, str], NDArray[Any]] | None = None,
) -> dict[str, Any]:
    """Return the cost of a fallback against the plain file, for `Artifact.workaround`.

    {``for``, ``instead_of`` (id), ``what`` (words), ``bytes_ratio`` (adapted / plain), and of the first target where
    both ran: ``target``, ``accuracy`` {``drop``, ``low``, ``high``, ``samples``} (plain minus adapted, on the same
    samples), ``latency_ratio`` (of medians, adapted / plain)}. Unknown keys are left out. `scores` are the task's,
    (samples,), by (artifact id, target); without them the drop is the difference of both accuracies, without interval.
    """
    record: dict[str, Any] = {
        "for": str(runtime).partition("/")[2],
        "instead_of": plain.id,
        "what": adapted.variant.scheme.as_fallback
        or f"{adapted.format}:{adapted.scheme} instead of {plain.format}:{plain.scheme}",
    }
    if plain.bytes and adapted.bytes:
        record["bytes_ratio"] = adapted.bytes / plain.bytes
    ours = {m.target: m for m in results.measurements if m.artifact == adapted.id and m.status == "ok"}
    theirs = {m.target: m for m in results.measurements if m.artifact == plain.id and m.status == "ok"}
    shared = [target for target in theirs if target in ours]
    if not shared:
        return record
    target = shared[0]
    one, other = theirs[target], ours[target]
    record["target"] = target
    if accuracy := _drop(one, other, scores or {}):
        record["accuracy"] = accuracy
    if one.latency_ms and other.latency_ms and one.latency_ms.median > 0:
        record["latency_ratio"] = other.latency_ms.median / one.latency_ms.median
    return record


def _drop(
    plain: Measurement, adapted: Measurement, scores: Mapping[tuple[str, str], NDArray[Any]]
) -> dict[str, float | int]:
    pair = [scores.get((row.artifact, row.target)) for row in (plain, adapted)]
    if pair[0] is not None and pair[1] is not None and len(pair[0]) == len(pair[1]) > 0:
        drop, low, high = paired_loss(pair[0], pair[1])
        return {"drop": drop, "low": low, "high": high, "samples": len(pair[0])}
    one, other = metric_of(plain), metric_of(adapted)
    if one and other and plain.samples == adapted.samples:
        return {"drop": one.value - other.value, "samples": adapted.samples}
    return {}


def _incompatibilities(artifact: Artifact, runtime: Target) -> tuple[Incompatibility, ...]:
    """Return the incompatibilities by the table, of the file itself if it exists, else of its row."""
    if artifact.format != "tflite" or artifact.status != "ok" or not runtime.reads("tflite"):
        return ()
    needs = needs_of(artifact.ops)
    if artifact.path is not None and artifact.path.is_file():
        try:
            needs = inspect(artifact.path).needs
        except EdgeproofError:  # its measurement reports the error
            return ()
    return incompatibilities(needs, runtime.runtime, version_of(runtime))


def version_of(runtime: Target) -> str:
    """Return the version of a target: the full number if it is on this machine, else as written."""
    installed = locate(runtime)
    return installed.version if installed else runtime.version

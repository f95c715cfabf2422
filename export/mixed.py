"""``tflite:int8-mixed``: an int8 file in which named operators stay float32, or compute with 16-bit activations.

Two tools can do it: the converter's quantizer, which skips named operators, and ai-edge-quantizer with a rule for
their scope. Both start from a calibrated float file; the converter's is cached for the next file of the same model.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..core.artifact import Artifact
from ..core.errors import InputError, StageError
from ..core.maker import CONVERTER, QUANTIZER
from ..core.model import SIGNATURE, Model
from ..core.variant import Variant
from ..tasks import trained_task
from ..tflite.converter import convert, saved_model_converter
from ..tflite.objects import name_of, read, type_name
from ..tflite.storage import storage
from ..tflite.writer import conform, write
from . import quantizer, tflite
from .export import described, finished, save
from .ranges import MIN_MAX
from .reasons import explain
from .samples import Samples, feeds, identity

VARIANT = Variant("tflite", "int8-mixed")
# Which tools can keep layers in what.
MAKERS: dict[str, tuple[str, ...]] = {"float32": (CONVERTER, QUANTIZER), "int16": (QUANTIZER,)}


def export_mixed(
    model: Model,
    kept_names: Sequence[str],
    *,
    keep: Literal["float32", "int16"],
    maker: str,
    folder: Path,
    calibration: Path,
    calibration_record: dict[str, Any] | None = None,
) -> Artifact:
    """Make the file in `folder`, with its sidecar beside it, and return the artifact.

    `kept_names` are names of operators' output tensors in the float file. Unknown names are ignored, but one must
    be known. `calibration` is as for `export.export`. A tool's errors become the status ``failed`` with a reason.
    Raises StageError for disk errors alone, and InputError for a wrong `maker`.
    """
    if maker not in MAKERS[keep]:
        raise InputError(f"{maker} cannot keep layers in {keep}", f"its makers: {', '.join(MAKERS[keep])}")
    started = time.perf_counter()
    samples: Samples = np.load(calibration, mmap_mode="r", allow_pickle=False)
    artifact = described(model, VARIANT, maker, folder)
    try:
        if maker == CONVERTER:
            content, calibrated = _by_converter(model, kept_names, samples), {"method": MIN_MAX}
        else:
            content, calibrated = _by_quantizer(model, kept_names, keep, samples)
        _check(content, kept_names, keep)
    except Exception as error:  # a tool may raise anything; none of it stops the search
        return save(artifact.failed("failed", *explain(error, artifact.origin)), folder)
    record = {**(calibration_record or {}), "samples": len(samples), "bytes": samples.nbytes, **calibrated}
    artifact = finished(artifact, content, folder, record, started)
    return save(replace(artifact, storage={**artifact.storage, "kept": list(kept_names), "keep": keep}), folder)


def _by_converter(model: Model, kept_names: Sequence[str], samples: Samples) -> bytes:
    """Quantize with the converter's own pass, which accepts a list of operators to leave in float."""
    from tensorflow.lite.python.convert import mlir_quantize

    calibrated = _calibrated(model.saved_model, model.sha256, _Samples(model, samples))
    return conform(bytes(mlir_quantize(calibrated, fully_quantize=False, denylisted_nodes=list(kept_names))))


class _Samples:
    """Calibration samples as part of a cache's key: equal where their bytes are."""

    def __init__(self, model: Model, samples: Samples) -> None:
        self.feeds = feeds(model.input, samples)
        self.identity = identity(samples)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Samples) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


@lru_cache(maxsize=1)
def _calibrated(saved_model: Path, sha256: str, samples: _Samples) -> bytes:
    """Return the float file with calibrated ranges, which the converter quantizes in a second step."""
    import tensorflow as tf

    del sha256  # part of the key: a folder's content may change
    converter = saved_model_converter(saved_model, SIGNATURE)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = samples.feeds
    converter._experimental_calibrate_only = True
    return convert(converter)


def _by_quantizer(model: Model, kept_names: Sequence[str], keep: str, samples: Samples) -> tuple[bytes, dict[str, Any]]:
    """Quantize with ai-edge-quantizer: int8 everywhere, and a later rule for the scopes of the operators to keep."""
    from ai_edge_quantizer import quantizer as tool
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    graph = read(tflite.float_file(model.saved_model, model.sha256))
    source = write(graph)
    scopes = _scopes(graph, kept_names)

    def make(chosen_ranges: Any) -> bytes:
        maker = tool.Quantizer(source)
        maker.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, 8, 8)
        for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):  # float32 at the edges
            maker.update_quantization_recipe(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
        for scope in scopes:
            if keep == "int16":
                maker.add_static_config(scope, TFLOperationName.ALL_SUPPORTED, 16, 8)
            else:
                everything = TFLOperationName.ALL_SUPPORTED
                maker.update_quantization_recipe(scope, everything, algorithm_key=AlgorithmName.NO_QUANTIZE)
        return write(quantizer.run(maker, chosen_ranges))

    tried = quantizer.TRIED[16 if keep == "int16" else 8]
    judged = quantizer.Judged(model.answer, trained_task(model.labels, model.task))
    return quantizer.calibrated(source, make, feeds(model.input, samples), tried, judged)


def _scopes(graph: Any, kept_names: Sequence[str]) -> list[str]:
    """Return a regular expression for each kept operator. A scope is its output names, each followed by a semicolon.

    The tool searches for an expression anywhere in a scope, and cuts scopes at 10,000 characters.
    """
    names_to_keep = set(kept_names)
    scopes = []
    main = graph.subgraphs[0]
    for op in main.operators:
        names = [name_of(main.tensors[index]) for index in op.outputs]
        if names_to_keep.intersection(names):
            scope = "".join(f"{name};" for name in names if name)[:10_000]
            scopes.append(f"^{re.escape(scope)}$")
    return scopes


def _check(content: bytes, kept_names: Sequence[str], keep: str) -> None:
    """Raise StageError when nothing was kept: the tool silently ignores unknown names."""
    graph = read(content)
    if keep == "int16":
        has_kept = any(type_name(tensor) == "int16" for tensor in graph.subgraphs[0].tensors)
    else:
        has_kept = bool(storage(graph)["float_operators"])
    if kept_names and not has_kept:
        what = f"the tool kept none of {len(kept_names)} tensors in {keep}"
        raise StageError(what, "use the other tool, or tflite:int8")

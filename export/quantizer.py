"""TFLite by ai-edge-quantizer: a float ``.tflite`` and a scheme in, the file's bytes out. TensorFlow is not needed.

Gaps of the tool are filled here. It keeps the float file's operator versions, so old runtimes load the file and give
wrong results (`objects.set_versions`). It puts weights behind the flatbuffer, where not every runtime looks, and
leaves the old field of operator codes at 0 (`writer`). It silently leaves operators in float that it has no rule for:
`storage` counts them, and a file with few weights in its scheme is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InputError
from ..core.maker import QUANTIZER
from ..core.model import SIGNATURE, plain_name
from ..core.remedies import CannotMakeError, Remedy
from ..core.sanitize import shorten
from ..core.variant import SCHEMES, Scheme
from ..tasks import Task, task_of
from ..tflite.edit import sign
from ..tflite.objects import name_of, operator_name, read, scales, set_versions, type_name
from ..tflite.storage import FLOATS, WEIGHTS, counted, storage
from ..tflite.writer import write
from .agreement import Difference, compare, nearest
from .in_process import litert
from .open_shapes import FIX, described, open_inputs
from .ranges import METHODS, Extremes, extremes, ranges
from .samples import Feeds, folds

# The schemes that can be made from a float .tflite alone.
POSSIBLE = tuple(
    f"tflite:{name}" for name, scheme in SCHEMES["tflite"].items() if QUANTIZER in scheme.makers and not scheme.searched
)

# Number of large samples that the methods are compared on, by the bits of activations: 16-bit kernels are slow.
TRIED = {8: 48, 16: 16}
BLOCK = 32


@dataclass(frozen=True)
class Judged:
    """How a file's outputs are judged: the output `answer`, and the task that says what is counted in it."""

    answer: str = ""
    task: Task = field(default_factory=lambda: task_of(()))


UNKNOWN = Judged()


def quantize(
    content: bytes, scheme: Scheme, samples: Feeds | None = None, judged: Judged = UNKNOWN
) -> tuple[bytes, dict[str, Any]]:
    """Return the float file `content` in `scheme`, and the calibration record (empty for schemes without calibration).

    `samples` gives the calibration samples: a dictionary of arrays by input name each, batch 1. The record holds
    ``method``, ``methods`` (for each one tried ``method``, ``samples``, ``error``, ``agreement``, as
    `agreement.Difference` has them, or ``reason``) and ``float_agreement`` (of the chosen one). Raises InputError when
    the tool cannot read the file as a float one (`check_float`), CannotMakeError when the result is not in the scheme,
    and whatever the tool raises.
    """
    model = check_float(content, scheme)
    _name_signature(model)
    source = write(model)

    def make(chosen_ranges: Any) -> bytes:
        from ai_edge_quantizer import quantizer

        tool = quantizer.Quantizer(source)
        _configure(tool, scheme, model)
        quantized = run(tool, chosen_ranges)
        _check(quantized, scheme)
        return write(quantized)

    if not scheme.calibrated:
        return make(None), {}
    if samples is None:
        raise InputError(f"tflite:{scheme.name} needs calibration samples", "add --calibrate SOURCE")
    return calibrated(source, make, samples, TRIED[scheme.activation_bits], judged)


def calibrated(
    source: bytes, make: Callable[[Any], bytes], samples: Feeds, tried: int, judged: Judged
) -> tuple[bytes, dict[str, Any]]:
    """Try the methods of `ranges.METHODS` with `make`; return the best method's file and the calibration record.

    Files are compared with the float file `source` on held-out samples (`samples.folds`, at most `tried`). The
    returned file is made with the ranges of all samples.
    """
    reached, fed = extremes(source, samples), list(samples())
    by_method = _tried(source, make, fed, reached, folds(fed, tried), judged)
    errors = {method: trial["error"] for method, trial in by_method.items() if "error" in trial}
    if not errors:
        raise CannotMakeError(
            f"none of the calibrated files runs: {next(iter(by_method.values()))['reason']}",
            Remedy(("tflite:dynamic", "tflite:weight-int8")),
        )
    best = nearest(errors)
    agreement = {key: value for key, value in by_method[best].items() if key != "bytes"}
    methods = [{"method": method, **trial} for method, trial in by_method.items()]
    return make(ranges(reached, best)), {"method": best, "methods": methods, "float_agreement": agreement}


def _tried(
    source: bytes,
    make: Callable[[Any], bytes],
    fed: Sequence[dict[str, Any]],
    reached: Extremes,
    splits: Sequence[tuple[list[int], list[int]]],
    judged: Judged,
) -> dict[str, dict[str, Any]]:
    """Return for each method its files' difference from the float file, or the reason why it has no file."""
    results: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    differences = {method: Difference(judged.answer, judged.task) for method in METHODS}
    reference = litert(source)
    for used, held in splits:
        runs = {}
        for method in (method for method in METHODS if "reason" not in results[method]):
            try:
                content = make(ranges(reached, method, used))
                results[method]["bytes"], runs[method] = len(content), litert(content)
            except CannotMakeError:  # no method's ranges would change that
                raise
            except Exception as error:  # a tool or a kernel may refuse one method's scales
                results[method]["reason"] = shorten(f"{type(error).__name__}: {error}", 300)
        compare(reference, runs, [fed[index] for index in held], differences)
    for method, facts in results.items():
        if "reason" not in facts:
            record = differences[method].record()
            facts.update(record if record["error"] is not None else {"reason": record["warning"]})
    return results


def run(tool: Any, chosen_ranges: Any) -> Any:
    """Run a configured ``Quantizer`` with the calibrated ranges (or None); return a corrected ``ModelT``."""
    quantized = tool.quantize(chosen_ranges, enable_progress_bar=False, enable_progress_report=False)
    model = read(bytes(quantized.quantized_model))
    _allow_any_scale(model)
    set_versions(model)
    _forget_runtime(model)
    return model


# Operators that run subgraphs, and those whose state outlives a call.
_CONTROL = frozenset({"WHILE", "IF", "CALL", "STABLEHLO_WHILE", "STABLEHLO_CASE"})
_STATE = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})


def check_float(content: bytes, scheme: Scheme | None = None) -> Any:
    """Return the ``ModelT`` of a float file with fixed shapes, which `scheme`, if given, can be made from.

    Raises InputError for any other file, CannotMakeError when only the scheme is impossible.
    """
    model = read(content)
    remedy = "give a float32 file, as TensorFlow's converter writes it by default"
    if len(model.signatureDefs or ()) > 1:
        raise InputError(
            f"it has {len(model.signatureDefs)} signatures",
            "give a file of one: TFLiteConverter.from_saved_model(…, signature_keys=[NAME])",
        )
    if scaled := next((tensor for graph in model.subgraphs for tensor in graph.tensors if scales(tensor)), None):
        name = name_of(scaled)
        raise InputError(f"it is quantized already: {name} is {type_name(scaled)} with a scale", remedy)
    stored = {type_name(tensor) for graph in model.subgraphs for tensor in graph.tensors}
    if halves := sorted(stored & {"float16", "bfloat16", "int4", "int2"}):
        raise InputError(f"its weights are {' and '.join(halves)} already", remedy)
    if open_inputs(model):
        raise InputError(f"it leaves shapes open: {described(open_inputs(model))}", FIX)
    if "float32" not in stored:
        raise InputError("it holds no float32 numbers", remedy)
    used = {operator_name(model, operator) for graph in model.subgraphs for operator in graph.operators}
    uncalibrated = Remedy(("tflite:dynamic", "tflite:weight-int8"))
    if scheme is not None and scheme.calibrated and (loops := sorted(used & _CONTROL)):
        raise CannotMakeError(
            f"its {' and '.join(loops)} runs graphs of its own (a loop, as of a recurrent layer, or a branch), and "
            "ai-edge-quantizer calibrates the main one alone",
            uncalibrated,
        )
    if scheme is not None and scheme.calibrated and (state := sorted(used & _STATE)):
        raise CannotMakeError(
            f"it keeps a state between its calls ({', '.join(state)}), which ai-edge-quantizer does not calibrate",
            uncalibrated,
        )
    return model


def _name_signature(model: Any) -> None:
    """Add a signature to a file without one: calibration feeds inputs by name."""
    if model.signatureDefs:
        return
    graph = model.subgraphs[0]
    inputs, outputs = (
        {int(index): input_name(graph.tensors[index]).encode() for index in indices}
        for indices in (graph.inputs, graph.outputs)
    )
    sign(model, SIGNATURE.encode(), inputs, outputs)


def input_name(tensor: Any) -> str:
    """Return a tensor's name without what TensorFlow's converter adds to it."""
    return plain_name(name_of(tensor))


def _configure(tool: Any, scheme: Scheme, model: Any) -> None:
    """Set the tool to what a scheme's row says."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    everything = (".*", TFLOperationName.ALL_SUPPORTED)
    kernels, bits = scheme.arithmetic.kernels, scheme.weight_bits
    if kernels == "integer":
        tool.add_static_config(*everything, scheme.activation_bits, bits)
        for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):  # float32 at the edges
            tool.update_quantization_recipe(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
    elif kernels == "float":
        tool.add_weight_only_config(*everything, bits)
    elif scheme.scales == "block-32":
        tool.add_dynamic_config(*everything, bits, QuantGranularity.BLOCKWISE_32)
        for scope in _uneven(model):  # which would end the tool
            tool.update_quantization_recipe(
                scope, TFLOperationName.ALL_SUPPORTED, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
    else:
        tool.add_dynamic_config(*everything, bits)


def _uneven(model: Any) -> list[str]:
    """Return regular expressions for the scopes of operators whose weight rows are not a multiple of the block size.

    A scope is an operator's output names, each followed by a semicolon; the tool searches expressions in it.
    """
    graph = model.subgraphs[0]
    scopes = []
    for operator in graph.operators:
        place = next(iter(WEIGHTS.get(operator_name(model, operator), ())), -1)
        weights = graph.tensors[operator.inputs[place]] if 0 <= place < len(operator.inputs) else None
        if weights is not None and weights.shape is not None and len(weights.shape) and weights.shape[-1] % BLOCK:
            names = (name_of(graph.tensors[index]) for index in operator.outputs)
            scopes.append(f"^{re.escape(''.join(f'{name};' for name in names))[:10_000]}")
    return scopes


def _allow_any_scale(model: Any) -> None:
    """Mark the scales of 16-bit additions and subtractions as arbitrary; the schema's default is powers of two.

    The tool keeps the float file's setting, and LiteRT's SUB then refuses the file.
    """
    for graph in model.subgraphs:
        for operator in graph.operators:
            is_wide = type_name(graph.tensors[operator.outputs[0]]) == "int16" if len(operator.outputs) else False
            if is_wide and hasattr(operator.builtinOptions, "potScaleInt16"):
                operator.builtinOptions.potScaleInt16 = False


def _forget_runtime(model: Any) -> None:
    """Drop the float file's minimum runtime version: it does not hold for this file."""
    model.metadata = [entry for entry in model.metadata or () if entry.name != b"min_runtime_version"] or None


def _check(model: Any, scheme: Scheme) -> None:
    """Raise CannotMakeError when too little of a file is in its scheme."""
    stored = storage(model)
    done = stored["weights"].get(scheme.weights, 0)
    # Tables that were integers before (a model's own packing) are not to be quantized.
    total = done + sum(count for kind, count in stored["weights"].items() if kind in FLOATS)
    if not total:
        raise CannotMakeError("it has no weights of layers that the tool quantizes", Remedy(("tflite:float32",)))
    if done / total < 0.5:
        block = scheme.scales == "block-32"
        layers = "dense and embedding-lookup" if block else "dense, convolution and embedding-lookup"
        reason = (
            f"only {done:,} of this model's {total:,} weights became {scheme.weights}: the tool quantizes those of "
            f"{layers} layers" + (f" whose rows are multiples of {BLOCK} long" if block else "")
        )
        # A scale for each output takes rows of any length.
        raise CannotMakeError(
            reason, Remedy(("tflite:int4",)) if block else Remedy(by_converter=("tflite:dynamic", "tflite:float16"))
        )
    if scheme.calibrated and stored["fallen_back"]:
        raise CannotMakeError(
            f"the tool left operators in float: {counted(stored['fallen_back'])}",
            Remedy(("tflite:int8-fallback", "tflite:dynamic", "tflite:weight-int8")),
        )

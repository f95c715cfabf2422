"""The callables of a SavedModel: its signatures, or else each trace of its objects' functions.

A function without a signature is named by its inputs, so that the user can choose it: ``NAME:x=float32:Nx16000`` is
the function NAME of a batch of 16,000 numbers, ``NAME:x=string:scalar`` that of one text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.extras import EXTRAS
from ...core.sanitize import shorten
from ...frameworks.operators import refusal
from ...frameworks.tensorflow import load
from .tensors import Tensor

DEFAULTS = ("serving_default", "default")
CALL = "__call__"
_PARSES = re.compile(r"Parse(Single)?(Sequence)?Example")
_HIDDEN = re.compile(r"_|call_and_return_")  # Keras's internal functions


@dataclass(frozen=True)
class Called:
    """A callable of a SavedModel: `call` maps a list of tensors, in the order of `inputs`, to those of `outputs`.

    `name` is the signature's or function's name; empty for the only way to call the model itself.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    call: Callable[[list[Any]], list[Any]]


@dataclass(frozen=True)
class _Traced:
    """One trace of a function: `values` are its non-tensor arguments, `outside` its operators on files."""

    owner: str
    function: Any
    inputs: tuple[Tensor, ...]
    values: tuple[tuple[str, Any], ...]
    outside: tuple[str, ...]

    @property
    def title(self) -> str:
        parts = [f"{t.name}={t.dtype}:{_sides(t)}" for t in self.inputs]
        return f"{self.owner}:" + ",".join(parts + [f"{name}={value}" for name, value in self.values])


def load_saved_model(path: Path, tags: list[str]) -> Any:
    """Load the graph with these tags; operators of tensorflow_text are registered when it needs them.

    Raises InputError.
    """
    tf, _ = load()
    for attempt in range(2):
        try:
            return tf.saved_model.load(str(path), tags=tags)
        except Exception as error:  # TensorFlow's loader may raise any exception
            missing = re.search(r"Op type not registered '([\w>]+)'", str(error))
            if missing and not attempt and _register_text_operators():
                continue
            if missing:
                raise InputError(
                    f"{path} needs the operator {missing[1]}, which this TensorFlow does not have",
                    f"{EXTRAS['text'].remedy} if it is a text model; other packages' operators are not supported",
                ) from error
            raise InputError(
                f"TensorFlow cannot load the SavedModel {path}: {shorten(str(error), 300)}",
                "check that it was saved completely, by a TensorFlow no newer than this one",
            ) from error
    raise InputError(f"TensorFlow cannot load the SavedModel {path}", "check that it was saved completely")


def _register_text_operators() -> bool:
    try:
        import tensorflow_text  # noqa: F401
    except ImportError:
        return False
    return True


def choose(tf: Any, owner: Any, path: Path, asked: str) -> Called:
    """Return the callable of the loaded SavedModel that `asked` names, or the only unambiguous one.

    Raises InputError when `asked` does not exist, or several callables are possible.
    """
    signatures = list(owner.signatures)
    if asked in signatures or (not asked and signatures):
        name = asked or next((n for n in DEFAULTS if n in signatures), signatures[0] if len(signatures) == 1 else "")
        if not name:
            raise InputError(
                f"{path} has {len(signatures)} signatures", f"choose one with --signature: {', '.join(signatures)}"
            )
        return _by_signature(owner.signatures[name], name)
    traced = list(_functions(tf, owner))
    if asked:
        return _by_trace(tf, _named(traced, asked, path, signatures))
    only = _clear(traced)
    if only is None:
        raise InputError(*_listed(traced, path))
    return _by_trace(tf, only, "" if only.owner == CALL else only.title)


def parsed_examples(owner: Any, name: str) -> tuple[str, str] | None:
    """Return the problem of a signature of serialized ``tf.Example``, and the remedy; None for other signatures.

    TensorFlow declares these as strings; they are the default of estimators.
    """
    if name not in owner.signatures or not any(map(_PARSES.match, _operators(owner.signatures[name]))):
        return None
    others = [n for n, one in owner.signatures.items() if not any(map(_PARSES.match, _operators(one)))]
    return (
        f"the signature {name!r} takes serialized tf.Example messages, which no TFLite or ONNX file can read",
        f"choose one that takes the numbers themselves with --signature (in a recipe: signature): {', '.join(others)}"
        if others
        else "save it with a signature that takes the numbers themselves "
        "(tf.estimator.export.build_raw_serving_input_receiver_fn)",
    )


def _by_signature(signature: Any, name: str) -> Called:
    specs = signature.structured_input_signature[1]
    inputs = tuple(_tensor(key, spec) for key, spec in specs.items())
    outputs = sorted(signature.structured_outputs)

    def call(values: list[Any]) -> list[Any]:
        answer = signature(**{tensor.name: value for tensor, value in zip(inputs, values, strict=True)})
        return [answer[key] for key in outputs]

    return Called(name, inputs, tuple(outputs), call)


def _functions(tf: Any, owner: Any) -> Iterator[_Traced]:
    """Yield every inference trace of the functions of the model's root object.

    Among the traces of one function, those whose non-tensor arguments have their defaults come first.
    """
    offered = dict(vars(owner))
    for name in sorted(offered, key=lambda one: (one != CALL, one)):
        if name != CALL and _HIDDEN.match(name):
            continue
        functions = getattr(offered[name], "concrete_functions", None) or []
        traces = [traced for function in functions if (traced := _trace(tf, name, function)) is not None]
        defaults = getattr(offered[name], "_default_values", None) or {}
        traces.sort(key=lambda one: sum(value != defaults.get(key, value) for key, value in one.values))
        yield from (one for one in traces if ("training", True) not in one.values)


def _trace(tf: Any, name: str, function: Any) -> _Traced | None:
    positional, named = function.structured_input_signature
    flat = tf.nest.flatten([positional, named])
    specs = [spec for spec in flat if isinstance(spec, tf.TensorSpec)]
    if not specs or any(isinstance(spec, tf.TypeSpec) and not isinstance(spec, tf.TensorSpec) for spec in flat):
        return None  # no inputs; or sparse and ragged tensors, which no file format here supports
    names = _argument_names(function)
    values: list[tuple[str, Any]] = []
    for at, value in enumerate(positional):
        if isinstance(value, bool | int | float | str):
            values.append((names[at] if at < len(names) else f"argument{at}", value))
    values += [(key, value) for key, value in sorted(named.items()) if isinstance(value, bool | int | float | str)]
    inputs = tuple(_tensor((spec.name or "input").split("/")[-1], spec) for spec in specs)
    return _Traced(name, function, inputs, tuple(values), tuple(sorted(filter(_works_on_files, _operators(function)))))


def _argument_names(function: Any) -> list[str]:
    parameters = getattr(getattr(function, "function_type", None), "parameters", {})
    return [str(name) for name in parameters]


def _operators(function: Any) -> set[str]:
    definition = function.graph.as_graph_def()
    inner = (node for one in definition.library.function for node in one.node_def)
    return {str(node.op) for node in (*definition.node, *inner)}


def _works_on_files(operator: str) -> bool:
    return operator == "ReadFile" or bool(refusal(operator))


def _clear(traced: list[_Traced]) -> _Traced | None:
    """Return the unambiguous trace: one on numbers or texts alone, without alternatives.

    The model's own ``__call__`` precedes its other functions. Traces with the same tensors differ only in non-tensor
    arguments; the first has the model's defaults.
    """
    able = [one for one in traced if not one.outside]
    for group in ([one for one in able if one.owner == CALL], able):
        if group:
            ways = {one.inputs for one in group}
            owners = {one.owner for one in group}
            return group[0] if len(ways) == len(owners) == 1 else None
    return None


def _named(traced: list[_Traced], name: str, path: Path, signatures: list[str]) -> _Traced:
    """Return the trace that `name` names: by its full name, or by a part of only one name."""
    matches = [one for one in traced if one.title == name] or [one for one in traced if name in one.title]
    if len(matches) > 1 and (clear := _clear(matches)) is not None:
        matches = [clear]
    if not matches:
        has = [*signatures, *(one.title for one in traced)]
        what = "signature or function" if traced else "signature"
        raise InputError(f"{path} has no {what} {shorten(name)!r}", f"it has: {'; '.join(has) or 'none'}")
    if len(matches) > 1:
        raise InputError(
            f"{path} has {len(matches)} functions that {shorten(name)!r} may mean",
            f"write the full name: {'; '.join(one.title for one in matches)}",
        )
    if matches[0].outside:
        others = [one.title for one in traced if not one.outside]
        raise InputError(
            f"the function {matches[0].title} of {path} works on files ({', '.join(matches[0].outside)}), which no "
            "TFLite or ONNX file can",
            f"choose another with --signature: {'; '.join(others)}" if others else "save it with a function of tensors",
        )
    return matches[0]


def _listed(traced: list[_Traced], path: Path) -> tuple[str, str]:
    able = [one.title for one in traced if not one.outside]
    files = [f"{one.title} ({', '.join(one.outside)})" for one in traced if one.outside]
    if not able:
        reason = f"; what it has works on files: {'; '.join(files)}" if files else " and no function of tensors"
        return f"{path} has no signature{reason}", "save it with a signature that takes tensors"
    return (
        f"{path} has no signature, and {len(able)} functions that may be meant",
        f"choose one with --signature (a part of its name is enough): {'; '.join(able)}",
    )


def _by_trace(tf: Any, traced: _Traced, name: str | None = None) -> Called:
    function = traced.function
    positional, named = function.structured_input_signature
    structure = function.structured_outputs
    outputs = tuple(
        sorted(structure)
        if isinstance(structure, dict) and not any(map(tf.nest.is_nested, structure.values()))
        else ["output" if not at else f"output_{at}" for at in range(len(tf.nest.flatten(structure)))]
    )

    def call(values: list[Any]) -> list[Any]:
        left = iter(values)
        filled = tf.nest.map_structure(
            lambda spec: next(left) if isinstance(spec, tf.TensorSpec) else spec, (positional, named)
        )
        return list(tf.nest.flatten(function(*filled[0], **filled[1])))

    return Called(traced.title if name is None else name, traced.inputs, outputs, call)


def _tensor(name: str, spec: Any) -> Tensor:
    rank = spec.shape.rank
    return Tensor(name, None if rank is None else tuple(spec.shape.as_list()), spec.dtype.name)


def _sides(tensor: Tensor) -> str:
    if tensor.shape is None:
        return "any"
    return "x".join("N" if side is None else str(side) for side in tensor.shape) or "scalar"

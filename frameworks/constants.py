"""Turns a function's variables into constants, and reports obstacles: state, random numbers, tables.

TensorFlow's own tool replaces the variables. Before that, calls are inlined, and nodes that no output needs are
dropped, such as the counters of random layers that are inactive in inference. Loops and branches stay functions,
because lowered ones cannot be imported into another graph.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.environment import release_memory
from ..core.errors import StageError
from ..core.sanitize import shorten
from .tensorflow import load

REMEDY = (
    "save the model again where it was made: for inference (training=False, without augmentation layers such as "
    "RandomFlip) and without lookup tables"
)
_CHANGES = re.compile(
    r"^(Assign(Add|Sub)?VariableOp|Resource(Scatter|Apply|SparseApply|StridedSliceAssign)\w*|Rng\w*|Stateful(Uniform|"
    r"Standard|Truncated|RandomBinomial)\w*)$"
)
_RANDOM = re.compile(r"Random|Multinomial|StatefulUniform|StatefulStandardNormal|StatefulTruncatedNormal|Rng")
# Operators on lists of tensors, and which of their inputs is the shape of one tensor.
_LISTS = {"TensorListReserve": 0, "TensorListFromTensor": 1, "TensorListStack": 1, "TensorListGetItem": 2}
LOOPS = frozenset({"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"})
_SWITCHES = frozenset({"Switch", "RefSwitch"})


class StateError(StageError):
    """The model has state that persists between calls; `variables` are the names of its state variables."""

    def __init__(self, variables: tuple[str, ...]) -> None:
        self.variables = variables
        super().__init__(
            f"the model keeps a state from one call to the next, in {', '.join(variables[:6])}",
            "build it with its state as an input and an output (initial_state=…, return_state=True), and save it again",
        )


class RandomError(StageError):
    """The model's outputs depend on random numbers."""


def make_constant(function: Any, *, beside: Collection[str] = ()) -> Any:
    """Return the concrete `function` with the values of its variables written into its graph.

    Its inputs keep their names, but not always their order: see `freeze.caller`. Look-ups in tables that the inputs
    `beside` pass may stay: the caller replaces them. Raises StateError for a graph whose outputs depend on variables
    that it changes, RandomError where these variables seed random numbers, StageError for other tables.
    """
    tf, _ = load()
    from tensorflow.python.framework import convert_to_constants as tool

    free = len(function.inputs) - len(function.captured_inputs)
    try:
        with _one_graph(tool):
            frozen = tool.convert_variables_to_constants_v2(function, lower_control_flow=False)
    except StageError:
        raise
    except Exception as error:  # TensorFlow may raise any exception here
        raise StageError(
            f"the model's variables cannot be made constants: {shorten(str(error), 300)}", REMEDY
        ) from error
    finally:
        release_memory()
    left = sorted(op for op in operators(frozen) if "Table" in op or op in ("VarHandleOp", "Variable", "VariableV2"))
    inputs = [tensor for tensor in frozen.inputs if tensor.name.split(":")[0] not in beside]
    if beside and left == ["LookupTableFindV2"]:
        left = []
    if left or len(inputs) != free or any(tensor.dtype in (tf.resource, tf.variant) for tensor in inputs):
        what = ", ".join(left[:4]) or "resources of TensorFlow"
        raise StageError(f"the model needs more than its variables: {what}", REMEDY)
    return frozen


def operators(function: Any) -> set[str]:
    """Return the operators of a concrete function and of the functions that it may call."""
    return _operators(function.graph.as_graph_def())


@contextmanager
def unchanged(function: Any) -> Iterator[None]:
    """Restore the variables of the concrete `function` to their present values at the end of this block."""
    changes = any(_CHANGES.match(op) for op in operators(function))
    before = [(variable, variable.numpy()) for variable in function.graph.variables] if changes else []
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def random_operators(function: Any) -> list[str]:
    """Return those operators of a concrete function that draw random numbers."""
    return sorted(op for op in operators(function) if _RANDOM.search(op))


def _operators(definition: Any) -> set[str]:
    bodies = [definition.node, *(called.node_def for called in definition.library.function)]
    return {node.op for body in bodies for node in body}


@contextmanager
def _one_graph(tool: Any) -> Iterator[None]:
    """Within this block TensorFlow's tool converts the graph that `_inlined` and `_needed` return.

    The function of the converted graph is that of `_imported`.
    """
    real = tool._run_inline_graph_optimization, tool._construct_concrete_function

    def prepare(function: Any, _lower: bool, _aggressive: bool) -> Any:
        inlined = _inlined(function, tool)
        needed = _needed(function, inlined)
        _check_state(function, inlined, needed)
        return needed

    tool._run_inline_graph_optimization, tool._construct_concrete_function = prepare, _imported
    try:
        yield
    finally:
        tool._run_inline_graph_optimization, tool._construct_concrete_function = real


def _imported(function: Any, definition: Any, converted: Collection[int]) -> Any:
    """Return the concrete function of a converted graph. `converted` are the captures of `function` that are constants.

    TensorFlow's own step makes the function twice, the second one operator by operator.
    """
    from tensorflow.python.eager import context, wrap_function
    from tensorflow.python.framework import func_graph, importer

    constants = {id(function.graph.internal_captures[index]) for index in converted}
    inputs = [tensor for tensor in function.inputs if id(tensor) not in constants]
    for called in definition.library.function:  # the converted functions replace those of the same names
        if context.context().has_function(called.signature.name):
            context.context().remove_function(called.signature.name)
    graph = func_graph.FuncGraph("pruned")
    with graph.as_default():
        importer.import_graph_def(definition, name="")
    graph.inputs = [graph.get_tensor_by_name(tensor.name) for tensor in inputs]
    graph.outputs = [graph.get_tensor_by_name(tensor.name) for tensor in function.outputs]
    graph.structured_outputs = list(graph.outputs)
    graph.structured_input_signature = None  # it is called with the tensors of `inputs`, in their order or by name
    imported = wrap_function.WrappedFunction(graph, variable_holder=wrap_function.VariableHolder())
    imported._num_positional_args = len(inputs)
    imported._arg_keywords = [tensor.op.name for tensor in graph.inputs]
    for new, old in zip(imported.inputs, inputs, strict=True):
        new.set_shape(old.shape)  # scalars lose theirs
    return imported


def _inlined(function: Any, tool: Any) -> Any:
    """Return the graph of `function` with its calls inlined."""
    definition = tool.disable_lower_using_switch_merge(function.graph.as_graph_def())
    for called in definition.library.function:
        called.attr.pop("api_implements", None)  # recurrent layers have it, and Grappler would not inline their calls
    return _optimized(definition, [tensor.name for tensor in [*function.inputs, *function.outputs]], "function")


def fix_shapes(definition: Any, inputs: Sequence[tuple[str, Any, Any]], outputs: list[str]) -> Any:
    """Return a graph in which every shape that follows from those of `inputs` (name, shape, dtype) is a constant.

    A model that was traced for any batch computes the shapes of its loops' tensors; the TFLite converter needs them
    fixed. `outputs` are names of tensors.
    """
    tf, _ = load()
    with tf.Graph().as_default() as graph:
        placeholders = {f"{name}:0": tf.compat.v1.placeholder(dtype, shape, name) for name, shape, dtype in inputs}
        tf.graph_util.import_graph_def(definition, input_map=placeholders, name="")
    folded = _optimized(graph.as_graph_def(), [*placeholders, *outputs], "constfold")
    _fix_lists(folded.node)
    for called in folded.library.function:
        _fix_lists(called.node_def)
    return folded


def _fix_lists(nodes: Any) -> None:
    """Write the batch of 1 into the element shapes of tensor lists, in which loops collect the result of each step."""
    tf, _ = load()
    by_name = {node.name: node for node in nodes}
    for node in list(nodes):
        shape_node = by_name.get(node.input[_LISTS[node.op]].partition(":")[0]) if node.op in _LISTS else None
        if shape_node is None or shape_node.op != "Const":
            continue
        shape = tf.make_ndarray(shape_node.attr["value"].tensor).reshape(-1)
        if len(shape) > 1 and shape[0] == -1 and (shape[1:] > 0).all():
            fixed = nodes.add()
            fixed.CopyFrom(shape_node)
            fixed.name = f"{node.name}/batch_of_1"
            fixed.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([1, *shape[1:].tolist()], str(shape.dtype)))
            _, colon, port = node.input[_LISTS[node.op]].partition(":")
            node.input[_LISTS[node.op]] = fixed.name + colon + port


def _optimized(definition: Any, keep: list[str], optimizer: str) -> Any:
    """Run one of Grappler's optimizers over a graph; the tensors `keep` stay."""
    tf, _ = load()
    from tensorflow.python.grappler import tf_optimizer

    with tf.Graph().as_default():
        meta = tf.compat.v1.train.export_meta_graph(graph_def=definition, clear_extraneous_savers=True)
    meta.collection_def["train_op"].node_list.value.extend(keep)
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1
    config.graph_options.rewrite_options.optimizers.append(optimizer)
    return tf_optimizer.OptimizeGraph(config, meta)


def _needed(function: Any, inlined: Any) -> Any:
    """Return the part of an inlined graph that its outputs are computed from, with all inputs.

    Control edges do not count: they order changes of variables, which `_check_state` handles. Only in graphs of
    TensorFlow 1 do they also decide which branch runs.
    """
    tf, _ = load()
    graph = type(inlined)()
    graph.CopyFrom(inlined)
    if not any(node.op in _SWITCHES for node in graph.node):
        for node in graph.node:
            node.input[:] = [name for name in node.input if not name.startswith("^")]
    names = [tensor.op.name for tensor in [*function.inputs, *function.outputs]]
    needed = tf.compat.v1.graph_util.extract_sub_graph(graph, list(dict.fromkeys(names)))
    needed.library.function.extend(_reached(needed, inlined))
    needed.versions.CopyFrom(inlined.versions)
    return needed


def _reached(needed: Any, inlined: Any) -> list[Any]:
    """Return the library functions of `inlined` that nodes of `needed` call, directly or indirectly."""
    bodies = {called.signature.name: called for called in inlined.library.function}
    waiting = [one.name for node in needed.node for one in called_by(node)]
    reached: dict[str, Any] = {}
    while waiting:
        if (name := waiting.pop()) not in reached:
            reached[name] = bodies[name]
            waiting += [one.name for node in bodies[name].node_def for one in called_by(node)]
    return [body for name, body in bodies.items() if name in reached]


def _check_state(function: Any, inlined: Any, needed: Any) -> None:
    """Raise StateError where outputs depend on variables that the graph changes, RandomError where these are a seed."""
    bodies = {called.signature.name: called for called in inlined.library.function}
    captures = {placeholder.op.name: outer for outer, placeholder in function.graph.captures}
    changed = _resources(inlined, captures, lambda node: _changes(node, bodies))
    read = _resources(needed, captures, lambda _: True)
    if not (both := sorted(changed & read)):
        return
    handles = [captures[name] for name in both]
    names = tuple(
        sorted(str(v.name).split(":")[0] for v in function.graph.variables if any(v.handle is one for one in handles))
    ) or tuple(both)
    random = sorted(op for op in _operators(needed) if _RANDOM.search(op))
    if random:
        raise RandomError(
            f"the model draws random numbers while it infers ({', '.join(random[:4])}), from the state "
            f"{', '.join(names[:4])}",
            "save it again without its random layers, or for inference (training=False); of a Keras model give the "
            ".keras file itself: its random layers are left out",
        )
    raise StateError(names)


def _resources(definition: Any, captures: Mapping[str, Any], counts: Any) -> set[str]:
    """Return the captures that the nodes selected by `counts` read, directly or through operators like Identity."""
    by_name = {node.name: node for node in definition.node}
    resources = set()
    for node in definition.node:
        if node.name in captures or not counts(node):
            continue
        for edge in node.input:
            name = edge.removeprefix("^").partition(":")[0]
            while name in by_name and by_name[name].op in ("Identity", "Enter", "RefEnter") and by_name[name].input:
                name = by_name[name].input[0].partition(":")[0]
            if name in captures and captures[name].dtype.name == "resource":
                resources.add(name)
    return resources


def _changes(node: Any, bodies: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a node, or a function that it calls, changes variables."""
    if _CHANGES.match(node.op):
        return True
    names = {called.name for called in called_by(node)} - seen
    return any(_changes(inner, bodies, seen | names) for name in names for inner in bodies[name].node_def)


def called_by(node: Any) -> list[Any]:
    """Return the functions that a node's attributes name."""
    return [function for attribute in node.attr.values() for function in called_in(attribute)]


def called_in(attribute: Any) -> list[Any]:
    """Return the functions that an attribute names."""
    kind = attribute.WhichOneof("value")  # reading another field of the oneof would change the message
    return [attribute.func] if kind == "func" else list(attribute.list.func) if kind == "list" else []

"""Derives a device tokenizer from a string part: the steps of its operators, and the vocabulary in its tables.

The result is only a candidate: it is used if its ids equal those that cross the frontier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.tokenizer import HASHES
from ...frameworks.tensorflow import load
from .crossing import StringPart
from .frontier import TABLES, TEXT, FlatEncoder, Frontier, place_operator
from .vocabulary import TokenizerData

# Words that no vocabulary has, to learn which ids unknown words get.
STRANGE = "zqxvkj qwzzxj wvutqzx 918273645x ẑq̃ü≠ xqzvkjw jzzqkx"
_SAME = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "Snapshot", "EnsureShape", "StopGradient"})
_FIND = frozenset({"LookupTableFind", "LookupTableFindV2"})
_HASH = {"StringToHashBucketFast": "fingerprint64", "StringToHashBucketStrong": "siphash"}

Step = dict[str, Any]


class NotLifted(Exception):  # noqa: N818 - a finding, which its catcher turns into a note
    """The string part has a step that the device's tokenizer does not support; the message names it."""


def sentencepiece_steps(frontier: Frontier, source: str) -> list[Step]:
    """Return the steps before the SentencePiece operator that `source` comes from. Raises NotLifted."""
    doors = [op for op in _doors(frontier, source) if op.type.startswith(("Sentencepiece", "TFText>FastSentencepiece"))]
    if not doors:
        raise NotLifted("no SentencePiece operator gives its ids")
    strings = [tensor for tensor in doors[0].inputs if _is_string(tensor) and tensor.op.name in frontier.strings]
    return steps_to(frontier.flat, strings[0])


def words(frontier: Frontier, source: str, texts: Sequence[str], *, length: int, padded: bool) -> TokenizerData:
    """Return a tokenizer of kind ``words`` that gives the ids of the crossing tensor `source`. Raises NotLifted.

    `texts` are run through the string part, to see which id each string gets. `padded`: padded ids cross.
    """
    doors = _doors(frontier, source)
    finds = [op for op in doors if op.type in _FIND]
    hashes = [op for op in doors if op.type in _HASH]
    others = sorted({op.type for op in doors if op.type not in _FIND and op.type not in _HASH})
    keys = {_plain(op.inputs[1] if op.type in _FIND else op.inputs[0]).name for op in (*finds, *hashes)}
    if len(keys) != 1:
        named = ", ".join(others) if others else f"{len(keys)} lists of strings"
        raise NotLifted(f"its ids come from {named}")
    key = keys.pop()
    steps = steps_to(frontier.flat, frontier.flat.graph.get_tensor_by_name(key))
    table: dict[bytes, int] = {}
    for find in finds:
        table |= _exported(frontier.flat, find)
    part = StringPart(frontier, [key, source])
    pairs = [part.values([text]) for text in (*texts, STRANGE)]
    seen = _StringIds([(list(strings.reshape(-1)), ids.reshape(-1)) for strings, ids in pairs], padded=padded)
    settings: dict[str, Any] = {"kind": "words", "length": length, "steps": steps, **seen.ends}
    matched, strange = seen.split(table)
    shift = {id_ - value for id_, value in matched}
    if len(shift) > 1:
        raise NotLifted("its table's ids are changed before they reach the network")
    by = shift.pop() if shift else 0
    settings |= _unknown(strange, hashes, finds, len(table), by, seen.ends["pad"])
    vocabulary: list[str | None] = [None] * (max(table.values(), default=-1) + by + 1)
    for token, value in table.items():
        if value + by < 0:
            raise NotLifted("its table gives negative ids")
        vocabulary[value + by] = _text(token)
    return TokenizerData(settings, vocabulary if table else None)


class _StringIds:
    """Strings and their ids. `ends`: the ids before and after those of each text, and the padding id."""

    def __init__(self, pairs: Sequence[tuple[list[bytes], NDArray[Any]]], *, padded: bool) -> None:
        self.pairs = pairs
        self.ends: dict[str, int | None] = {"start": None, "end": None, "pad": 0}
        more = {len(ids) - len(strings) for strings, ids in pairs}
        if padded:
            empty = [int(i) for strings, ids in pairs for i in ids[len(strings) :]]
            if len(set(empty)) > 1:
                raise NotLifted("its padding is not one id")
            self.ends["pad"] = empty[0] if empty else 0
            self.before = 0
            return
        if len(more) != 1 or not 0 <= (extra := more.pop()) <= 2:
            raise NotLifted("it does not return one id per string")
        first = {int(ids[0]) for _, ids in pairs if len(ids)}
        last = {int(ids[-1]) for _, ids in pairs if len(ids)}
        self.before = 1 if extra and len(first) == 1 else 0
        if self.before:
            self.ends["start"] = first.pop()
        if extra > self.before:
            if len(last) != 1:
                raise NotLifted("the ids around a text's own are not the same for all texts")
            self.ends["end"] = last.pop()

    def split(self, table: Mapping[bytes, int]) -> tuple[set[tuple[int, int]], dict[bytes, int]]:
        """Return (id, the table's value) of strings in the table, and the ids of strings outside it."""
        matched: set[tuple[int, int]] = set()
        strange: dict[bytes, int] = {}
        for strings, ids in self.pairs:
            for string, id_ in zip(strings, ids[self.before :].tolist(), strict=False):
                if string in table:
                    matched.add((id_, table[string]))
                else:
                    strange[string] = id_
        return matched, strange


def _unknown(
    strange: Mapping[bytes, int], hashes: Sequence[Any], finds: Sequence[Any], size: int, by: int, pad: int | None
) -> dict[str, Any]:
    """Return the settings for the ids of strings outside the table."""
    for op in hashes:
        about: dict[str, Any] = {"kind": _HASH[op.type], "buckets": int(op.get_attr("num_buckets")), "add": 0}
        if about["kind"] == "siphash":
            about["key"] = [int(part) & ((1 << 64) - 1) for part in op.get_attr("key")]
        hashed = HASHES[about["kind"]](about)
        add = {id_ - hashed(string) % about["buckets"] for string, id_ in strange.items()}
        if len(add) == 1 or not strange:
            about["add"] = add.pop() if add else size + by
            if about["add"] >= 0:
                return {"hash": about, "unknown": 0}
    ids = set(strange.values())
    if len(ids) == 1:
        return {"unknown": ids.pop()}
    if ids or not finds:
        raise NotLifted("strings that are not in its table get ids by an unknown rule")
    return {"unknown": pad or 0}


def steps_to(flat: FlatEncoder, tensor: Any) -> list[Step]:
    """Return the steps from the text to the strings `tensor`. Raises NotLifted, naming the operator."""
    steps: list[Step] = []
    while True:
        tensor = _plain(tensor)
        op = tensor.op
        if op.name == TEXT:
            return steps[::-1]
        handler = _STEPS.get(op.type)
        if handler is None:
            raise NotLifted(f"the device's tokenizer has no counterpart of the operator {op.type}")
        new_steps, tensor = handler(flat, op, tensor)
        steps += new_steps[::-1]


def _regex(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    if op.type == "StaticRegexReplace":
        pattern, rewrite = op.get_attr("pattern"), op.get_attr("rewrite")
    else:
        pattern, rewrite = _constant(op.inputs[1]), _constant(op.inputs[2])
    step: Step = {"do": "replace", "pattern": _text(pattern), "with": _text(rewrite)}
    return [step if op.get_attr("replace_global") else step | {"first": True}], op.inputs[0]


def _case(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    step: Step = {"do": "lower" if op.type == "StringLower" else "upper"}
    return [step if op.get_attr("encoding") else step | {"ascii": True}], op.inputs[0]


def _split_v1(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    separators = _text(_constant(op.inputs[1]))
    return [{"do": "split_any", "separators": separators, "skip_empty": bool(op.get_attr("skip_empty"))}], op.inputs[0]


def _split_v2(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    if op.get_attr("maxsplit") >= 0:
        raise NotLifted("it splits a text a fixed number of times")
    return [{"do": "split", "separator": _text(_constant(op.inputs[1]))}], op.inputs[0]


def _split_pattern(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    step = {"do": "split_pattern", "pattern": _text(_constant(op.inputs[1])), "keep": _text(_constant(op.inputs[2]))}
    return [step], op.inputs[0]


def _ngrams(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    step = {
        "do": "ngrams",
        "widths": [int(width) for width in op.get_attr("ngram_widths")],
        "separator": _text(op.get_attr("separator")),
        "left": _text(op.get_attr("left_pad")),
        "right": _text(op.get_attr("right_pad")),
        "pad": int(op.get_attr("pad_width")),
        "short": bool(op.get_attr("preserve_short_sequences")),
    }
    return [step], op.inputs[0]


def _neighbours(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    """The slices that tensorflow_text's ``ngrams`` joins."""
    step = {"do": "ngrams", "widths": [int(op.get_attr("width"))], "separator": _text(op.get_attr("string_separator"))}
    return [step], op.inputs[0]


def _joined(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    """A prefix and suffix for each string, or joined neighbours: slices of one list."""
    separator = _text(op.get_attr("separator"))
    constants = [_constant(tensor) for tensor in op.inputs]
    own = [at for at, value in enumerate(constants) if value is None]
    if len(own) == 1:
        texts = ["" if value is None else _text(value) for value in constants]
        before = "".join(text + separator for text in texts[: own[0]])
        after = "".join(separator + text for text in texts[own[0] + 1 :])
        return [{"do": "join", "before": before, "after": after}], op.inputs[own[0]]
    roots = {_plain(_unsliced(op.inputs[at])).name: op.inputs[at] for at in own}
    if len(roots) != 1:
        raise NotLifted("it joins strings of several lists")
    between = separator
    if len(own) == 3 - (len(constants) == 2) and len(constants) == 3 and constants[1] is not None:
        between, own = separator + _text(constants[1]) + separator, [0, 2]
    elif len(own) != len(constants):
        raise NotLifted("it joins neighbours with texts that differ")
    return [{"do": "ngrams", "widths": [len(own)], "separator": between}], _unsliced(op.inputs[own[0]])


def _characters(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    """UnicodeEncode of UnicodeDecode's output: single characters."""
    waiting, seen = [op.inputs[0].op], set()
    while waiting:
        ancestor = waiting.pop()
        if ancestor.type.startswith("UnicodeDecode"):
            return [{"do": "characters"}], ancestor.inputs[0]
        if ancestor.name not in seen:
            seen.add(ancestor.name)
            waiting += [tensor.op for tensor in ancestor.inputs]
    raise NotLifted("it makes strings of numbers")


def _filled(flat: FlatEncoder, op: Any, tensor: Any) -> tuple[list[Step], Any]:
    """SparseFillEmptyRows: a text without words gets one, as in NNLM; other texts are unchanged."""
    if tensor.name != op.outputs[1].name:
        raise NotLifted("it looks up which texts are empty")
    return [{"do": "fill", "with": _text(_constant(op.inputs[3]))}], op.inputs[1]


def _drop_empty(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    return [{"do": "drop_empty"}], op.inputs[0]


def _simple(*steps: Step) -> Callable[[FlatEncoder, Any, Any], tuple[list[Step], Any]]:
    return lambda flat, op, tensor: (list(steps), op.inputs[0])


def _normalized(flat: FlatEncoder, op: Any, _: Any) -> tuple[list[Step], Any]:
    return [{"do": "normalize", "form": _text(op.get_attr("normalization_form"))}], op.inputs[0]


_STEPS: dict[str, Callable[[FlatEncoder, Any, Any], tuple[list[Step], Any]]] = {
    "StaticRegexReplace": _regex,
    "RegexReplace": _regex,
    "StringLower": _case,
    "StringUpper": _case,
    "StringStrip": _simple({"do": "strip"}),
    "UnicodeTranscode": _simple(),
    "CaseFoldUTF8": _simple({"do": "fold"}),
    "NormalizeUTF8": _normalized,
    "StringSplit": _split_v1,
    "StringSplitV2": _split_v2,
    "RegexSplitWithOffsets": _split_pattern,
    "WhitespaceTokenizeWithOffsets": _simple({"do": "split", "separator": ""}),
    "TFText>WhitespaceTokenizeWithOffsetsV2": _simple({"do": "split", "separator": ""}),
    "StringNGrams": _ngrams,
    "TFText>NgramsStringJoin": _neighbours,
    "StringJoin": _joined,
    "UnicodeEncode": _characters,
    "SparseFillEmptyRows": _filled,
    "GatherV2": _drop_empty,
    "Gather": _drop_empty,
}


def _doors(frontier: Frontier, source: str) -> list[Any]:
    """Return the operators nearest to `source` that map strings of the text to numbers."""
    doors: dict[str, Any] = {}
    waiting, seen = [frontier.flat.graph.get_tensor_by_name(source)], set()
    while waiting:
        tensor = waiting.pop()
        op = tensor.op
        if op.name in seen or op.name not in frontier.strings:
            continue
        seen.add(op.name)
        if any(_is_string(argument) and argument.op.name in frontier.strings for argument in op.inputs):
            # Operators that split strings do not count: only the number of ids comes from them.
            if not any(_is_string(result) for result in op.outputs):
                doors[op.name] = op
            continue
        waiting += list(op.inputs)
    return list(doors.values())


def exported_tables(flat: FlatEncoder) -> Iterator[tuple[str, dict[bytes, int]]]:
    """Yield name and content of each of the graph's tables from strings to numbers."""
    for op in flat.graph.get_operations():
        if op.type in _FIND and _is_string(op.inputs[1]):
            table = _exported(flat, op)
            if table:
                yield op.name, table


def _exported(flat: FlatEncoder, find: Any) -> dict[bytes, int]:
    tf, _ = load()
    source = _plain(find.inputs[0])
    handle = flat.tables.get(source.name)
    if handle is None and source.op.type not in TABLES:
        return {}

    def export() -> Any:
        table = place_operator(source.op, [])[0] if handle is None else handle
        return tf.raw_ops.LookupTableExportV2(
            table_handle=table, Tkeys=find.inputs[1].dtype, Tvalues=find.outputs[0].dtype
        )

    keys, values = tf.function(export, autograph=False)()
    return dict(zip(keys.numpy().tolist(), np.asarray(values).tolist(), strict=True))


def _plain(tensor: Any) -> Any:
    while tensor.op.type in _SAME:
        tensor = tensor.op.inputs[0]
    return tensor


def _unsliced(tensor: Any) -> Any:
    tensor = _plain(tensor)
    while tensor.op.type in ("StridedSlice", "Slice"):
        tensor = _plain(tensor.op.inputs[0])
    return tensor


def _constant(tensor: Any) -> Any:
    tf, _ = load()
    value = tf.get_static_value(_plain(tensor))
    return None if value is None else np.asarray(value).reshape(-1)[0]


def _is_string(tensor: Any) -> bool:
    tf, _ = load()
    return bool(tensor.dtype == tf.string)


def _text(value: Any) -> str:
    if value is None:
        raise NotLifted("a pattern or separator of it is not constant")
    return value if isinstance(value, str) else bytes(value).decode("utf-8", "replace")

#!/usr/bin/env python3
"""The reference tokenizer of a text model: converts a text to the ids that the model's file takes.

This one file is shipped with every text model. It needs Python 3.7 or newer and only the standard library, and is
written to be ported to Kotlin, Swift or C++. Its ids equal those of the TensorFlow Text tokenizer in the string model;
how often they do is measured for each model. ``golden.json`` in the folder holds texts with their ids, to check a port.

The folder holds ``tokenizer.json`` and the file that it names::

    {"version": 1,
     "kind": "sentencepiece" | "wordpiece" | "whitespace" | "words" | "tensorflow" (class StringPart, not for devices),
     "file": "sentencepiece.model" or "vocab.txt" (UTF-8, one token per line; its id is the line number from 0),
             or "vocab.json" (a list of tokens, null where an id has none)       (words: or none, if all are hashed)
     "length": the number of ids that the model takes,
     "pad": the id of padding at the end,           "unknown": the id of tokens that the vocabulary lacks,
     "start": the id before the first token or null,  "end": the id after the last one or null,
     "lower_case": true or false,                   (wordpiece, whitespace)
     "normalize": "" | "NFC" | "NFD" | "NFKC" | "NFKD",   (wordpiece without lower_case, whitespace)
     "max_word_bytes": 100,                         (wordpiece: longer words are unknown)
     "offset": 0,                                   (added to every id of the file, not to the four above)
     "steps": [{"do": …}, …],                       (words, sentencepiece: applied to the text first, see class Steps)
     "hash": {"kind", "buckets", "add", "key"},     (words: ids of words that the vocabulary lacks, instead of unknown)
     "names": ["ids", "lens"],                      (the model's inputs: the ids and perhaps their number)
     "more": [{…}, …]}                              (further tokenizers, each with its settings and file: the model
                                                     takes their ids as well)

As a program: ``python tokenizer.py FOLDER < lines`` prints for each line its ids without the padding.
"""

import json
import math
import os
import re
import struct
import sys
import unicodedata
from array import array
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

VERSION = 1
FORMS = ("NFC", "NFD", "NFKC", "NFKD")

# Limits, so that a damaged or hostile folder cannot exhaust the machine.
MAX_SETTINGS_BYTES = 1 << 20
MAX_FILE_BYTES = 1 << 26
MAX_LENGTH = 1 << 20
MAX_LINES = 1 << 22
MAX_PREFIXES = 1 << 23
MAX_PIECE_LENGTH = 512
MAX_WORD_BYTES = 1000
MAX_MAP_BYTES = 1 << 24
MAX_REPLACEMENT_BYTES = 1 << 10
MAX_ID = (1 << 31) - 1
MAX_STEPS = 1000


class Tokenizer:
    """Converts texts to token ids.

    `size` is the highest possible id plus one. `vocabulary` are the tokens of ``vocab.txt``, if it has one.
    """

    def __init__(self, settings: Dict[str, Any]) -> None:
        self.length = _integer(settings, "length", 1, MAX_LENGTH)
        self.pad = _integer(settings, "pad", 0, MAX_ID)
        self.start = None if settings.get("start") is None else _integer(settings, "start", 0, MAX_ID)
        self.end = None if settings.get("end") is None else _integer(settings, "end", 0, MAX_ID)
        self.offset = _integer(settings, "offset", 0, MAX_ID, 0)
        self.unknown = 0
        self.size = 0
        self.vocabulary: List[str] = []
        self.more: List["Tokenizer"] = []
        self._steps = Steps(settings.get("steps", []))
        self.names = settings.get("names", ["ids", "lens"])
        if not isinstance(self.names, list) or len(self.names) not in (1, 2) or not all(map(_is_name, self.names)):
            raise ValueError("tokenizer.json: names is %r, not one or two names" % (self.names,))
        self._before = [] if self.start is None else [self.start]
        self._after = [] if self.end is None else [self.end]
        if len(self._before) + len(self._after) >= self.length:
            raise ValueError("tokenizer.json: with its start and end ids, length %d has no room" % self.length)

    def tokens(self, text: str) -> List[int]:
        """Return the ids of all tokens of the text, without start and end ids, truncation or padding."""
        return list(self._ids_of(text))

    def encode(self, text: str) -> Tuple[List[int], int]:
        """Return the model's input: `length` ids, padded at the end, and the number of ids that are not padding.

        Tokens that do not fit between the start and end ids are left out; no more of the text is read than needed.
        """
        room = self.length - len(self._before) - len(self._after)
        ids = list(self._before)
        for token, _ in zip(self._ids_of(text), range(room)):
            ids.append(token)
        ids += self._after
        return ids + [self.pad] * (self.length - len(ids)), len(ids)

    def feed(self, text: str) -> Dict[str, Any]:
        """Return a model's inputs for one text by name: ids [[…]] and their number […], for each tokenizer."""
        fed: Dict[str, Any] = {}
        for tokenizer in [self] + self.more:
            ids, count = tokenizer.encode(text)
            fed.update(zip(tokenizer.names, ([ids], [count])))
        return fed

    def fits(self, text: str) -> bool:
        """Return whether the text is encoded without leaving out a token."""
        room = self.length - len(self._before) - len(self._after)
        return sum(1 for _ in zip(self._ids_of(text), range(room + 1))) <= room

    def _ids_of(self, text: str) -> Iterator[int]:
        text = _valid(text)
        return self._ids("".join(self._steps([text])) if self._steps.list else text)

    def _ids(self, text: str) -> Iterator[int]:
        """Yield the ids; `text` is valid Unicode."""
        raise NotImplementedError

    def _finish(self, size: int, unknown: int) -> None:
        """Set the number of ids in the file and the unknown token's id; both include the offset."""
        self.unknown = unknown
        ids = [self.pad, unknown, size - 1] + self._before + self._after
        if max(ids) > MAX_ID:
            raise ValueError("tokenizer.json: ids up to %d do not fit into 32 bits" % max(ids))
        self.size = max(ids) + 1


class Words(Tokenizer):
    """Strings into which the steps divide a text, looked up in a vocabulary; missing ones are hashed, or unknown."""

    def __init__(self, settings: Dict[str, Any], data: bytes) -> None:
        super().__init__(settings)
        in_json = str(settings.get("file", ".json")).endswith(".json")
        words: List[Optional[str]] = _read_json_vocabulary(data) if in_json else list(_read_vocabulary(data))
        self.vocabulary = [word for word in words if word is not None]
        self._index = {word: index + self.offset for index, word in enumerate(words) if word is not None}
        self._hash: Optional[Callable[[bytes], int]] = None
        size = len(words) + self.offset if words else 1
        hashing = settings.get("hash")
        if hashing is None:
            unknown = _integer(settings, "unknown", 0, MAX_ID)
        else:
            if not isinstance(hashing, dict) or hashing.get("kind") not in HASHES:
                raise ValueError("tokenizer.json: hash is %r, not one of %s" % (hashing, ", ".join(HASHES)))
            self._buckets = _integer(hashing, "buckets", 1, MAX_ID)
            self._add = unknown = _integer(hashing, "add", 0, MAX_ID)
            self._hash = HASHES[hashing["kind"]](hashing)
            size = max(size, self._buckets + self._add)
        self._finish(size, unknown)

    def _ids_of(self, text: str) -> Iterator[int]:
        for word in self._steps([_valid(text)]):
            index = self._index.get(word)
            if index is None and self._hash is not None:
                index = self._hash(word.encode("utf-8")) % self._buckets + self._add
            yield self.unknown if index is None else index


class StringPart(Tokenizer):
    """The model's own text operators, run by TensorFlow in a child process.

    It serves to measure a model whose ids no other kind reproduces; an app must compute them in another way. The folder
    ``string_part`` is a SavedModel from ``text`` (1,) to the ids and their number, called by `names`.
    """

    def __init__(self, settings: Dict[str, Any], folder: Any) -> None:
        super().__init__(settings)
        self._run = _Operators.of(str(folder))
        self._finish(_integer(settings, "size", 1, MAX_ID, 1), self.pad)

    def encode(self, text: str) -> Tuple[List[int], int]:
        """Return the operators' ids, and the number of ids that are not padding."""
        outputs = self._run(_valid(text))
        ids = [int(index) for index in outputs[self.names[0]]]
        return ids, int(outputs[self.names[1]]) if len(self.names) > 1 else len(ids)

    def _ids_of(self, text: str) -> Iterator[int]:
        ids, count = self.encode(text)
        return iter(ids[:count])


class _Operators:
    """The process that runs a folder's string part. It reads one text and writes its ids by name per line, as JSON."""

    PROGRAM = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
import tensorflow
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
def outside(op):
    definition = op_def_registry.get(op)
    names = [argument.name for argument in [*definition.input_arg, *definition.attr]] if definition else []
    return any(part in op for part in sys.argv[2].split(",")) or (
        op not in sys.argv[4].split(",") and any(part in name for part in sys.argv[3].split(",") for name in names))
graph = saved_model_pb2.SavedModel.FromString(open(os.path.join(sys.argv[1], "saved_model.pb"), "rb").read())
nodes = [n for m in graph.meta_graphs for b in [m.graph_def, *m.graph_def.library.function]
         for n in (b.node if hasattr(b, "node") else b.node_def)]
refused = sorted({n.op for n in nodes if outside(n.op)})
if refused:
    sys.exit("it does more than computing: " + ", ".join(refused))
loaded = tensorflow.saved_model.load(sys.argv[1])
run = loaded.signatures["serving_default"]
print("{}", file=answers, flush=True)
for line in sys.stdin:
    outputs = run(text=tensorflow.constant([json.loads(line)]))
    print(json.dumps({name: value.numpy()[0].tolist() for name, value in outputs.items()}), file=answers, flush=True)
"""
    # Operators with effects outside the graph, by parts of their names or of their arguments' names. OWN are allowed:
    # they read the model's own files. This is a second check: external models are checked when they are imported.
    REFUSED = "ReadFile,WriteFile,MatchingFiles,PyFunc,PrintV2,Summary,Dataset,Iterator,RemoteCall,Send,Recv,Dump"
    REFUSED += ",Reader,Rpc,Collective,Mlir,XlaC,Abort,Sleep,TPU,DTensor,Debug,CopyHost,Session,FileSystem"
    REFUSED += ",ImportEvent,Nccl,Stats"
    FILES = "filename,file_,path,vocab_file,address,region,debug_ops,debug_url,descriptor,target,url,uri,_dir,chunk"
    OWN = "InitializeTableFromTextFile,InitializeTableFromTextFileV2,SaveV2,RestoreV2,MergeV2Checkpoints"
    SECONDS = 600.0  # limit for the start with TensorFlow, and for each text
    _open: Dict[str, "_Operators"] = {}

    @classmethod
    def of(cls, folder: str) -> "_Operators":
        """Return the process for the string part in `folder`. It is started once."""
        path = os.path.join(folder, "string_part", "saved_model.pb")
        if not os.path.isfile(path):
            raise ValueError("the folder string_part is missing")
        key = "%s %s" % (path, os.stat(path).st_mtime_ns)
        if key not in cls._open:
            cls._open[key] = cls(os.path.dirname(path))
        return cls._open[key]

    def __init__(self, path: str) -> None:
        import subprocess
        import tempfile

        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, path, self.REFUSED, self.FILES, self.OWN],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, universal_newlines=True,
        )  # fmt: skip
        self._last: Tuple[str, Dict[str, Any]] = ("", {})
        self._answer()

    def __call__(self, text: str) -> Dict[str, Any]:
        if self._last[0] != text or not self._last[1]:
            stdin: Any = self._process.stdin
            try:
                stdin.write(json.dumps(text) + "\n")
                stdin.flush()
            except BrokenPipeError:
                pass  # _answer reads the reason from the process's errors
            self._last = (text, self._answer())
        return self._last[1]

    def _answer(self) -> Dict[str, Any]:
        import threading

        process: Any = self._process
        timer = threading.Timer(self.SECONDS, process.kill)
        timer.daemon = True
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if line:
            return dict(json.loads(line))
        process.wait()
        self._errors.seek(0)
        errors = [line for line in self._errors.read().splitlines() if line.strip()]
        raise ValueError(
            "no tokenizer for devices gives this model's ids: they are made by its own operators, in TensorFlow and "
            "tensorflow_text, which do not run here (%s)" % (errors[-1][:200] if errors else "without an error message")
        )


class Steps:
    """The steps applied to a list of strings, at first the text alone, before the look-up. A step's ``do`` is one of

    ``lower``, ``upper``: change case; only ASCII if ``ascii`` is true
    ``fold``: Unicode's NFKC_Casefold          ``normalize``: to the Unicode ``form``
    ``strip``: white space at both ends        ``join``: put ``before`` and ``after`` around each string
    ``replace``: the regular expression ``pattern`` (RE2) by ``with``; only the first match if ``first`` is true
    ``split``: at every ``separator``, keeping empty strings; at white space if the separator is empty
    ``split_any``: at each character of ``separators``; with ``skip_empty`` without empty strings
    ``split_pattern``: at matches of ``pattern``; matches that also match ``keep`` become strings
    ``characters``: each character becomes a string
    ``ngrams``: for each of ``widths``, that many neighbours joined by ``separator``; padded with ``left``, ``right``
    ``drop_empty``: remove empty strings
    ``fill``: if there are no strings, ``with`` becomes the only one
    """

    def __init__(self, steps: Any) -> None:
        if not isinstance(steps, list) or len(steps) > MAX_STEPS:
            raise ValueError("tokenizer.json: steps is not a list of at most %d steps" % MAX_STEPS)
        self.list = [self._step(step) for step in steps]

    def __call__(self, strings: List[str]) -> List[str]:
        """Apply all steps, in order, to the strings."""
        for step in self.list:
            strings = step(strings)
        return strings

    def _step(self, about: Any) -> Callable[[List[str]], List[str]]:
        kind = about.get("do") if isinstance(about, dict) else None
        make = getattr(self, "_%s" % kind, None) if kind in STEPS else None
        if make is None:
            raise ValueError("tokenizer.json: the step %r is none of %s" % (kind, ", ".join(STEPS)))
        try:
            return make(about)  # type: ignore[no-any-return]
        except (KeyError, TypeError, re.error, OverflowError) as error:
            raise ValueError("tokenizer.json: the step %r cannot be done: %s" % (kind, error)) from None

    def _lower(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        return _each(_ascii_lower if about.get("ascii") else _simple_lower)

    def _upper(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        return _each(_ascii_upper if about.get("ascii") else _simple_upper)

    def _fold(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        return _each(fold_case)

    def _normalize(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        form = about["form"]
        if form not in FORMS:
            raise ValueError("tokenizer.json: form is %r, not one of %s" % (form, ", ".join(FORMS)))
        return _each(lambda text: unicodedata.normalize(form, text))

    def _strip(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        return _each(lambda text: text.strip(_ASCII_SPACES))

    def _join(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        before, after = str(about.get("before", "")), str(about.get("after", ""))
        return _each(lambda text: before + text + after)

    def _replace(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        pattern, count = python_pattern(about["pattern"]), 1 if about.get("first") else 0
        parts = re.split(r"(\\.)", about["with"])
        rewrite = "".join(
            "\\g<%s>" % part[1] if len(part) == 2 and part[0] == "\\" and part[1].isdigit()
            else part if part == "\\\\" else part.replace("\\", "\\\\")
            for part in parts
        )  # fmt: skip
        return _each(lambda text: pattern.sub(rewrite, text, count))

    def _split(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        separator = str(about.get("separator", ""))
        if separator:
            return _every(lambda text: text.split(separator))
        return _every(lambda text: [word for word in re.split("[%s]+" % _ASCII_SPACES, text) if word])

    def _split_any(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        separators, skip = str(about["separators"]), bool(about.get("skip_empty"))
        pattern = re.compile("[%s]" % re.escape(separators)) if separators else None

        def split(text: str) -> List[str]:
            words = pattern.split(text) if pattern else list(text)
            return [word for word in words if word or not skip] if text else []

        return _every(split)

    def _split_pattern(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        pattern, keep = python_pattern(about["pattern"]), python_pattern("(?:%s)$" % about.get("keep", ""))

        def split(text: str) -> List[str]:
            words, start = [], 0
            for match in pattern.finditer(text):
                if match.end() > match.start():
                    words.append(text[start : match.start()])
                    if keep.match(match.group()):
                        words.append(match.group())
                    start = match.end()
            words.append(text[start:])
            return [word for word in words if word]

        return _every(split)

    def _characters(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        return _every(list)

    def _ngrams(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        widths = [_integer({"widths": width}, "widths", 1, 100) for width in about["widths"]]
        separator, left, right = (str(about.get(key, "")) for key in ("separator", "left", "right"))
        pad, short = int(about.get("pad", 0)), bool(about.get("short"))

        def ngrams(strings: List[str]) -> List[str]:
            joined: List[str] = []
            for width in widths:
                padding = width - 1 if pad < 0 else min(pad, width - 1)
                row = [left] * padding + strings + [right] * padding
                joined += [separator.join(row[at : at + width]) for at in range(len(row) - width + 1)]
            if not joined and short and strings:
                padding = max(pad, 0)
                joined.append(separator.join([left] * padding + strings + [right] * padding))
            return joined

        return ngrams

    def _drop_empty(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        return lambda strings: [text for text in strings if text]

    def _fill(self, about: Dict[str, Any]) -> Callable[[List[str]], List[str]]:
        only = str(about["with"])
        return lambda strings: strings or [only]


STEPS = ("lower", "upper", "fold", "normalize", "strip", "join", "replace", "split", "split_any", "split_pattern",
         "characters", "ngrams", "drop_empty", "fill")  # fmt: skip


class SentencePiece(Tokenizer):
    """A SentencePiece unigram model: the segmentation of a text into pieces with the highest sum of scores.

    The text is normalized by the model's character map, and spaces become ``▁``. Sums are 32-bit floats in reading
    order, as in the original: if two segmentations are equally good, rounding decides, so it must be the same. The
    method is Kudo's (https://arxiv.org/abs/1804.10959), the file format that of sentencepiece_model.proto.
    """

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
    UNKNOWN_PENALTY = 10.0
    USER_DEFINED_PENALTY = 0.1
    SMALLEST_FLOAT = 2.0**-126
    BLOCK = 64
    MEMO = 1 << 16

    def __init__(self, settings: Dict[str, Any], data: bytes) -> None:
        super().__init__(settings)
        pieces, trainer, normalizer = _read_model(data)
        if _number(trainer, 3, 1) != 1:
            raise ValueError("the SentencePiece model is not a unigram model: only those are supported")
        self._byte_fallback = bool(_number(trainer, 35, 0))
        self._space_behind = bool(_number(trainer, 24, 0))
        self._add_dummy_prefix = bool(_number(normalizer, 3, 1))
        self._remove_extra_spaces = bool(_number(normalizer, 4, 1))
        self._space = "▁" if _number(normalizer, 5, 1) else " "
        self._map = _CharacterMap(_bytes(normalizer, 2))
        self._index(pieces)
        self._memo: Dict[str, Tuple[str, int]] = {}
        self._plain = self._plain_runs()
        unknown = self._unknown_piece + self.offset
        if settings.get("unknown") is not None and _integer(settings, "unknown", 0, MAX_ID) != unknown:
            raise ValueError("tokenizer.json: unknown is %s, the model's is %d" % (settings["unknown"], unknown))
        self._finish(len(pieces) + self.offset, unknown)

    def _index(self, pieces: List[Tuple[str, float, int]]) -> None:
        """Make from the pieces what the search needs: every prefix of a piece, with the piece's id or -1 for none."""
        self._prefixes: Dict[str, int] = {}
        self._scores = [score for _, score, _ in pieces]
        self._bytes: Dict[int, int] = {}
        self._symbols: Dict[str, int] = {}
        self._longest = 1
        normal = [score for _, score, kind in pieces if kind == self.NORMAL]
        lowest = min(normal) if normal else 0.0
        highest = max([*normal, self.SMALLEST_FLOAT])
        self._unknown_score = _single(lowest - self.UNKNOWN_PENALTY)
        unknown = [index for index, (_, _, kind) in enumerate(pieces) if kind == self.UNKNOWN]
        if len(unknown) != 1:
            raise ValueError("the SentencePiece model has %d unknown pieces instead of one" % len(unknown))
        self._unknown_piece = unknown[0]
        seen = set()
        total = 0
        for index, (piece, _, kind) in enumerate(pieces):
            if not piece or piece in seen:
                raise ValueError("the SentencePiece model: piece %d is empty or there twice" % index)
            seen.add(piece)
            if kind == self.BYTE:
                self._bytes[_byte_of(piece)] = index
            if kind not in (self.NORMAL, self.USER_DEFINED, self.UNUSED):
                continue
            total += len(piece)
            if len(piece) > MAX_PIECE_LENGTH or total > MAX_PREFIXES:
                raise ValueError("the SentencePiece model's pieces are too long to be words")
            self._prefixes[piece] = -1 if kind == self.UNUSED else index
            for end in range(len(piece) - 1, 0, -1):
                if piece[:end] in self._prefixes:
                    break  # and so are all that are shorter
                self._prefixes[piece[:end]] = -1
            self._longest = max(self._longest, len(piece))
            if kind == self.USER_DEFINED:
                # Scored so high that it is always chosen.
                self._scores[index] = len(piece.encode()) * highest - self.USER_DEFINED_PENALTY
                self._symbols[piece] = index
        self._longest_symbol = max((len(symbol) for symbol in self._symbols), default=0)
        if self._byte_fallback and len(self._bytes) != 256:
            raise ValueError("the SentencePiece model has %d of the 256 byte pieces" % len(self._bytes))

    def _ids(self, text: str) -> Iterator[int]:
        was_unknown = False
        for index, character in self._best_pieces(text):
            if index != self._unknown_piece:
                yield index + self.offset
            elif self._byte_fallback:
                for byte in character.encode():
                    yield self._bytes[byte] + self.offset
            elif not was_unknown:  # unknown characters side by side are one token
                yield index + self.offset
            was_unknown = index == self._unknown_piece

    def _best_pieces(self, text: str) -> Iterator[Tuple[int, str]]:
        """Yield the pieces (id, text) of the best segmentation, each as soon as later text cannot change it."""
        blocks = self._normalized(text)
        text = ""
        # By position in the normalized text: the best sum up to there, the start of its last piece, and that one's id.
        best, origin, piece = array("f", [0.0]), [0], [-1]
        rounded = array("f", [0.0])
        start = settled = reach = 0
        more = True
        prefixes, scores, longest = self._prefixes, self._scores, self._longest
        while True:
            while more and len(text) - start < longest:
                block = next(blocks, "")
                more = bool(block)
                text += block
                best.extend([0.0] * len(block))
                origin.extend([-1] * len(block))
                piece.extend([-1] * len(block))
            if start == reach:  # no piece crosses this position: the segmentation before it is final
                path = []
                at = start
                while at > settled:
                    path.append((piece[at], text[origin[at] : at]))
                    at = origin[at]
                for step in reversed(path):
                    yield step
                settled = start
            if start == len(text):
                return
            here = best[start]
            single = False
            for end in range(start + 1, min(start + longest, len(text)) + 1):
                index = prefixes.get(text[start:end])
                if index is None:
                    break
                if index < 0:
                    continue
                if end == start + 1:
                    single = True
                score = here + scores[index]
                if origin[end] < 0 or score > best[end]:
                    best[end], origin[end], piece[end] = score, start, index
                reach = max(reach, end)
            if not single:
                end = start + 1
                rounded[0] = here + self._unknown_score
                if origin[end] < 0 or rounded[0] > best[end]:
                    best[end], origin[end], piece[end] = rounded[0], start, self._unknown_piece
                reach = max(reach, end)
            start += 1

    def _normalized(self, text: str) -> Iterator[str]:
        """Yield the normalized text in non-empty blocks."""
        at = 0
        while self._remove_extra_spaces and at < len(text):
            replaced, count = self._replace(text, at)
            if replaced != " ":
                break
            at += count
        if at == len(text):
            return
        block = self._space if self._add_dummy_prefix and not self._space_behind else ""
        trailing = ""  # spaces that are dropped if nothing follows them
        after_space = self._remove_extra_spaces
        while at < len(text):
            plain = self._plain.match(text, at)
            if plain:
                at = plain.end()
                block += plain.group()
                after_space = False
            else:
                replaced, count = self._replace(text, at)
                at += count
                if after_space:
                    replaced = replaced.lstrip(" ")
                if replaced:
                    after_space = self._remove_extra_spaces and replaced.endswith(" ")
                    block += replaced.replace(" ", self._space)
            if len(block) >= self.BLOCK:
                stripped = block.rstrip(self._space) if self._remove_extra_spaces else block
                if stripped:
                    yield trailing + stripped
                    trailing = ""
                trailing += block[len(stripped) :]
                block = ""
        block = trailing + block
        if self._remove_extra_spaces:
            block = block.rstrip(self._space)
        if self._add_dummy_prefix and self._space_behind:
            block += self._space
        if block:
            yield block

    def _plain_runs(self) -> Any:
        """Return a pattern for runs of ASCII that normalization does not change; it only serves speed."""
        ascii_characters = [chr(code) for code in range(128)]
        plain = [
            first
            for first in ascii_characters[33:127]
            if not any(symbol[0] == first for symbol in self._symbols)
            and all(self._map.longest(first + second, 0)[0] is None for second in ascii_characters)
        ]
        if not plain:
            return re.compile("(?!)")
        # A following non-ASCII character, such as a combining accent, can change the last one: it is not in the run.
        return re.compile("(?:[%s](?![^\\x00-\\x7f])){1,%d}" % (re.escape("".join(plain)), self.BLOCK))

    def _replace(self, text: str, at: int) -> Tuple[str, int]:
        """Return the replacement for the start of text[at:], and the number of characters that it replaces."""
        for end in range(min(at + self._longest_symbol, len(text)), at, -1):
            if text[at:end] in self._symbols:
                return text[at:end], end - at
        pair = text[at : at + 2]
        result = self._memo.get(pair)
        if result is None:
            replaced, count, read = self._map.longest(text, at)
            result = (text[at], 1) if replaced is None else (replaced, count)
            if read <= 2 and len(self._memo) < self.MEMO:
                self._memo[pair] = result
        return result


class _CharacterMap:
    """SentencePiece's precompiled character map: a Darts-clone double-array trie, and the texts that it refers to.

    A unit of the trie has 32 bits: a label (bits 0–7), whether it has a value (bit 8), and the offset of its children
    (bits 10–31, times 256 if bit 9 is set). A value's unit has bit 31 set and the value in the other bits.
    """

    def __init__(self, data: bytes) -> None:
        self._units: Tuple[int, ...] = ()
        self._texts = b""
        if not data:
            return
        size = struct.unpack_from("<I", data)[0] if len(data) >= 4 else 0
        if size == 0 or size % 4 or 4 + size > len(data) or len(data) > MAX_MAP_BYTES:
            raise ValueError("the SentencePiece model's character map is damaged")
        self._units = struct.unpack_from("<%dI" % (size // 4), data, 4)
        self._texts = data[4 + size :]

    def longest(self, text: str, at: int) -> Tuple[Optional[str], int, int]:
        """Return the replacement of the longest entry at the start of text[at:], its length and a bound.

        The replacement is None without an entry. The result depends on at most `bound` characters after `at`.
        """
        value, count = None, 0
        units = self._units
        if not units:
            return None, 0, 1
        node = _children(units[0])
        for end in range(at, len(text)):
            for byte in text[end].encode():
                node ^= byte
                if node >= len(units) or units[node] & 0x800000FF != byte:
                    return self._text(value), count, end - at + 1
                unit = units[node]
                node ^= _children(unit)
            if unit & 0x100:
                if node >= len(units):
                    raise ValueError("the SentencePiece model's character map is damaged")
                value, count = units[node] & 0x7FFFFFFF, end - at + 1
        return self._text(value), count, len(text) - at + 1

    def _text(self, start: Optional[int]) -> Optional[str]:
        if start is None:
            return None
        end = self._texts.find(b"\0", start, start + MAX_REPLACEMENT_BYTES)
        if end < 0:
            raise ValueError("the SentencePiece model's character map is damaged")
        return self._texts[start:end].decode("utf-8", "replace")


class WordPiece(Tokenizer):
    """BERT's tokenizer: divides a text into words by rules, and words from the left into the longest known pieces.

    Pieces that do not start a word are written with ``##``. A word that cannot be divided is one unknown token.
    """

    def __init__(self, settings: Dict[str, Any], data: bytes) -> None:
        super().__init__(settings)
        self.vocabulary = _read_vocabulary(data)
        self._split = word_splitter("wordpiece", _flag(settings, "lower_case"), _form(settings))
        self._max_bytes = _integer(settings, "max_word_bytes", 1, MAX_WORD_BYTES, 100)
        self._index = {token: index for index, token in enumerate(self.vocabulary)}
        self._longest = max(len(token) for token in self.vocabulary)
        self._finish(len(self.vocabulary) + self.offset, _integer(settings, "unknown", 0, MAX_ID))

    def _ids(self, text: str) -> Iterator[int]:
        for word in self._split(text):
            pieces = self._pieces(word)
            if pieces is None:
                yield self.unknown
            else:
                for index in pieces:
                    yield index + self.offset

    def _pieces(self, word: str) -> Optional[List[int]]:
        if len(word.encode()) > self._max_bytes:
            return None
        pieces = []
        start = 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                index = self._index.get(("##" if start else "") + word[start:end])
                if index is not None:
                    break
            else:
                return None
            pieces.append(index)
            start = end
        return pieces


class Whitespace(Tokenizer):
    """Words separated by white space, looked up in a vocabulary."""

    def __init__(self, settings: Dict[str, Any], data: bytes) -> None:
        super().__init__(settings)
        self.vocabulary = _read_vocabulary(data)
        self._split = word_splitter("whitespace", _flag(settings, "lower_case"), _form(settings))
        self._index = {token: index + self.offset for index, token in enumerate(self.vocabulary)}
        self._finish(len(self.vocabulary) + self.offset, _integer(settings, "unknown", 0, MAX_ID))

    def _ids(self, text: str) -> Iterator[int]:
        for word in self._split(text):
            yield self._index.get(word, self.unknown)


KINDS: Dict[str, Callable[[Dict[str, Any], Any], Tokenizer]] = {
    "sentencepiece": SentencePiece,
    "wordpiece": WordPiece,
    "whitespace": Whitespace,
    "words": Words,
    "tensorflow": StringPart,
}


def open_tokenizer(folder: Any) -> Tokenizer:
    """Read a tokenizer's folder (a path). Raises ValueError when it is invalid."""
    settings = read_settings(folder)
    try:
        tokenizer = _open(folder, settings)
        more = settings.get("more", [])
        if not isinstance(more, list) or len(more) > MAX_STEPS:
            raise ValueError("tokenizer.json: more is not a list of at most %d tokenizers" % MAX_STEPS)
        tokenizer.more = [_open(folder, further) for further in more]
    except ValueError as error:
        raise ValueError("the tokenizer in %s: %s" % (folder, error)) from None
    return tokenizer


def _open(folder: Any, settings: Dict[str, Any]) -> Tokenizer:
    kind = settings.get("kind") if isinstance(settings, dict) else None
    if kind not in KINDS:
        raise ValueError("tokenizer.json: kind %r is none of %s" % (kind, ", ".join(KINDS)))
    if kind == "tensorflow":
        return StringPart(settings, folder)
    hashed = kind == "words" and "file" not in settings and "hash" in settings
    return KINDS[kind](settings, b"[]" if hashed else read_file(folder, settings))


def read_settings(folder: Any) -> Dict[str, Any]:
    """Read ``tokenizer.json`` and check the keys that every kind needs. Raises ValueError."""
    path = os.path.join(str(folder), "tokenizer.json")
    try:
        settings = json.loads(_read(path, MAX_SETTINGS_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError("%s is not a tokenizer's settings: %s" % (path, error)) from None
    if not isinstance(settings, dict):
        raise ValueError("%s is not a JSON object" % path)
    if settings.get("version") != VERSION:
        raise ValueError("%s has version %r; this program reads %d" % (path, settings.get("version"), VERSION))
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError("%s: kind %r is none of %s" % (path, kind, ", ".join(KINDS)))
    return settings


def read_file(folder: Any, settings: Dict[str, Any]) -> bytes:
    """Read the file that the settings name. Raises ValueError."""
    name = settings.get("file")
    if not isinstance(name, str) or not re.match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", name):
        raise ValueError("tokenizer.json: file %r is not a plain file name" % (name,))
    return _read(os.path.join(str(folder), name), MAX_FILE_BYTES)


def word_splitter(kind: str, lower_case: bool, normalize: Any = "") -> Callable[[str], Iterator[str]]:
    """Return the function that divides a text into words, for the kinds ``wordpiece`` and ``whitespace``."""

    def normalized(text: str) -> str:
        if kind == "whitespace" and normalize:
            text = unicodedata.normalize(normalize, text)
        if lower_case:
            text = fold_case(text)
            if kind == "wordpiece" and not _is_ascii(text):
                text = unicodedata.normalize("NFD", text)
                text = "".join(c for c in text if unicodedata.category(c) != "Mn")
        elif kind == "wordpiece" and normalize:
            text = unicodedata.normalize(normalize, text)
        return text

    def split(text: str) -> Iterator[str]:
        # Normalization and folding never cross these white spaces, so the chunks between them are independent.
        for chunk in re.finditer("[^ \t\n\r\f]+", text):
            words = _bert_words if kind == "wordpiece" else _white_space_words
            for word in words(normalized(chunk.group())):
                yield word

    return split


def fold_case(text: str) -> str:
    """Return Unicode's NFKC_Casefold of the text: compatibility forms, folded case, no ignorable characters."""
    if _is_ascii(text):
        return text.lower()
    return unicodedata.normalize("NFC", "".join(map(_fold_character, text)))


def _fold_character(character: str) -> str:
    if _IGNORABLE.match(character):
        return ""
    previous, folded = "", character
    while previous != folded:
        previous = folded
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        folded = _IGNORABLE.sub("", folded)
    return folded


# Default_Ignorable_Code_Point of the Unicode Character Database (DerivedCoreProperties.txt).
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# White_Space of the Unicode Character Database (PropList.txt).
_WHITE_SPACE = re.compile("[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")

# Ideographs, each of which is a word for BERT's tokenizer (google-research/bert, tokenization.py).
_IDEOGRAPH = re.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b820-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f]"
)


def _white_space_words(text: str) -> Iterator[str]:
    for word in _WHITE_SPACE.split(text):
        if word:
            yield word


def _bert_words(text: str) -> Iterator[str]:
    """Divide at white space and control characters; each punctuation mark and ideograph is a word."""
    start = 0
    for at, character in enumerate(text):
        kind = _bert_kind(character)
        if not kind:
            continue
        if at > start:
            yield text[start:at]
        if kind == "word":
            yield character
        start = at + 1
    if start < len(text):
        yield text[start:]


def _bert_kind(character: str) -> str:
    """Return ``word`` (a word by itself), ``space`` (dropped) or ``""`` (part of a word)."""
    if "a" <= character <= "z" or "0" <= character <= "9":
        return ""
    category = unicodedata.category(character)
    if character == " " or category in ("Cc", "Cf"):
        return "space"
    ascii_symbol = "!" <= character <= "~" and not character.isalnum()
    if ascii_symbol or category[0] == "P" or _IDEOGRAPH.match(character):
        return "word"
    return ""


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and re.match(r"[A-Za-z]\w{0,99}\Z", name, re.ASCII) is not None


def _is_ascii(text: str) -> bool:
    return text.isascii()


def _valid(text: str) -> str:
    """Return the text with halves of surrogate pairs, which are invalid, replaced byte by byte as decoders do."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text


def _single(value: float) -> float:
    """Round to a 32-bit float."""
    return array("f", [value])[0]


def _children(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


def _read(path: str, limit: int) -> bytes:
    try:
        if not os.path.isfile(path):
            raise ValueError("%s does not exist" % path)
        with open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise ValueError("%s cannot be read: %s" % (path, error)) from None
    if len(data) > limit:
        raise ValueError("%s has more than %d bytes" % (path, limit))
    return data


def _read_vocabulary(data: bytes) -> List[str]:
    if data.count(b"\n") > MAX_LINES:
        raise ValueError("the vocabulary has more than %d lines" % MAX_LINES)
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError("the vocabulary is not UTF-8: %s" % error) from None
    if lines and not lines[-1]:
        lines.pop()
    lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    seen = set()
    for number, line in enumerate(lines, 1):
        if not line or line in seen:
            raise ValueError("line %d of the vocabulary is empty or repeats another" % number)
        seen.add(line)
    if not lines:
        raise ValueError("the vocabulary is empty")
    return lines


def _integer(settings: Dict[str, Any], key: str, low: int, high: int, default: Optional[int] = None) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError("tokenizer.json: %s is %r, not a whole number from %d to %d" % (key, value, low, high))
    return value


def _flag(settings: Dict[str, Any], key: str) -> bool:
    value = settings.get(key, False)
    if not isinstance(value, bool):
        raise ValueError("tokenizer.json: %s is %r, neither true nor false" % (key, value))
    return value


def _form(settings: Dict[str, Any]) -> str:
    value = settings.get("normalize", "")
    if not isinstance(value, str) or value not in ("",) + FORMS:
        raise ValueError("tokenizer.json: normalize is %r, not empty or one of %s" % (value, ", ".join(FORMS)))
    return value


_ASCII_SPACES = " \t\n\v\f\r"


def _each(change: Callable[[str], str]) -> Callable[[List[str]], List[str]]:
    return lambda strings: [change(text) for text in strings]


def _every(cut: Callable[[str], List[str]]) -> Callable[[List[str]], List[str]]:
    return lambda strings: [part for text in strings for part in cut(text)]


def _ascii_lower(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _ascii_upper(text: str) -> str:
    return text.upper() if text.isascii() else text.translate(_UPPER)


_LOWER = {code: code + 32 for code in range(65, 91)}
_UPPER = {code + 32: code for code in range(65, 91)}


def _simple_lower(text: str) -> str:
    return text.lower()


def _simple_upper(text: str) -> str:
    return text.upper()


# --- regular expressions -----------------------------------------------------------------------------------------

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\\x00-\\x7f", "blank": "\\t ", "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~",
    "space": "\\t\\n\\v\\f\\r ", "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_PERL = {"s": "\\t\\n\\f\\r ", "d": "0-9", "w": "0-9A-Za-z_"}
_CATEGORIES: Dict[str, str] = {}


def python_pattern(pattern: str) -> Any:
    """Compile a regular expression in RE2's syntax, which TensorFlow's operators use. Raises ValueError.

    What Python spells differently is rewritten: POSIX classes, ``\\x{…}``, ``\\p{…}`` by Unicode's categories (scripts
    are refused), white space without the vertical tab, ``$`` for the end of the text alone.
    """
    if not isinstance(pattern, str) or len(pattern) > 1 << 16:
        raise ValueError("tokenizer.json: a pattern is %r, not a text" % (type(pattern).__name__,))
    out, at, inside = [], 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            piece, at = _escape(pattern, at, inside)
            out.append(piece)
            continue
        at += 1
        if inside:
            if character == "[" and pattern[at : at + 1] == ":":
                end = pattern.find(":]", at)
                name = pattern[at + 1 : end] if end >= 0 else ""
                if name not in _POSIX:
                    raise ValueError("the class [:%s:] of a regular expression is not known here" % name)
                out.append(_POSIX[name])
                at = end + 2
                continue
            inside = character != "]" or out[-1] in ("[", "[^")
            out.append("\\" + character if character in "[]&~|" and inside else character)
        elif character == "[":
            inside = True
            out.append("[")
            if pattern[at : at + 1] == "^":
                out[-1] = "[^"
                at += 1
        else:
            out.append("\\Z" if character == "$" else character)
    try:
        return re.compile("".join(out), re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError("the regular expression %r cannot be used here: %s" % (pattern[:80], error)) from None


def _escape(pattern: str, at: int, inside: bool) -> Tuple[str, int]:
    """Return Python's form of the escape at pattern[at], and the position after it."""
    kind = pattern[at + 1 : at + 2]
    if kind == "x" and pattern[at + 2 : at + 3] == "{":
        end = pattern.find("}", at)
        return re.escape(chr(int(pattern[at + 3 : end], 16))), end + 1
    if kind in ("p", "P"):
        if pattern[at + 2 : at + 3] == "{":
            end = pattern.find("}", at) + 1
            name = pattern[at + 3 : end - 1]
        else:
            end = at + 3
            name = pattern[at + 2 : end]
        negated = (kind == "P") != name.startswith("^")
        if inside and negated:
            raise ValueError("the class \\%s%s inside of another one is not known here" % (kind, name))
        ranges = _category(name.lstrip("^"))
        return (ranges if inside else "[%s%s]" % ("^" if negated else "", ranges)), end
    if kind.lower() in _PERL and kind:
        if inside and kind.isupper():
            if kind == "S":
                raise ValueError("the class \\S inside of another one is not known here")
            return "\\" + kind, at + 2
        return (_PERL[kind] if inside else "[%s%s]" % ("^" if kind.isupper() else "", _PERL[kind.lower()])), at + 2
    if kind == "z":
        return "\\Z", at + 2
    if kind in ("Q", "C", "K", "G", "X", "R"):
        raise ValueError("\\%s in a regular expression is not known here" % kind)
    return "\\" + kind, at + 2


def _category(name: str) -> str:
    """Return the ranges of a Unicode general category (``L``, ``Nd``), for use inside brackets."""
    if not re.match("[CLMNPSZ][a-z]?\\Z", name):
        raise ValueError("the class \\p{%s} of a regular expression is not known here" % name)
    if name not in _CATEGORIES:
        ranges, start = [], -1
        for code in range(0x110001):
            member = code < 0x110000 and unicodedata.category(chr(code)).startswith(name)
            if member and start < 0:
                start = code
            elif not member and start >= 0:
                ranges.append("\\U%08x-\\U%08x" % (start, code - 1))
                start = -1
        _CATEGORIES[name] = "".join(ranges)
    return _CATEGORIES[name]


# --- hashes ------------------------------------------------------------------------------------------------------

_WORD = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def fingerprint64(data: bytes) -> int:
    """Return FarmHash's Fingerprint64, with which TensorFlow's to_hash_bucket_fast and vocabularies hash strings."""
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 64:
        return _up_to_64(data)
    x, y = 81, (81 * _K1 + 113) & _WORD
    z = _shift_mix((y * _K2 + 113) & _WORD) * _K2 & _WORD
    v, w = (0, 0), (0, 0)
    x = (x * _K2 + _fetch(data, 0)) & _WORD
    at, mul = 0, _K1
    last = size - 64
    end = (size - 1) // 64 * 64
    while True:
        final = at == end
        if final:
            mul = (_K1 + ((z & 0xFF) << 1)) & _WORD
            w = ((w[0] + ((size - 1) & 63)) & _WORD, w[1])
            v = ((v[0] + w[0]) & _WORD, v[1])
            w = ((w[0] + v[0]) & _WORD, w[1])
            at = last
        x = _rotate((x + y + v[0] + _fetch(data, at + 8)) & _WORD, 37) * mul & _WORD
        y = _rotate((y + v[1] + _fetch(data, at + 48)) & _WORD, 42) * mul & _WORD
        x ^= w[1] * (9 if final else 1) & _WORD
        y = (y + v[0] * (9 if final else 1) + _fetch(data, at + 40)) & _WORD
        z = _rotate((z + w[0]) & _WORD, 33) * mul & _WORD
        v = _weak(data, at, v[1] * mul, x + w[0])
        w = _weak(data, at + 32, z + w[1], y + _fetch(data, at + 16))
        z, x = x, z
        if final:
            break
        at += 64
    first = (_mixed(v[0], w[0], mul) + _shift_mix(y) * _K0 + z) & _WORD
    return _mixed(first, (_mixed(v[1], w[1], mul) + x) & _WORD, mul)


def _up_to_16(data: bytes) -> int:
    size = len(data)
    mul = (_K2 + size * 2) & _WORD
    if size >= 8:
        a, b = (_fetch(data, 0) + _K2) & _WORD, _fetch(data, size - 8)
        return _mixed((_rotate(b, 37) * mul + a) & _WORD, (_rotate(a, 25) + b) * mul & _WORD, mul)
    if size >= 4:
        low, high = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, size - 4)[0]
        return _mixed(size + (low << 3), high, mul)
    if size:
        y, z = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return _shift_mix((y * _K2 & _WORD) ^ (z * _K0 & _WORD)) * _K2 & _WORD
    return _K2


def _up_to_64(data: bytes) -> int:
    size = len(data)
    mul = (_K2 + size * 2) & _WORD
    a, b = _fetch(data, 0) * (_K1 if size <= 32 else _K2) & _WORD, _fetch(data, 8)
    c, d = _fetch(data, size - 8) * mul & _WORD, _fetch(data, size - 16) * _K2 & _WORD
    y = (_rotate((a + b) & _WORD, 43) + _rotate(c, 30) + d) & _WORD
    z = _mixed(y, (a + _rotate((b + _K2) & _WORD, 18) + c) & _WORD, mul)
    if size <= 32:
        return z
    e, f = _fetch(data, 16) * mul & _WORD, _fetch(data, 24)
    g, h = (y + _fetch(data, size - 32)) * mul & _WORD, (z + _fetch(data, size - 24)) * mul & _WORD
    first = (_rotate((e + f) & _WORD, 43) + _rotate(g, 30) + h) & _WORD
    return _mixed(first, (e + _rotate((f + a) & _WORD, 18) + g) & _WORD, mul)


def _fetch(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


def _rotate(value: int, bits: int) -> int:
    return (value >> bits | value << (64 - bits)) & _WORD


def _shift_mix(value: int) -> int:
    return value ^ (value >> 47)


def _mixed(u: int, v: int, mul: int) -> int:
    a = _shift_mix((u ^ v) * mul & _WORD)
    return _shift_mix((v ^ a) * mul & _WORD) * mul & _WORD


def _weak(data: bytes, at: int, a: int, b: int) -> Tuple[int, int]:
    w, x, y, z = struct.unpack_from("<4Q", data, at)
    a = (a + w) & _WORD
    b = _rotate((b + a + z) & _WORD, 21)
    c = a
    a = (a + x + y) & _WORD
    return (a + z) & _WORD, (b + _rotate(a, 44) + c) & _WORD


def siphash(data: bytes, key: Tuple[int, int]) -> int:
    """Return SipHash-2-4 (Aumasson and Bernstein, 2012), which is TensorFlow's to_hash_bucket_strong."""
    k0, k1 = key
    state = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    padded = data + b"\0" * (7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        state[3] ^= word
        _sip_round(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _sip_round(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip_round(state: List[int], times: int) -> None:
    a, b, c, d = state
    for _ in range(times):
        a = (a + b) & _WORD
        b = _rotate(b, 51) ^ a
        a = _rotate(a, 32)
        c = (c + d) & _WORD
        d = _rotate(d, 48) ^ c
        a = (a + d) & _WORD
        d = _rotate(d, 43) ^ a
        c = (c + b) & _WORD
        b = _rotate(b, 47) ^ c
        c = _rotate(c, 32)
    state[:] = a, b, c, d


def _strong(about: Dict[str, Any]) -> Callable[[bytes], int]:
    key = about.get("key")
    if not isinstance(key, list) or len(key) != 2 or not all(isinstance(k, int) and 0 <= k <= _WORD for k in key):
        raise ValueError("tokenizer.json: the key of a hash is %r, not two whole numbers" % (key,))
    return lambda data: siphash(data, (key[0], key[1]))


HASHES: Dict[str, Callable[[Dict[str, Any]], Callable[[bytes], int]]] = {
    "fingerprint64": lambda about: fingerprint64,
    "siphash": _strong,
}


def _read_json_vocabulary(data: bytes) -> List[Optional[str]]:
    try:
        words = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError("the vocabulary is not JSON: %s" % error) from None
    tokens = [word for word in words if word is not None] if isinstance(words, list) else [0]
    if not all(isinstance(token, str) for token in tokens) or len(set(tokens)) != len(tokens) or len(words) > MAX_LINES:
        raise ValueError("the vocabulary is not a list of different texts")
    return list(words)


Fields = Dict[int, List[Any]]


# The usual form of a piece: field 1 with less than 128 bytes, and field 2. It only serves speed.
_PLAIN_PIECE = re.compile(b"\x0a[\x01-\x7f]([^\x00]{1,127})\x15(.{4})\\Z", re.DOTALL)


def _read_model(data: bytes) -> Tuple[List[Tuple[str, float, int]], Fields, Fields]:
    """Read a ModelProto: its pieces (text, score, type), the fields of its trainer_spec and its normalizer_spec."""
    unpack = struct.Struct("<f").unpack
    try:
        model = _fields(data)
        pieces = []
        for message in model.get(1, []):
            plain = _PLAIN_PIECE.match(message)
            if plain and message[1] == len(plain.group(1)):
                pieces.append((plain.group(1).decode("utf-8"), unpack(plain.group(2))[0], SentencePiece.NORMAL))
                continue
            fields = _fields(message)
            score = unpack(fields[2][-1])[0] if 2 in fields else 0.0
            pieces.append((_bytes(fields, 1).decode("utf-8"), score, _number(fields, 3, 1)))
        trainer, normalizer = _fields(_bytes(model, 2)), _fields(_bytes(model, 3))
    except (ValueError, TypeError, IndexError, struct.error) as error:
        raise ValueError("the SentencePiece model is damaged: %s" % error) from None
    if not pieces:
        raise ValueError("the SentencePiece model has no pieces")
    if not all(math.isfinite(score) for _, score, _ in pieces):
        raise ValueError("the SentencePiece model has scores that are not finite")
    return pieces, trainer, normalizer


def _fields(data: bytes) -> Fields:
    """Read one protobuf message: its fields by number, each a list of integers or bytes."""
    fields: Fields = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 2, 5):
            size, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value = data[at : at + size]
            at += size
            if at > len(data):
                raise ValueError("it ends in the middle of a field")
        else:
            raise ValueError("it has a field of the unknown type %d" % wire)
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> Tuple[int, int]:
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it has a number of more than ten bytes")


def _number(fields: Fields, number: int, default: int) -> int:
    value = fields.get(number, [default])[-1]
    if not isinstance(value, int):
        raise ValueError("field %d of the SentencePiece model is not a whole number" % number)
    return value


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError("field %d of the SentencePiece model is not a text" % number)
    return value


def _byte_of(piece: str) -> int:
    if not re.match(r"<0x[0-9A-F]{2}>\Z", piece):
        raise ValueError("the SentencePiece model has an invalid byte piece")
    return int(piece[3:5], 16)


def main(arguments: List[str]) -> int:
    """Print the ids of each line of standard input, without padding."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python tokenizer.py FOLDER < lines\n")
        return 2
    try:
        tokenizer = open_tokenizer(arguments[0])
    except ValueError as error:
        sys.stderr.write("%s\n" % error)
        return 2
    try:
        for line in sys.stdin.buffer:
            ids, count = tokenizer.encode(line.rstrip(b"\r\n").decode("utf-8", "replace"))
            sys.stdout.write(" ".join(map(str, ids[:count])) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe; prevents a second error when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

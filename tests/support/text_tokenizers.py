"""Folders of tokenizers that stock consumers take, or do not, and texts that tell them apart."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from edgeproof.train.text.multilingual import PIECES, package_file
from edgeproof.train.text.vocabulary import write_tokenizer

LENGTH = 16
ODD = (
    "", " ", "The Goal", "Café crème naïve FAÇADE", "e\u0301te\u0301", "ﬁne ™ x² ½ Ⅳ ①",
    "a\u00a0b\u2003c\u3000d\u2028e",
    "soft\u00adhyphen zero\u200bwidth \ufeffbom", "tab\tnl\nvt\x0bff\x0ccr\rfs\x1cnel\x85end", "ctrl\x01\x7fx",
    "“quotes” — dash… don't US$ a_b `t`^~", "£600m €5", "ＦＵＬＬ Ｗｉｄｔｈ", "日本語テキスト 한국어 ไทย",
    "straße İstanbul ΣΑΣ",
    "nul\0after", "😀 ok 👍🏽", "x" * 101 + " " + "y" * 100, "[UNK] [CLS] [SEP] [PAD] ##e", "<UNKNOWN> <START> the",
    "the " * 40, "iPhone GOAL goal Goal gOAL", "\ud800 lone", "٠١ ªº", "¿qué? ¡sí!", "'\"\\,;", "-1 1", "e" * 300,
)  # fmt: skip


def noise(count: int, seed: int = 0) -> list[str]:
    """Random texts of words, punctuation, white space and characters from all over Unicode."""
    rng = random.Random(seed)
    parts = [
        "the",
        "Goal",
        "MONEY",
        "a",
        " ",
        "  ",
        "\t",
        "\n",
        ".",
        ",",
        "'",
        "-",
        "é",
        "É",
        "Å",
        "ß",
        "\u00a0",
        "\u0301",
    ]
    texts = []
    for _ in range(count):
        drawn = [
            rng.choice(parts)
            if rng.random() < 0.7
            else chr(rng.choice([rng.randrange(1, 0x250), rng.randrange(1, 0xD800)]))
            for _ in range(rng.randrange(1, 12))
        ]
        texts.append("".join(drawn))
    return texts


WORDS = ["the", "goal", "money", "a", "e", "n", "te", "##e", "##n", "##a", "##st", "##ing", ".", "'", "t", "x", "£600m"]
LETTERS = [*"abcdfghijklmopqrsuvwyz", *(f"##{c}" for c in "bcdfghijklmopqrstuvwxyz"), *'-,$_?!"[]#', "日", "é", "##é"]
PIECE = list(dict.fromkeys([*WORDS, *LETTERS]))
SPOKEN = [
    "the",
    "goal",
    "money",
    "don't",
    "x²",
    "straße",
    "éte",
    "12",
    "a\u0301",
    "goal.",
    "日本語テキスト",
    "ΣΑΣ",
    "Ⅳ",
    "[unk]",
]
FOLDERS: dict[str, tuple[dict[str, Any], list[str] | None]] = {
    "wordpiece": ({"kind": "wordpiece", "unknown": 1, "lower_case": True}, ["[PAD]", "[UNK]", *PIECE]),
    "bert": (
        {"kind": "wordpiece", "unknown": 3, "start": 1, "end": 2, "pad": 0, "lower_case": True},
        ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *PIECE],
    ),
    "cased": ({"kind": "wordpiece", "unknown": 0, "lower_case": False}, ["<unk>", "Goal", "The", *PIECE]),
    "shifted": ({"kind": "wordpiece", "unknown": 200, "offset": 7, "pad": 3, "end": 5, "lower_case": True}, [*PIECE]),
    "whitespace": ({"kind": "whitespace", "unknown": 1, "lower_case": True}, ["[PAD]", "[UNK]", *SPOKEN]),
    "as-they-are": (
        {"kind": "whitespace", "unknown": 20, "lower_case": False, "normalize": "", "start": 30, "end": 31, "pad": 5},
        ["the", "The", "Goal", "goal", "<PAD>", "<START>", "a,b", '"quoted"', "\\"],
    ),
    "hostile": (
        {"kind": "wordpiece", "unknown": 4, "lower_case": True},
        ["\x00", '"', "a b", "x\r", "[UNK]", "\x0b", "[unused5]", "[CLS]",
         "\u2028", "=cmd()", "##", "the", "e", "é" * 60],
    ),
    "hostile-words": (
        {"kind": "whitespace", "unknown": 0, "offset": 2, "lower_case": False},
        ["<UNKNOWN>", "<START>", "<PAD>", "a 7", "\x0b", "\x00", "x\r", "the", "12 x 13", "\u00a0", "\u2028b", "$(id)"],
    ),
}  # fmt: skip


def tokenizer_folder(kind: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    if kind == "sentencepiece":
        common = {"kind": kind, "length": LENGTH, "start": 1, "end": 2, "offset": 3}
        write_tokenizer(folder, common, model=package_file(PIECES).read_bytes())
        return folder
    common, words = FOLDERS[kind]
    if "hostile" in kind:  # written as others may write it, with Windows' ends of lines
        (folder / "vocab.txt").write_bytes("".join(f"{word}\r\n" for word in words or ()).encode())
        document = {"version": 1, "pad": 0, "file": "vocab.txt", "length": LENGTH, **common}
        (folder / "tokenizer.json").write_text(json.dumps(document))
    else:
        write_tokenizer(folder, {"length": LENGTH, **common}, words)
    return folder

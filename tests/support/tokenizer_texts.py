"""Texts that tokenizers are tried on: languages, odd ones, and what hypothesis draws of both."""

from __future__ import annotations

import random
import unicodedata

from hypothesis import strategies as st

LANGUAGES = [
    "The quick brown fox's price rose 3.5% to $1,200 — didn't it?",
    "Der Straßenbau in Köln kostet mehr als üblich; ÄRGER überall.",
    "Où est passée l'été ? Les élèves ont 12 œufs…",
    "El niño comió piñas; ¿por qué no? ¡Olé!",
    "Привет, мир! Съешь ещё этих мягких французских булок.",
    "Η γρήγορη καφέ αλεπού — ΣΊΣΥΦΟΣ.",
    "今日は良い天気ですね。ｶﾞｷﾞｸﾞ ㌔ ①②",
    "中文分词没有空格，所以很难。繁體字也一樣！",
    "한국어 문장도 있습니다. 각각",
    "مرحبا بالعالم، كيف حالك؟ ﷺ",
    "שלום עולם, מה שלומך?",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "สวัสดีชาวโลก ไม่มีช่องว่าง",
    "Türkiye'de İstanbul ve ığdır ẞß ﬁ ﬂ ½ Å Å",
    "Xin chào thế giới, tiếng Việt có dấu.",
]
NASTY = [
    "", " ", "   ", "\t\n\r\f\v", " a", "a ", "  a   b  ", "!!!!", "!!!!!!!!!!!", "?!?!?!", "...", "a\x00b",
    "\x7f\x80\x85\x9f",
    "▁", "▁▁x▁ ▁", "é e\u0301 e\u0323\u0301 \u0301", "\u200b\u200d\ufeff\u00ad", "👩‍👩‍👧‍👦 🇩🇪 👍🏽 😀😀", "x" * 300,
    "ab" * 1200,
    "中" * 400, "\U0010ffff\ufffd\ufffe", "\u2028a\u2029b\u3000c\u00a0d\u1680e", "##a [UNK] [CLS] <unk> <s>",
    "a" + "\u0300" * 50,
    "ＦＵＬＬ ｗｉｄｔｈ", "don’t “quote” ‘it’", "http://a.b/c?d=e&f#g @user #tag", "1,234.56 1e-9 ²³",
]  # fmt: skip

# What Unicode had assigned when the oldest Python that runs this did; what is newer is for each runtime's tables.
ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"), max_codepoint=0x1F9FF)
TEXTS = st.one_of(
    st.text(ASSIGNED, max_size=60),
    st.text(st.sampled_from("aAé!?.' ▁\t\u0301ﬁ中\u00a0##1\u200dß😀"), max_size=40),
    st.lists(st.sampled_from(LANGUAGES + NASTY), max_size=4).map(" ".join),
)


def old(text: str) -> bool:
    """Whether each of the text's characters was in Unicode 3.2, with which every table here agrees."""
    return all(unicodedata.ucd_3_2_0.category(c) != "Cn" for c in text)


def corpus() -> list[str]:
    """Texts of the languages above, varied by a seeded draw, so that vocabularies have something to count."""
    draw = random.Random(4)
    words = [word for text in LANGUAGES for word in text.split()]
    return [*LANGUAGES, *NASTY, *(" ".join(draw.choices(words, k=draw.randint(2, 40))) for _ in range(200))]

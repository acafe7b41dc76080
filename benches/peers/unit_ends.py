"""Ends of words and sentences by uniseg, which has the rules of Unicode Standard Annex #29 in Python: the fixture tests/fixtures/unit_ends.json.

    python benches/peers/unit_ends.py tests/fixtures/unit_ends.json

Texts are passages of the demo's corpus in every language, and short ones about single rules. Ends are bytes of UTF-8. Needs uniseg 0.10
(Unicode 16; where a later version of the standard differs, no text here shows it). It ends a sentence in "imp. & p. p." before the "&", where rule
SB8 looks on to the small letter behind it; texts with such a place are left out.
"""

import json
import re
import sys
from itertools import accumulate
from pathlib import Path

import uniseg
from uniseg.sentencebreak import sentences
from uniseg.wordbreak import words

HERE = Path(__file__).resolve().parents[2]
# one rule or a few each: letters and marks, points and quotes inside words, numbers, line ends, emoji, flags, scripts without spaces
SHORT = [
    "", " ", "a", "\n", "\r\n", "a\r\nb", "a\n\nb", " a  b ", "can't", "a.b", "a.", "a. b", "a.b.", "3.14", "3,141.59", "3. 14", "1.a", "a1",
    "a_b", "__init__", "U.S.A. is", "e.g. this", "etc. This", "Mr. Smith", "No. 5", "He said \"Yes.\" Then left.", "(One.) Two.", "One? Two! Three",
    "One...two", "One... Two", "?!", "Wait?! No.", "a.\u2029b", "a\u0085b", "a.\u0301 b", "e\u0301a", "a\u200db", "a\u00adb", "x\ufeffy",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 ok", "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7\U0001f1e9",
    "\u65e5\u672c\u8a9e", "\u30ab\u30bf\u30ab\u30ca\u3068\u3072\u3089\u304c\u306a", "\u65e5\u672c\u3002\u8a9e\u3067\u3059\u3002", "\ud55c\uad6d\uc5b4 \ub9d0",
    "\u05d0\"\u05d1", "\u05d0'", "\u0e01\u0e32\u0e23", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u061f \u0646\u0639\u0645.", "l'\u00e9t\u00e9 est l\u00e0. Oui!",
    "x = y[0].z(1, 2.5)\n    return x", "http://a.b/c?d=e", "a@b.cd", "50%", "$3.50", "a\u00a0b", "a\u3000b", "\u00bfQu\u00e9? S\u00ed.", "1. First. 2. Second.",
    "A.B. Then", "a. )b", "a.) B", "a.\u00bb B", "end.\nNext", "end\nNext", "\tTab", "a\u200bb", "\U0001f600\U0001f600", "caf\u00e9\u2019s", "co-op", "rock'n'roll",
]


def passages() -> list[str]:
    found: dict[str, list[str]] = {}
    for line in (HERE / "data/demo/corpus.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        of = found.setdefault(record["lang"], [])
        if len(of) < 8:
            of.append(record["text"][: 300 + 40 * len(of)])
    return [text for of in found.values() for text in of]


def is_disputed(text: str) -> bool:
    other = r"(?:_|[^\w\s.!?\"'()\[\]{}])"
    return re.search(r"\.[\"'()\[\]{}]*\s*" + other + r"[^A-Za-z.!?\n]*[a-z]", text) is not None


def ends(parts) -> list[int]:
    return list(accumulate(len(part.encode()) for part in parts if part))


def main() -> None:
    texts = [{"text": t, "words": ends(words(t)), "sentences": ends(sentences(t))} for t in SHORT + passages() if not is_disputed(t)]
    about = f"ends in bytes by uniseg {uniseg.__version__}, benches/peers/unit_ends.py"
    Path(sys.argv[1]).write_text(json.dumps({"about": about, "texts": texts}, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(len(texts), "texts")


main()

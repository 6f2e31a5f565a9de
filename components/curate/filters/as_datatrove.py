"""The published quality heuristics as datatrove 0.10 measures them, for those who want FineWeb's decisions.

The rules and their order are those of :mod:`components.curate.filters.quality`. What differs (``pipeline/filters``):

- Words are spaCy's, of which punctuation marks are some; those of marks alone have no part in the number of words and
  their mean length. Stop words count as they are written, in small letters.
- Lines end at every line break of Unicode; where repetition is measured, the white space at their ends is theirs.
- The characters of repeated n-grams are divided by all of the text's. One that occurs once may be the commonest.
- Sentences are spaCy's, counted line by line; an empty line is one, unless C4's rules remove short lines.
- FineWeb's lines end in the full stop of any script, not in a quotation mark, and are short up to 30 characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from components.curate.filters import spacy_words
from components.curate.filters.quality import ELLIPSES, SHORT_LINE, STOP_WORDS, Finding, repeated, repeated_parts
from components.curate.filters.quality_parameters import (
    C4Parameters,
    FineWebParameters,
    GopherParameters,
    QualityParameters,
)

# datatrove/utils/text.py: TERMINAL_PUNCTUATION and PUNCTUATION.
TERMINAL = tuple(
    "!.?\u0589\u061d\u061e\u061f\u06d4\u0700\u0701\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b"
    "\u1362\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u17d6\u17d9\u17da\u1803\u1809\u1944\u1945\u1aa8\u1aa9\u1aaa"
    "\u1aab\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d\u1b7e\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047\u2048\u2049\u2e2e\u2e3c"
    "\u2e53\u2e54\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d\uaa5e\uaa5f"
    "\uaaf0\uaaf1\uabeb\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61\U00010a56\U00010a57\U00010f55\U00010f56\U00010f57"
    "\U00010f58\U00010f59\U00010f86\U00010f87\U00010f88\U00010f89\U00011047\U00011048\U000110be\U000110bf\U000110c0"
    "\U000110c1\U00011141\U00011142\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239"
    "\U0001123b\U0001123c\U000112a9\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9\U000115ca\U000115cb\U000115cc"
    "\U000115cd\U000115ce\U000115cf\U000115d0\U000115d1\U000115d2\U000115d3\U000115d4\U000115d5\U000115d6\U000115d7"
    "\U00011641\U00011642\U0001173c\U0001173d\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c"
    "\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38"
    "\U00016b44\U00016e98\U0001bc9f\U0001da88"
)
SYMBOLS = frozenset(
    "\"#$%&'()*+,-/:;<=>@[\\]^_`{|}~\u00ab\u00b4\u00bb\u2013\u2014\u2019\u201c\u201d\u201e\u2026\u2236\u2501\u25ba"
    "\u3001\u3008\u3009\u300a\u300b\u300c\u300d\u3010\u3011\uff05\uff08\uff09\uff0c\uff11\uff1a\uff1b\uff5e"
).union(TERMINAL, map(chr, range(32)), map(chr, range(127, 160)))
BULLETS = ("•", "-")


def judge(text: str, rules: QualityParameters) -> Finding | None:
    """As :func:`components.curate.filters.quality.judge`; the text may not be blank."""
    return (
        (rules.gopher and gopher(text, rules.gopher))
        or (rules.c4 and c4(text, rules.c4))
        or (rules.fineweb and fineweb(text, rules.fineweb, stripped=rules.c4 is not None))
        or None
    )


def gopher(text: str, rules: GopherParameters) -> Finding | None:
    """Gopher's quality rules, then its repetition rules."""
    words = spacy_words.words(text)
    count = len(words)
    meant = [word for word in words if not SYMBOLS.issuperset(word)]
    if rules.min_words is not None and len(meant) < rules.min_words:
        return "gopher_min_words", f"{len(meant)} words"
    if rules.max_words is not None and len(meant) > rules.max_words:
        return "gopher_max_words", f"{len(meant)} words"
    if meant:
        mean = sum(map(len, meant)) / len(meant)
        if rules.min_mean_word_length is not None and mean < rules.min_mean_word_length:
            return "gopher_mean_word_length", f"mean word of {mean:.1f} characters"
        if rules.max_mean_word_length is not None and mean > rules.max_mean_word_length:
            return "gopher_mean_word_length", f"mean word of {mean:.1f} characters"
    if rules.max_symbol_word_ratio is not None:
        for name, symbols in (("hash signs", text.count("#")), ("ellipses", sum(map(text.count, ELLIPSES)))):
            if symbols / count > rules.max_symbol_word_ratio:
                return "gopher_symbol_word_ratio", f"{symbols} {name} in {count} words"
    lines = text.splitlines()
    if rules.max_bullet_lines is not None:
        share = sum(line.lstrip().startswith(BULLETS) for line in lines) / len(lines)
        if share > rules.max_bullet_lines:
            return "gopher_bullet_lines", f"{share:.2f} of lines begin with a bullet"
    if rules.max_ellipsis_lines is not None:
        share = sum(line.rstrip().endswith(ELLIPSES) for line in lines) / len(lines)
        if share > rules.max_ellipsis_lines:
            return "gopher_ellipsis_lines", f"{share:.2f} of lines end with an ellipsis"
    if rules.min_alphabetic_words is not None:
        share = sum(any(map(str.isalpha, word)) for word in words) / count
        if share < rules.min_alphabetic_words:
            return "gopher_alphabetic_words", f"{share:.2f} of words have a letter"
    if rules.min_stop_words:
        found = len(STOP_WORDS.intersection(words))
        if found < rules.min_stop_words:
            return "gopher_stop_words", f"{found} stop words"
    return _repetition(text, words, rules) if count >= rules.repetition_min_words else None


def _repetition(text: str, words: list[str], rules: GopherParameters) -> Finding | None:
    lines, paragraphs = re.split(r"\n+", text), re.split(r"\n{2,}", text.strip())
    if found := repeated_parts(lines, paragraphs, len(text), rules):
        return found
    for n, most in rules.max_top_ngram_characters.items():
        share = top_ngram(words, n) / len(text)
        if share > most:
            return f"gopher_top_{n}_gram", f"{share:.2f} of characters in the commonest {n}-gram"
    for n, most in rules.max_duplicate_ngram_characters.items():
        share = duplicate_ngrams(words, n) / len(text)
        if share > most:
            return f"gopher_duplicate_{n}_gram", f"{share:.2f} of characters in repeated {n}-grams"
    return None


def top_ngram(words: Sequence[str], n: int) -> int:
    """Characters, blanks between words among them, in the n-gram that occurs most often, of several the first."""
    counts = Counter(" ".join(words[place : place + n]) for place in range(len(words) - n + 1))
    return len(gram := max(counts, key=counts.__getitem__)) * counts[gram] if counts else 0


def duplicate_ngrams(words: Sequence[str], n: int) -> int:
    """Characters of n-grams that occurred before; the next one after such a one begins behind it."""
    seen: set[str] = set()
    characters = place = 0
    while place <= len(words) - n:
        gram = "".join(words[place : place + n])
        if gram in seen:
            characters += len(gram)
            place += n
        else:
            seen.add(gram)
            place += 1
    return characters


def c4(text: str, rules: C4Parameters) -> Finding | None:
    """C4's rules for whole documents."""
    if rules.drop_lorem_ipsum and "lorem ipsum" in text.lower():
        return "c4_lorem_ipsum", "contains lorem ipsum"
    if rules.drop_curly_bracket and "{" in text:
        return "c4_curly_bracket", "contains {"
    if rules.min_sentences is not None:
        lines = [line.strip() for line in text.splitlines()]
        sentences = sum(spacy_words.sentences(line) for line in lines if line or counts_empty_lines(rules))
        if sentences < rules.min_sentences:
            return "c4_min_sentences", f"{sentences} sentences"
    return None


def counts_empty_lines(rules: C4Parameters) -> bool:
    """Whether empty lines are left for datatrove to count: it removes them as it does other lines of too few words."""
    return rules.line_min_words is None and not rules.remove_unpunctuated_lines


def fineweb(text: str, rules: FineWebParameters, *, stripped: bool) -> Finding | None:
    """FineWeb's own rules; ``stripped``: of lines without the white space at their ends, as C4's rules leave them."""
    lines = [line.strip() for line in text.splitlines()] if stripped else text.split("\n")
    characters = sum(map(len, lines))
    lines = [line for line in lines if line.strip()]
    if rules.min_punctuated_lines is not None:
        share = sum(line.endswith(TERMINAL) for line in lines) / len(lines)
        if share < rules.min_punctuated_lines:
            return "fineweb_punctuated_lines", f"{share:.2f} of lines end in punctuation"
    if rules.max_short_lines is not None:
        share = sum(len(line) <= SHORT_LINE for line in lines) / len(lines)
        if share > rules.max_short_lines:
            return "fineweb_short_lines", f"{share:.2f} of lines are short"
    if rules.max_duplicate_line_characters is not None:
        share = repeated(lines)[1] / characters
        if share > rules.max_duplicate_line_characters:
            return "fineweb_duplicate_line_characters", f"{share:.2f} of characters in repeated lines"
    return None

"""The published quality heuristics: each returns the first rule a text breaks, or what is left of its lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from components.curate.filters.quality_parameters import (
    C4Parameters,
    FineWebParameters,
    GopherParameters,
    QualityParameters,
)

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
TERMINAL = (".", "!", "?", '"', "”", "’", "'")
POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"
)  # fmt: skip
SHORT_LINE = 30  # characters, FineWeb
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(?:\s|$)")
BULLETS = ("•", "‣", "▪", "●", "- ", "* ")
ELLIPSES = ("...", "…")

# In the order in which they are applied.
RULES = (
    "gopher_min_words", "gopher_max_words", "gopher_mean_word_length", "gopher_symbol_word_ratio",
    "gopher_bullet_lines", "gopher_ellipsis_lines", "gopher_alphabetic_words", "gopher_stop_words",
    "gopher_duplicate_lines", "gopher_duplicate_line_characters", "gopher_duplicate_paragraphs",
    "gopher_duplicate_paragraph_characters", "gopher_top_n_gram", "gopher_duplicate_n_gram",
    "c4_lorem_ipsum", "c4_curly_bracket", "c4_min_sentences",
    "fineweb_punctuated_lines", "fineweb_short_lines", "fineweb_duplicate_line_characters",
)  # fmt: skip

Finding = tuple[str, str]
"""A broken rule and the measured value, for the report."""


def gopher(text: str, rules: GopherParameters) -> Finding | None:
    """Gopher's quality rules, then its repetition rules; ``None`` if the text passes."""
    words = text.split()
    count = len(words)
    if rules.min_words is not None and count < rules.min_words:
        return "gopher_min_words", f"{count} words"
    if rules.max_words is not None and count > rules.max_words:
        return "gopher_max_words", f"{count} words"
    if not count:
        return None
    mean = sum(map(len, words)) / count
    if rules.min_mean_word_length is not None and mean < rules.min_mean_word_length:
        return "gopher_mean_word_length", f"mean word of {mean:.1f} characters"
    if rules.max_mean_word_length is not None and mean > rules.max_mean_word_length:
        return "gopher_mean_word_length", f"mean word of {mean:.1f} characters"
    if rules.max_symbol_word_ratio is not None:
        for name, symbols in (("hash signs", text.count("#")), ("ellipses", text.count("...") + text.count("…"))):
            # A single symbol in a short text is punctuation, not noise.
            if symbols > 1 and symbols / count > rules.max_symbol_word_ratio:
                return "gopher_symbol_word_ratio", f"{symbols} {name} in {count} words"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if rules.max_bullet_lines is not None:
        share = sum(line.startswith(BULLETS) for line in lines) / len(lines)
        if share > rules.max_bullet_lines and len(lines) > 1:
            return "gopher_bullet_lines", f"{share:.2f} of lines begin with a bullet"
    if rules.max_ellipsis_lines is not None:
        share = sum(line.endswith(ELLIPSES) for line in lines) / len(lines)
        if share > rules.max_ellipsis_lines:
            return "gopher_ellipsis_lines", f"{share:.2f} of lines end with an ellipsis"
    if rules.min_alphabetic_words is not None:
        share = sum(any(map(str.isalpha, word)) for word in words) / count
        if share < rules.min_alphabetic_words:
            return "gopher_alphabetic_words", f"{share:.2f} of words have a letter"
    if rules.min_stop_words:
        found = len(STOP_WORDS.intersection(word.lower().strip(".,;:!?\"'()") for word in words))
        if found < rules.min_stop_words:
            return "gopher_stop_words", f"{found} stop words"
    if count < rules.repetition_min_words:
        return None
    return _repetition(text, words, lines, rules)


def _repetition(text: str, words: list[str], lines: list[str], rules: GopherParameters) -> Finding | None:
    paragraphs = [part.strip() for part in re.split(r"\n{2,}", text) if part.strip()]
    if found := repeated_parts(lines, paragraphs, len(text), rules):
        return found
    total = sum(map(len, words))
    for n, most in rules.max_top_ngram_characters.items():
        share = top_ngram_share(words, n, total)
        if share > most:
            return f"gopher_top_{n}_gram", f"{share:.2f} of characters in the commonest {n}-gram"
    for n, most in rules.max_duplicate_ngram_characters.items():
        share = duplicate_ngram_share(words, n, total)
        if share > most:
            return f"gopher_duplicate_{n}_gram", f"{share:.2f} of characters in repeated {n}-grams"
    return None


def repeated_parts(
    lines: Sequence[str], paragraphs: Sequence[str], size: int, rules: GopherParameters
) -> Finding | None:
    """Gopher's rules for lines and paragraphs that repeat, of a text of ``size`` characters."""
    for name, parts, most, most_characters in (
        ("line", lines, rules.max_duplicate_lines, rules.max_duplicate_line_characters),
        ("paragraph", paragraphs, rules.max_duplicate_paragraphs, rules.max_duplicate_paragraph_characters),
    ):
        again, characters = repeated(parts)
        if most is not None and again / len(parts) > most:
            return f"gopher_duplicate_{name}s", f"{again / len(parts):.2f} of {name}s are repeats"
        if most_characters is not None and characters / size > most_characters:
            return f"gopher_duplicate_{name}_characters", f"{characters / size:.2f} of characters"
    return None


def repeated(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts repeat an earlier one, and their characters."""
    counts = Counter(parts)
    return len(parts) - len(counts), sum((count - 1) * len(part) for part, count in counts.items())


def top_ngram_share(words: Sequence[str], n: int, total: int) -> float:
    """Characters in the n-gram that covers most, over ``total``; an n-gram that occurs once does not count."""
    counts = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    return max((sum(map(len, gram)) * count for gram, count in counts.items() if count > 1), default=0) / total


def duplicate_ngram_share(words: Sequence[str], n: int, total: int) -> float:
    """Characters of words inside any n-gram that occurred before, each word once, over ``total``."""
    seen: set[tuple[str, ...]] = set()
    characters, covered = 0, 0  # words before index `covered` are counted
    for index, gram in enumerate(zip(*(words[i:] for i in range(n)), strict=False)):
        if gram in seen:
            characters += sum(len(word) for word in words[max(index, covered) : index + n])
            covered = index + n
        seen.add(gram)
    return characters / total


def c4_lines(text: str, rules: C4Parameters, copy: str | None = None) -> tuple[str, int]:
    """The text without the lines C4 removes, and how many were removed.

    Args:
        copy: the text as it is judged, line by line, where that is not the text itself.
    """
    wanted = rules.remove_unpunctuated_lines or rules.remove_javascript_lines or rules.remove_policy_lines
    if not wanted and rules.line_min_words is None:
        return text, 0
    lines = text.split("\n")
    judged = lines if copy is None else copy.split("\n")
    kept = [line for line, as_judged in zip(lines, judged, strict=True)
            if not as_judged.strip() or _keeps(as_judged.strip(), rules)]  # fmt: skip
    removed = len(lines) - len(kept)
    return ("\n".join(kept).strip("\n") if removed else text), removed


def _keeps(line: str, rules: C4Parameters) -> bool:
    if rules.remove_unpunctuated_lines and (not line.endswith(TERMINAL) or line.endswith(ELLIPSES)):
        return False
    if rules.line_min_words is not None and len(line.split()) < rules.line_min_words:
        return False
    lower = line.lower()
    if rules.remove_javascript_lines and "javascript" in lower:
        return False
    return not (rules.remove_policy_lines and any(phrase in lower for phrase in POLICY))


def c4(text: str, rules: C4Parameters) -> Finding | None:
    """C4's rules for whole documents."""
    if rules.drop_lorem_ipsum and "lorem ipsum" in text.lower():
        return "c4_lorem_ipsum", "contains lorem ipsum"
    if rules.drop_curly_bracket and "{" in text:
        return "c4_curly_bracket", "contains {"
    if rules.min_sentences is not None:
        sentences = len(_SENTENCE_END.findall(text))
        if sentences < rules.min_sentences:
            return "c4_min_sentences", f"{sentences} sentences"
    return None


def fineweb(text: str, rules: FineWebParameters) -> Finding | None:
    """FineWeb's own rules."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        return None
    if rules.min_punctuated_lines is not None:
        share = sum(line.endswith((*TERMINAL, ":", ";", ",")) for line in lines) / len(lines)
        if share < rules.min_punctuated_lines:
            return "fineweb_punctuated_lines", f"{share:.2f} of lines end in punctuation"
    if rules.max_short_lines is not None:
        share = sum(len(line) < SHORT_LINE for line in lines) / len(lines)
        if share > rules.max_short_lines:
            return "fineweb_short_lines", f"{share:.2f} of lines are short"
    if rules.max_duplicate_line_characters is not None:
        share = repeated(lines)[1] / len(text)
        if share > rules.max_duplicate_line_characters:
            return "fineweb_duplicate_line_characters", f"{share:.2f} of characters in repeated lines"
    return None


def judge(text: str, rules: QualityParameters) -> Finding | None:
    """First published rule that ``text`` breaks, families in order of publication within the web pipelines."""
    return (
        (rules.gopher and gopher(text, rules.gopher))
        or (rules.c4 and c4(text, rules.c4))
        or (rules.fineweb and fineweb(text, rules.fineweb))
        or None
    )

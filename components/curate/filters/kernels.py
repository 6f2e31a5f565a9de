"""The quality rules of :mod:`components.curate.filters.quality` for whole batches, compiled.

Same decisions and reasons as the functions there, which are the reference that the tests hold this file against.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from components.curate.filters import findings, measures
from components.curate.filters.quality import Finding
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.text.code_points import Array, compiled, laid_out, signs

_LOREM = signs("lorem ipsum")


@compiled
def _judge(
    codes: Array,
    starts: Array,
    classes: Array,
    gopher: bool,
    limits: Array,
    top_sizes: Array,
    top_limits: Array,
    duplicate_sizes: Array,
    duplicate_limits: Array,
) -> tuple[Array, Array]:
    """The first broken rule of each text, as a code, and the two numbers of its reason."""
    found = np.zeros(len(starts) - 1, np.int64)
    values = np.zeros((len(starts) - 1, 2), np.float64)
    longest = np.diff(starts).max() if len(starts) > 1 else 0
    room = 16
    while room < longest + 2:
        room *= 2
    table, covers, stamps, stamp = np.empty(room, np.uint64), np.empty(room, np.int64), np.zeros(room, np.int64), 0
    # Words and lines have a sign each, and one between them.
    hashes, sizes = np.empty(longest // 2 + 2, np.uint64), np.empty(longest // 2 + 2, np.int64)
    lines, paragraphs = np.empty((longest // 2 + 2, 2), np.int64), np.empty((longest // 2 + 2, 2), np.int64)
    for text in range(len(starts) - 1):
        start, end = starts[text], starts[text + 1]
        counted = measures.words(codes, start, end, classes, hashes, sizes, limits[findings.STOPS] > 0)
        words, total = counted[0], counted[1]
        count = measures.spans(codes, start, end, 1, classes, lines)
        ends = measures.line_ends(codes, lines, count)
        rule = (findings.NONE, 0.0, 0.0)
        if gopher:
            rule = _quality(counted, measures.symbols(codes, start, end), count, ends, limits)
        repetition = gopher and words > 0 and not words < limits[findings.REPETITION]
        repeated = (0, 0)
        if rule[0] == findings.NONE and (repetition or not np.isnan(limits[findings.FINEWEB_CHARACTERS])):
            stamp += 1
            repeated = measures.repeats(codes, lines, count, table, stamps, stamp)
        if rule[0] == findings.NONE and repetition:
            parts = measures.spans(codes, start, end, 2, classes, paragraphs)
            stamp += 1
            twice = measures.repeats(codes, paragraphs, parts, table, stamps, stamp)
            rule = repetition_finding(repeated, count, twice, parts, end - start, limits)
        if repetition:
            for n, most in zip(top_sizes, top_limits):  # noqa: B905 (not in compiled code)
                if rule[0] == findings.NONE:
                    stamp += 1
                    share = measures.top_ngram(hashes, sizes, words, n, table, stamps, covers, stamp) / total
                    if share > most:
                        rule = (findings.TOP, share, float(n))
            for n, most in zip(duplicate_sizes, duplicate_limits):  # noqa: B905
                if rule[0] == findings.NONE:
                    stamp += 1
                    share = measures.repeated_ngrams(hashes, sizes, words, n, table, stamps, stamp) / total
                    if share > most:
                        rule = (findings.DUPLICATE, share, float(n))
        if rule[0] == findings.NONE:
            rule = c4_finding(codes, start, end, limits)
        if rule[0] == findings.NONE and limits[findings.C4_SENTENCES] > 0:
            sentences = measures.sentences(codes, start, end, classes)
            if sentences < limits[findings.C4_SENTENCES]:
                rule = (findings.SENTENCES, float(sentences), 0.0)
        if rule[0] == findings.NONE and count:
            rule = fineweb_finding(ends, repeated[1], count, end - start, limits)
        found[text], values[text, 0], values[text, 1] = rule
    return found, values


@compiled
def _quality(
    counted: tuple[int, int, int, int],
    symbols: tuple[int, int],
    lines: int,
    ends: tuple[int, int, int, int],
    limits: Array,
) -> findings.Found:
    """Gopher's quality rules."""
    words, total, lettered, stops = counted
    hash_signs, ellipses = symbols
    if words < limits[findings.MIN_WORDS]:
        return findings.FEW_WORDS, float(words), 0.0
    if words > limits[findings.MAX_WORDS]:
        return findings.MANY_WORDS, float(words), 0.0
    if words == 0:
        return findings.NONE, 0.0, 0.0
    if total / words < limits[findings.MIN_MEAN] or total / words > limits[findings.MAX_MEAN]:
        return findings.MEAN, total / words, 0.0
    if hash_signs > 1 and hash_signs / words > limits[findings.SYMBOL_RATIO]:
        return findings.HASH_SIGNS, float(hash_signs), float(words)
    if ellipses > 1 and ellipses / words > limits[findings.SYMBOL_RATIO]:
        return findings.ELLIPSES_FOUND, float(ellipses), float(words)
    if lines > 1 and ends[0] / lines > limits[findings.BULLET_LINES]:
        return findings.BULLETS_FOUND, ends[0] / lines, 0.0
    return line_and_word_finding(ends[1] / lines, lettered / words, stops, limits)


@compiled
def line_and_word_finding(ellipses: float, lettered: float, stops: int, limits: Array) -> findings.Found:
    """Gopher's rules for the share of lines that end in an ellipsis, that of words with a letter, and stop words."""
    if ellipses > limits[findings.ELLIPSIS_LINES]:
        return findings.ELLIPSIS_ENDS, ellipses, 0.0
    if lettered < limits[findings.ALPHABETIC]:
        return findings.LETTERS, lettered, 0.0
    if limits[findings.STOPS] > 0 and stops < limits[findings.STOPS]:
        return findings.STOP, float(stops), 0.0
    return findings.NONE, 0.0, 0.0


@compiled
def repetition_finding(
    lines: tuple[int, int], of_lines: int, paragraphs: tuple[int, int], of_paragraphs: int, size: int, limits: Array
) -> findings.Found:
    """Gopher's rules for lines and paragraphs that repeat: how many, and their characters."""
    if lines[0] / of_lines > limits[findings.LINES]:
        return findings.DUPLICATE_LINES, lines[0] / of_lines, 0.0
    if lines[1] / size > limits[findings.LINE_CHARACTERS]:
        return findings.DUPLICATE_LINE_CHARACTERS, lines[1] / size, 0.0
    if paragraphs[0] / of_paragraphs > limits[findings.PARAGRAPHS]:
        return findings.DUPLICATE_PARAGRAPHS, paragraphs[0] / of_paragraphs, 0.0
    if paragraphs[1] / size > limits[findings.PARAGRAPH_CHARACTERS]:
        return findings.DUPLICATE_PARAGRAPH_CHARACTERS, paragraphs[1] / size, 0.0
    return findings.NONE, 0.0, 0.0


@compiled
def c4_finding(codes: Array, start: int, end: int, limits: Array) -> findings.Found:
    """C4's rules for whole documents, but the number of sentences."""
    if limits[findings.C4_LOREM] > 0 and measures.contains(codes, start, end, _LOREM):
        return findings.LOREM_FOUND, 0.0, 0.0
    if limits[findings.C4_CURLY] > 0:
        for place in range(start, end):
            if codes[place] == 123:
                return findings.CURLY, 0.0, 0.0
    return findings.NONE, 0.0, 0.0


@compiled
def fineweb_finding(
    ends: tuple[int, int, int, int], repeated: int, lines: int, size: int, limits: Array
) -> findings.Found:
    """FineWeb's own rules; ``repeated`` are the characters of lines that repeat."""
    if ends[2] / lines < limits[findings.PUNCTUATED]:
        return findings.UNPUNCTUATED, ends[2] / lines, 0.0
    if ends[3] / lines > limits[findings.SHORT]:
        return findings.SHORT_LINES, ends[3] / lines, 0.0
    if repeated / size > limits[findings.FINEWEB_CHARACTERS]:
        return findings.FINEWEB_DUPLICATES, repeated / size, 0.0
    return findings.NONE, 0.0, 0.0


_classes = cache(measures.classes)


def judge(texts: Sequence[str], rules: QualityParameters) -> list[Finding | None]:
    """As :func:`components.curate.filters.quality.judge`, of each text; no text may be without a word."""
    gopher = rules.gopher
    top = gopher.max_top_ngram_characters if gopher else {}
    duplicate = gopher.max_duplicate_ngram_characters if gopher else {}
    codes, starts = laid_out(texts)
    found, values = _judge(
        codes, starts, _classes(), gopher is not None, findings.thresholds(rules),
        np.array(list(top), np.int64), np.array(list(top.values()), np.float64),
        np.array(list(duplicate), np.int64), np.array(list(duplicate.values()), np.float64),
    )  # fmt: skip
    return findings.named(found, values)

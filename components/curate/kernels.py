"""The quality rules of :mod:`components.curate.quality` for whole batches, compiled.

Same decisions and reasons as the functions there, which are the reference that the tests hold this file against.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from components.curate import measures
from components.curate.code_points import Array, compiled, laid_out, signs
from components.curate.quality import Finding
from components.curate.quality_parameters import QualityParameters

_LOREM = signs("lorem ipsum")

_Found = tuple[int, float, float]
"""A code of a finding, and the two numbers of its reason."""

# Positions in the array of thresholds; a rule that is off is NaN, with which every comparison is false.
(
    _MIN_WORDS, _MAX_WORDS, _MIN_MEAN, _MAX_MEAN, _SYMBOLS, _BULLET_LINES, _ELLIPSIS_LINES, _ALPHABETIC, _STOPS,
    _REPETITION, _LINES, _LINE_CHARACTERS, _PARAGRAPHS, _PARAGRAPH_CHARACTERS, _C4_LOREM, _C4_CURLY, _C4_SENTENCES,
    _PUNCTUATED, _SHORT, _FINEWEB_CHARACTERS,
) = range(20)  # fmt: skip

# Codes of findings.
(
    _NONE, _FEW_WORDS, _MANY_WORDS, _MEAN, _HASH_SIGNS, _ELLIPSES_FOUND, _BULLETS_FOUND, _ELLIPSIS_ENDS, _LETTERS,
    _STOP, _DUPLICATE_LINES, _DUPLICATE_LINE_CHARACTERS, _DUPLICATE_PARAGRAPHS, _DUPLICATE_PARAGRAPH_CHARACTERS,
    _TOP, _DUPLICATE, _LOREM_FOUND, _CURLY, _SENTENCES, _UNPUNCTUATED, _SHORT_LINES, _FINEWEB_DUPLICATES,
) = range(22)  # fmt: skip


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
        counted = measures.words(codes, start, end, classes, hashes, sizes, limits[_STOPS] > 0)
        words, total = counted[0], counted[1]
        count = measures.spans(codes, start, end, 1, classes, lines)
        ends = measures.line_ends(codes, lines, count)
        rule = (_NONE, 0.0, 0.0)
        if gopher:
            rule = _quality(counted, measures.symbols(codes, start, end), count, ends, limits)
        repetition = gopher and words > 0 and not words < limits[_REPETITION]
        repeated = (0, 0)
        if rule[0] == _NONE and (repetition or not np.isnan(limits[_FINEWEB_CHARACTERS])):
            stamp += 1
            repeated = measures.repeats(codes, lines, count, table, stamps, stamp)
        if rule[0] == _NONE and repetition:
            parts = measures.spans(codes, start, end, 2, classes, paragraphs)
            stamp += 1
            twice = measures.repeats(codes, paragraphs, parts, table, stamps, stamp)
            rule = _repetition(repeated, count, twice, parts, end - start, limits)
        if repetition:
            for n, most in zip(top_sizes, top_limits):  # noqa: B905 (not in compiled code)
                if rule[0] == _NONE:
                    stamp += 1
                    share = measures.top_ngram(hashes, sizes, words, n, table, stamps, covers, stamp) / total
                    if share > most:
                        rule = (_TOP, share, float(n))
            for n, most in zip(duplicate_sizes, duplicate_limits):  # noqa: B905
                if rule[0] == _NONE:
                    stamp += 1
                    share = measures.repeated_ngrams(hashes, sizes, words, n, table, stamps, stamp) / total
                    if share > most:
                        rule = (_DUPLICATE, share, float(n))
        if rule[0] == _NONE:
            rule = _c4(codes, start, end, classes, limits)
        if rule[0] == _NONE and count:
            rule = _fineweb(ends, repeated[1], count, end - start, limits)
        found[text], values[text, 0], values[text, 1] = rule
    return found, values


@compiled
def _quality(
    counted: tuple[int, int, int, int],
    symbols: tuple[int, int],
    lines: int,
    ends: tuple[int, int, int, int],
    limits: Array,
) -> _Found:
    """Gopher's quality rules."""
    words, total, lettered, stops = counted
    hash_signs, ellipses = symbols
    if words < limits[_MIN_WORDS]:
        return _FEW_WORDS, float(words), 0.0
    if words > limits[_MAX_WORDS]:
        return _MANY_WORDS, float(words), 0.0
    if words == 0:
        return _NONE, 0.0, 0.0
    if total / words < limits[_MIN_MEAN] or total / words > limits[_MAX_MEAN]:
        return _MEAN, total / words, 0.0
    if hash_signs > 1 and hash_signs / words > limits[_SYMBOLS]:
        return _HASH_SIGNS, float(hash_signs), float(words)
    if ellipses > 1 and ellipses / words > limits[_SYMBOLS]:
        return _ELLIPSES_FOUND, float(ellipses), float(words)
    if lines > 1 and ends[0] / lines > limits[_BULLET_LINES]:
        return _BULLETS_FOUND, ends[0] / lines, 0.0
    if ends[1] / lines > limits[_ELLIPSIS_LINES]:
        return _ELLIPSIS_ENDS, ends[1] / lines, 0.0
    if lettered / words < limits[_ALPHABETIC]:
        return _LETTERS, lettered / words, 0.0
    if limits[_STOPS] > 0 and stops < limits[_STOPS]:
        return _STOP, float(stops), 0.0
    return _NONE, 0.0, 0.0


@compiled
def _repetition(
    lines: tuple[int, int], of_lines: int, paragraphs: tuple[int, int], of_paragraphs: int, size: int, limits: Array
) -> _Found:
    """Gopher's rules for lines and paragraphs that repeat: how many, and their characters."""
    if lines[0] / of_lines > limits[_LINES]:
        return _DUPLICATE_LINES, lines[0] / of_lines, 0.0
    if lines[1] / size > limits[_LINE_CHARACTERS]:
        return _DUPLICATE_LINE_CHARACTERS, lines[1] / size, 0.0
    if paragraphs[0] / of_paragraphs > limits[_PARAGRAPHS]:
        return _DUPLICATE_PARAGRAPHS, paragraphs[0] / of_paragraphs, 0.0
    if paragraphs[1] / size > limits[_PARAGRAPH_CHARACTERS]:
        return _DUPLICATE_PARAGRAPH_CHARACTERS, paragraphs[1] / size, 0.0
    return _NONE, 0.0, 0.0


@compiled
def _c4(codes: Array, start: int, end: int, classes: Array, limits: Array) -> _Found:
    """C4's rules for whole documents."""
    if limits[_C4_LOREM] > 0 and measures.contains(codes, start, end, _LOREM):
        return _LOREM_FOUND, 0.0, 0.0
    if limits[_C4_CURLY] > 0:
        for place in range(start, end):
            if codes[place] == 123:
                return _CURLY, 0.0, 0.0
    if limits[_C4_SENTENCES] > 0:
        sentences = measures.sentences(codes, start, end, classes)
        if sentences < limits[_C4_SENTENCES]:
            return _SENTENCES, float(sentences), 0.0
    return _NONE, 0.0, 0.0


@compiled
def _fineweb(ends: tuple[int, int, int, int], repeated: int, lines: int, size: int, limits: Array) -> _Found:
    """FineWeb's own rules; ``repeated`` are the characters of lines that repeat."""
    if ends[2] / lines < limits[_PUNCTUATED]:
        return _UNPUNCTUATED, ends[2] / lines, 0.0
    if ends[3] / lines > limits[_SHORT]:
        return _SHORT_LINES, ends[3] / lines, 0.0
    if repeated / size > limits[_FINEWEB_CHARACTERS]:
        return _FINEWEB_DUPLICATES, repeated / size, 0.0
    return _NONE, 0.0, 0.0


def _limits(rules: QualityParameters) -> Array:
    limits = np.full(20, np.nan)
    gopher, c4, fineweb = rules.gopher, rules.c4, rules.fineweb
    given = {
        **({} if gopher is None else {
            _MIN_WORDS: gopher.min_words, _MAX_WORDS: gopher.max_words, _MIN_MEAN: gopher.min_mean_word_length,
            _MAX_MEAN: gopher.max_mean_word_length, _SYMBOLS: gopher.max_symbol_word_ratio,
            _BULLET_LINES: gopher.max_bullet_lines, _ELLIPSIS_LINES: gopher.max_ellipsis_lines,
            _ALPHABETIC: gopher.min_alphabetic_words, _STOPS: gopher.min_stop_words,
            _REPETITION: gopher.repetition_min_words, _LINES: gopher.max_duplicate_lines,
            _LINE_CHARACTERS: gopher.max_duplicate_line_characters, _PARAGRAPHS: gopher.max_duplicate_paragraphs,
            _PARAGRAPH_CHARACTERS: gopher.max_duplicate_paragraph_characters,
        }),
        **({} if c4 is None else {
            _C4_LOREM: float(c4.drop_lorem_ipsum), _C4_CURLY: float(c4.drop_curly_bracket),
            _C4_SENTENCES: c4.min_sentences,
        }),
        **({} if fineweb is None else {
            _PUNCTUATED: fineweb.min_punctuated_lines, _SHORT: fineweb.max_short_lines,
            _FINEWEB_CHARACTERS: fineweb.max_duplicate_line_characters,
        }),
    }  # fmt: skip
    for place, value in given.items():
        if value is not None:
            limits[place] = value
    return limits


_REASONS: dict[int, tuple[str, str]] = {
    _FEW_WORDS: ("gopher_min_words", "{0:.0f} words"),
    _MANY_WORDS: ("gopher_max_words", "{0:.0f} words"),
    _MEAN: ("gopher_mean_word_length", "mean word of {0:.1f} characters"),
    _HASH_SIGNS: ("gopher_symbol_word_ratio", "{0:.0f} hash signs in {1:.0f} words"),
    _ELLIPSES_FOUND: ("gopher_symbol_word_ratio", "{0:.0f} ellipses in {1:.0f} words"),
    _BULLETS_FOUND: ("gopher_bullet_lines", "{0:.2f} of lines begin with a bullet"),
    _ELLIPSIS_ENDS: ("gopher_ellipsis_lines", "{0:.2f} of lines end with an ellipsis"),
    _LETTERS: ("gopher_alphabetic_words", "{0:.2f} of words have a letter"),
    _STOP: ("gopher_stop_words", "{0:.0f} stop words"),
    _DUPLICATE_LINES: ("gopher_duplicate_lines", "{0:.2f} of lines are repeats"),
    _DUPLICATE_LINE_CHARACTERS: ("gopher_duplicate_line_characters", "{0:.2f} of characters"),
    _DUPLICATE_PARAGRAPHS: ("gopher_duplicate_paragraphs", "{0:.2f} of paragraphs are repeats"),
    _DUPLICATE_PARAGRAPH_CHARACTERS: ("gopher_duplicate_paragraph_characters", "{0:.2f} of characters"),
    _TOP: ("gopher_top_{1:.0f}_gram", "{0:.2f} of characters in the commonest {1:.0f}-gram"),
    _DUPLICATE: ("gopher_duplicate_{1:.0f}_gram", "{0:.2f} of characters in repeated {1:.0f}-grams"),
    _LOREM_FOUND: ("c4_lorem_ipsum", "contains lorem ipsum"),
    _CURLY: ("c4_curly_bracket", "contains {{"),
    _SENTENCES: ("c4_min_sentences", "{0:.0f} sentences"),
    _UNPUNCTUATED: ("fineweb_punctuated_lines", "{0:.2f} of lines end in punctuation"),
    _SHORT_LINES: ("fineweb_short_lines", "{0:.2f} of lines are short"),
    _FINEWEB_DUPLICATES: ("fineweb_duplicate_line_characters", "{0:.2f} of characters in repeated lines"),
}


_classes = cache(measures.classes)


def judge(texts: Sequence[str], rules: QualityParameters) -> list[Finding | None]:
    """As :func:`components.curate.quality.judge`, of each text; no text may be without a word."""
    gopher = rules.gopher
    top = gopher.max_top_ngram_characters if gopher else {}
    duplicate = gopher.max_duplicate_ngram_characters if gopher else {}
    codes, starts = laid_out(texts)
    found, values = _judge(
        codes, starts, _classes(), gopher is not None, _limits(rules),
        np.array(list(top), np.int64), np.array(list(top.values()), np.float64),
        np.array(list(duplicate), np.int64), np.array(list(duplicate.values()), np.float64),
    )  # fmt: skip
    return [
        None if code == _NONE else (_REASONS[code][0].format(*pair), _REASONS[code][1].format(*pair))
        for code, pair in zip(found.tolist(), values.tolist(), strict=True)
    ]

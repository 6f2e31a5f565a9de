"""Thresholds and findings of the quality rules as numbers, which compiled code takes and gives."""

from __future__ import annotations

import numpy as np

from components.curate.filters.quality import Finding
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.text.code_points import Array

Found = tuple[int, float, float]
"""A code of a finding, and the two numbers of its reason."""

# Positions in the array of thresholds; a rule that is off is NaN, with which every comparison is false.
(
    MIN_WORDS, MAX_WORDS, MIN_MEAN, MAX_MEAN, SYMBOL_RATIO, BULLET_LINES, ELLIPSIS_LINES, ALPHABETIC, STOPS,
    REPETITION, LINES, LINE_CHARACTERS, PARAGRAPHS, PARAGRAPH_CHARACTERS, C4_LOREM, C4_CURLY, C4_SENTENCES,
    PUNCTUATED, SHORT, FINEWEB_CHARACTERS,
) = range(20)  # fmt: skip

# Codes of findings.
(
    NONE, FEW_WORDS, MANY_WORDS, MEAN, HASH_SIGNS, ELLIPSES_FOUND, BULLETS_FOUND, ELLIPSIS_ENDS, LETTERS,
    STOP, DUPLICATE_LINES, DUPLICATE_LINE_CHARACTERS, DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARACTERS,
    TOP, DUPLICATE, LOREM_FOUND, CURLY, SENTENCES, UNPUNCTUATED, SHORT_LINES, FINEWEB_DUPLICATES,
) = range(22)  # fmt: skip


def thresholds(rules: QualityParameters) -> Array:
    """The thresholds (float64), each at its position."""
    found = np.full(20, np.nan)
    gopher, c4, fineweb = rules.gopher, rules.c4, rules.fineweb
    given = {
        **({} if gopher is None else {
            MIN_WORDS: gopher.min_words, MAX_WORDS: gopher.max_words, MIN_MEAN: gopher.min_mean_word_length,
            MAX_MEAN: gopher.max_mean_word_length, SYMBOL_RATIO: gopher.max_symbol_word_ratio,
            BULLET_LINES: gopher.max_bullet_lines, ELLIPSIS_LINES: gopher.max_ellipsis_lines,
            ALPHABETIC: gopher.min_alphabetic_words, STOPS: gopher.min_stop_words,
            REPETITION: gopher.repetition_min_words, LINES: gopher.max_duplicate_lines,
            LINE_CHARACTERS: gopher.max_duplicate_line_characters, PARAGRAPHS: gopher.max_duplicate_paragraphs,
            PARAGRAPH_CHARACTERS: gopher.max_duplicate_paragraph_characters,
        }),
        **({} if c4 is None else {
            C4_LOREM: float(c4.drop_lorem_ipsum), C4_CURLY: float(c4.drop_curly_bracket),
            C4_SENTENCES: c4.min_sentences,
        }),
        **({} if fineweb is None else {
            PUNCTUATED: fineweb.min_punctuated_lines, SHORT: fineweb.max_short_lines,
            FINEWEB_CHARACTERS: fineweb.max_duplicate_line_characters,
        }),
    }  # fmt: skip
    for place, value in given.items():
        if value is not None:
            found[place] = value
    return found


_REASONS: dict[int, tuple[str, str]] = {
    FEW_WORDS: ("gopher_min_words", "{0:.0f} words"),
    MANY_WORDS: ("gopher_max_words", "{0:.0f} words"),
    MEAN: ("gopher_mean_word_length", "mean word of {0:.1f} characters"),
    HASH_SIGNS: ("gopher_symbol_word_ratio", "{0:.0f} hash signs in {1:.0f} words"),
    ELLIPSES_FOUND: ("gopher_symbol_word_ratio", "{0:.0f} ellipses in {1:.0f} words"),
    BULLETS_FOUND: ("gopher_bullet_lines", "{0:.2f} of lines begin with a bullet"),
    ELLIPSIS_ENDS: ("gopher_ellipsis_lines", "{0:.2f} of lines end with an ellipsis"),
    LETTERS: ("gopher_alphabetic_words", "{0:.2f} of words have a letter"),
    STOP: ("gopher_stop_words", "{0:.0f} stop words"),
    DUPLICATE_LINES: ("gopher_duplicate_lines", "{0:.2f} of lines are repeats"),
    DUPLICATE_LINE_CHARACTERS: ("gopher_duplicate_line_characters", "{0:.2f} of characters"),
    DUPLICATE_PARAGRAPHS: ("gopher_duplicate_paragraphs", "{0:.2f} of paragraphs are repeats"),
    DUPLICATE_PARAGRAPH_CHARACTERS: ("gopher_duplicate_paragraph_characters", "{0:.2f} of characters"),
    TOP: ("gopher_top_{1:.0f}_gram", "{0:.2f} of characters in the commonest {1:.0f}-gram"),
    DUPLICATE: ("gopher_duplicate_{1:.0f}_gram", "{0:.2f} of characters in repeated {1:.0f}-grams"),
    LOREM_FOUND: ("c4_lorem_ipsum", "contains lorem ipsum"),
    CURLY: ("c4_curly_bracket", "contains {{"),
    SENTENCES: ("c4_min_sentences", "{0:.0f} sentences"),
    UNPUNCTUATED: ("fineweb_punctuated_lines", "{0:.2f} of lines end in punctuation"),
    SHORT_LINES: ("fineweb_short_lines", "{0:.2f} of lines are short"),
    FINEWEB_DUPLICATES: ("fineweb_duplicate_line_characters", "{0:.2f} of characters in repeated lines"),
}


def named(codes: Array, values: Array) -> list[Finding | None]:
    """The findings of texts, by their codes and the numbers of their reasons."""
    return [
        None if code == NONE else (_REASONS[code][0].format(*pair), _REASONS[code][1].format(*pair))
        for code, pair in zip(codes.tolist(), values.tolist(), strict=True)
    ]

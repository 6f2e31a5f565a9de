"""The quality rules of :mod:`components.curate.quality` for whole batches, compiled.

Same decisions and reasons as the functions there, which are the reference that the tests hold this file against. Texts
are laid end to end as code points; words, lines and n-grams of one text are compared by 64-bit hashes (multiply and
shift), which nobody who writes a text on purpose is kept from letting collide: that can at most change what is said of
this one text. The first use on a machine compiles for some seconds and keeps the code in ``__pycache__``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from components.curate.quality import BULLETS, ELLIPSES, SHORT_LINE, STOP_WORDS, TERMINAL, Finding
from components.curate.quality_parameters import QualityParameters

Array = np.ndarray[Any, Any]

_SPACE, _ALPHA = 1, 2


@cache
def classes() -> Array:
    """Bits of each code point: 1 white space, 2 a letter (as ``str.isspace`` and ``str.isalpha`` have it)."""
    every = "".join(map(chr, range(0x110000)))
    space = np.frombuffer(bytes(map(str.isspace, every)), np.uint8)
    alpha = np.frombuffer(bytes(map(str.isalpha, every)), np.uint8)
    return space * np.uint8(_SPACE) | alpha * np.uint8(_ALPHA)


def laid_out(texts: Sequence[str]) -> tuple[Array, Array]:
    """All texts as code points end to end (uint32), and where each begins, with the end of the last (int64)."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
    return codes, starts


_PUNCTUATION = np.array([ord(sign) for sign in (*TERMINAL, ":", ";", ",")], np.uint32)
_CLOSERS = np.array([ord(sign) for sign in "\"'”’)]"], np.uint32)
_TRIMMED = np.array([ord(sign) for sign in ".,;:!?\"'()"], np.uint32)
_ONE_SIGN_BULLETS = np.array([ord(sign) for sign in BULLETS if len(sign) == 1], np.uint32)
_TWO_SIGN_BULLETS = np.array([[ord(sign) for sign in each] for each in BULLETS if len(each) == 2], np.uint32)
_ELLIPSIS = np.uint32(ord(ELLIPSES[1]))
_STOP_WORDS = laid_out(sorted(STOP_WORDS))
_LOREM = laid_out(["lorem ipsum"])[0]

_compiled = njit(cache=True, nogil=True, boundscheck=False)


@_compiled
def _is_in(code: int, signs: Array) -> bool:
    for sign in signs:
        if sign == code:
            return True
    return False


@_compiled
def _lower(code: int) -> int:
    return code + 32 if 65 <= code <= 90 else code  # no other sign has a lower case that the phrases hold


@_compiled
def _contains(codes: Array, start: int, end: int, phrase: Array) -> bool:
    """True if the phrase (lower case, ASCII) is in ``codes[start:end]`` in any case."""
    for place in range(start, end - len(phrase) + 1):
        same = 0
        while same < len(phrase) and _lower(codes[place + same]) == phrase[same]:
            same += 1
        if same == len(phrase):
            return True
    return False


@_compiled
def _trim(codes: Array, start: int, end: int, classes: Array) -> tuple[int, int]:
    while start < end and classes[codes[start]] & 1:
        start += 1
    while end > start and classes[codes[end - 1]] & 1:
        end -= 1
    return start, end


@_compiled
def _hash(codes: Array, start: int, end: int) -> Any:
    value = np.uint64(0x9E3779B97F4A7C15)
    for place in range(start, end):
        value = (value ^ np.uint64(codes[place])) * np.uint64(0xD6E8FEB86659FD93)
        value ^= value >> np.uint64(32)
    return value


@_compiled
def _ends_with_ellipsis(codes: Array, start: int, end: int) -> bool:
    if end - start >= 3 and codes[end - 1] == 46 and codes[end - 2] == 46 and codes[end - 3] == 46:
        return True
    return end > start and codes[end - 1] == _ELLIPSIS


@_compiled
def _add(table: Array, stamps: Array, stamp: int, key: Any, size: int) -> Any:
    """Place of ``key`` in the open hash table; its stamp is not ``stamp`` where it is new."""
    mask = np.uint64(size - 1)
    place = (key ^ (key >> np.uint64(29))) & mask
    while stamps[place] == stamp and table[place] != key:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


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


@_compiled
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
    count_of_texts = len(starts) - 1
    found = np.zeros(count_of_texts, np.int64)
    values = np.zeros((count_of_texts, 2), np.float64)
    longest = 0
    for text in range(count_of_texts):
        longest = max(longest, starts[text + 1] - starts[text])
    room = 16
    while room < longest + 2:
        room *= 2
    table, stamps = np.empty(room, np.uint64), np.zeros(room, np.int64)
    covers = np.empty(room, np.int64)
    hashes, sizes = np.empty(longest // 2 + 2, np.uint64), np.empty(longest // 2 + 2, np.int64)
    lines = np.empty((longest // 2 + 2, 2), np.int64)
    stamp = 0
    powers = np.uint64(0x9FB21C651E98DF25)
    for text in range(count_of_texts):
        start, end = starts[text], starts[text + 1]
        characters = end - start
        words = total = alphabetic = hash_signs = ellipses = dots = 0
        stops = 0
        key: Any
        has_letter = False
        begin = start
        for place in range(start, end + 1):
            code = np.uint32(32) if place == end else codes[place]
            kind = classes[code]
            if code == 35:
                hash_signs += 1
            elif code == _ELLIPSIS:
                ellipses += 1
            if code == 46:
                dots += 1
                if dots == 3:
                    ellipses += 1
                    dots = 0
            else:
                dots = 0
            if kind & 1:
                if place > begin:
                    hashes[words] = _hash(codes, begin, place)
                    sizes[words] = place - begin
                    words += 1
                    total += place - begin
                    alphabetic += has_letter
                    if limits[_STOPS] > 0:
                        left, right = begin, place
                        while left < right and _is_in(codes[left], _TRIMMED):
                            left += 1
                        while right > left and _is_in(codes[right - 1], _TRIMMED):
                            right -= 1
                        for each in range(len(_STOP_WORDS[1]) - 1):
                            first, size = _STOP_WORDS[1][each], _STOP_WORDS[1][each + 1] - _STOP_WORDS[1][each]
                            if size != right - left:
                                continue
                            same = 0
                            while same < size and _lower(codes[left + same]) == _STOP_WORDS[0][first + same]:
                                same += 1
                            if same == size:
                                stops |= 1 << each
                    has_letter = False
                begin = place + 1
            elif kind & 2:
                has_letter = True

        count_of_lines = bullets = ellipsis_ends = punctuated = short = 0
        here = start
        while here <= end:
            line_end = here
            while line_end < end and codes[line_end] != 10:
                line_end += 1
            left, right = _trim(codes, here, line_end, classes)
            if right > left:
                lines[count_of_lines, 0], lines[count_of_lines, 1] = left, right
                count_of_lines += 1
                if _is_in(codes[left], _ONE_SIGN_BULLETS):
                    bullets += 1
                elif right - left > 1:
                    for pair in _TWO_SIGN_BULLETS:
                        if codes[left] == pair[0] and codes[left + 1] == pair[1]:
                            bullets += 1
                            break
                ellipsis_ends += _ends_with_ellipsis(codes, left, right)
                punctuated += _is_in(codes[right - 1], _PUNCTUATION)
                short += right - left < SHORT_LINE
            here = line_end + 1

        duplicate_lines = duplicate_line_characters = 0
        repeats = gopher and not words < limits[_REPETITION]
        if repeats or not np.isnan(limits[_FINEWEB_CHARACTERS]):
            stamp += 1
            size = 16
            while size < 2 * count_of_lines:
                size *= 2
            for line in range(count_of_lines):
                left, right = lines[line, 0], lines[line, 1]
                key = _hash(codes, left, right)
                place = _add(table, stamps, stamp, key, size)
                if stamps[place] == stamp:
                    duplicate_lines += 1
                    duplicate_line_characters += right - left
                else:
                    stamps[place], table[place] = stamp, key

        code, one, other = _NONE, 0.0, 0.0
        if gopher:
            mean = total / words if words else 0.0
            if words < limits[_MIN_WORDS]:
                code, one = _FEW_WORDS, words
            elif words > limits[_MAX_WORDS]:
                code, one = _MANY_WORDS, words
            elif words == 0:
                code = _NONE
            elif mean < limits[_MIN_MEAN] or mean > limits[_MAX_MEAN]:
                code, one = _MEAN, mean
            elif hash_signs > 1 and hash_signs / words > limits[_SYMBOLS]:
                code, one, other = _HASH_SIGNS, hash_signs, words
            elif ellipses > 1 and ellipses / words > limits[_SYMBOLS]:
                code, one, other = _ELLIPSES_FOUND, ellipses, words
            elif bullets / count_of_lines > limits[_BULLET_LINES] and count_of_lines > 1:
                code, one = _BULLETS_FOUND, bullets / count_of_lines
            elif ellipsis_ends / count_of_lines > limits[_ELLIPSIS_LINES]:
                code, one = _ELLIPSIS_ENDS, ellipsis_ends / count_of_lines
            elif alphabetic / words < limits[_ALPHABETIC]:
                code, one = _LETTERS, alphabetic / words
            else:
                distinct = 0
                while stops:
                    distinct += stops & 1
                    stops >>= 1
                if limits[_STOPS] > 0 and distinct < limits[_STOPS]:
                    code, one = _STOP, distinct
                elif repeats:
                    paragraphs = duplicate_paragraphs = duplicate_paragraph_characters = 0
                    stamp += 1
                    size = 16
                    while size < 2 * count_of_lines:
                        size *= 2
                    here = start
                    while here < end:
                        paragraph_end = here
                        while paragraph_end < end and not (
                            codes[paragraph_end] == 10 and paragraph_end + 1 < end and codes[paragraph_end + 1] == 10
                        ):
                            paragraph_end += 1
                        left, right = _trim(codes, here, paragraph_end, classes)
                        if right > left:
                            paragraphs += 1
                            key = _hash(codes, left, right)
                            place = _add(table, stamps, stamp, key, size)
                            if stamps[place] == stamp:
                                duplicate_paragraphs += 1
                                duplicate_paragraph_characters += right - left
                            else:
                                stamps[place], table[place] = stamp, key
                        here = paragraph_end + 2
                    if duplicate_lines / count_of_lines > limits[_LINES]:
                        code, one = _DUPLICATE_LINES, duplicate_lines / count_of_lines
                    elif duplicate_line_characters / characters > limits[_LINE_CHARACTERS]:
                        code, one = _DUPLICATE_LINE_CHARACTERS, duplicate_line_characters / characters
                    elif duplicate_paragraphs / paragraphs > limits[_PARAGRAPHS]:
                        code, one = _DUPLICATE_PARAGRAPHS, duplicate_paragraphs / paragraphs
                    elif duplicate_paragraph_characters / characters > limits[_PARAGRAPH_CHARACTERS]:
                        code, one = _DUPLICATE_PARAGRAPH_CHARACTERS, duplicate_paragraph_characters / characters
                    size = 16
                    while size < 2 * words:
                        size *= 2
                    size = min(size, room)
                    rule = 0
                    while code == _NONE and rule < len(top_sizes):
                        n = top_sizes[rule]
                        stamp += 1
                        most = 0
                        for word in range(words - n + 1):
                            key, length = np.uint64(n), 0
                            for each in range(word, word + n):
                                key = (key ^ hashes[each]) * powers
                                key ^= key >> np.uint64(31)
                                length += sizes[each]
                            place = _add(table, stamps, stamp, key, size)
                            if stamps[place] == stamp:
                                covers[place] += length
                                most = max(most, covers[place])
                            else:
                                stamps[place], table[place], covers[place] = stamp, key, length
                        if most / total > top_limits[rule]:
                            code, one, other = _TOP, most / total, n
                        rule += 1
                    rule = 0
                    while code == _NONE and rule < len(duplicate_sizes):
                        n = duplicate_sizes[rule]
                        stamp += 1
                        repeated, covered = 0, 0
                        for word in range(words - n + 1):
                            key = np.uint64(n)
                            for each in range(word, word + n):
                                key = (key ^ hashes[each]) * powers
                                key ^= key >> np.uint64(31)
                            place = _add(table, stamps, stamp, key, size)
                            if stamps[place] == stamp:
                                for each in range(max(word, covered), word + n):
                                    repeated += sizes[each]
                                covered = word + n
                            else:
                                stamps[place], table[place] = stamp, key
                        if repeated / total > duplicate_limits[rule]:
                            code, one, other = _DUPLICATE, repeated / total, n
                        rule += 1
        if code == _NONE:
            if limits[_C4_LOREM] > 0 and _contains(codes, start, end, _LOREM):
                code = _LOREM_FOUND
            if code == _NONE and limits[_C4_CURLY] > 0:
                for place in range(start, end):
                    if codes[place] == 123:
                        code = _CURLY
                        break
            if code == _NONE and limits[_C4_SENTENCES] > 0:
                sentences = 0
                for place in range(start, end):
                    if codes[place] == 46 or codes[place] == 33 or codes[place] == 63:
                        after = place + 1
                        while after < end and _is_in(codes[after], _CLOSERS):
                            after += 1
                        if after == end or classes[codes[after]] & 1:
                            sentences += 1
                if sentences < limits[_C4_SENTENCES]:
                    code, one = _SENTENCES, sentences
        if code == _NONE and count_of_lines:
            if punctuated / count_of_lines < limits[_PUNCTUATED]:
                code, one = _UNPUNCTUATED, punctuated / count_of_lines
            elif short / count_of_lines > limits[_SHORT]:
                code, one = _SHORT_LINES, short / count_of_lines
            elif duplicate_line_characters / characters > limits[_FINEWEB_CHARACTERS]:
                code, one = _FINEWEB_DUPLICATES, duplicate_line_characters / characters
        found[text] = code
        values[text, 0], values[text, 1] = one, other
    return found, values


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


def judge(texts: Sequence[str], rules: QualityParameters) -> list[Finding | None]:
    """As :func:`components.curate.quality.judge`, of each text; no text may be without a word."""
    gopher = rules.gopher
    top = gopher.max_top_ngram_characters if gopher else {}
    duplicate = gopher.max_duplicate_ngram_characters if gopher else {}
    codes, starts = laid_out(texts)
    found, values = _judge(
        codes, starts, classes(), gopher is not None, _limits(rules),
        np.array(list(top), np.int64), np.array(list(top.values()), np.float64),
        np.array(list(duplicate), np.int64), np.array(list(duplicate.values()), np.float64),
    )  # fmt: skip
    return [
        None if code == _NONE else (_REASONS[code][0].format(*pair), _REASONS[code][1].format(*pair))
        for code, pair in zip(found.tolist(), values.tolist(), strict=True)
    ]

"""The quality rules of :mod:`components.curate.filters.as_datatrove` for whole batches, compiled.

Same decisions and reasons as the functions there, which are the reference that the tests hold this file against. Texts
are laid out as for :mod:`components.curate.filters.measures`; ``begins`` is 1 where a word begins.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

from components.curate.filters import findings, measures, word_beginnings
from components.curate.filters.as_datatrove import BULLETS, SYMBOLS, TERMINAL, counts_empty_lines
from components.curate.filters.kernels import c4_finding, fineweb_finding, line_and_word_finding, repetition_finding
from components.curate.filters.quality import ELLIPSES, SHORT_LINE, STOP_WORDS, Finding
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.filters.spacy_words import sentence_ends
from components.curate.text.code_points import Array, compiled, every, is_in, laid_out, signs, stands

_SYMBOL, _PUNCTUATION, _SENTENCE_END, _FULL_STOP, _LINE_END = (1 << bit for bit in range(2, 7))

_BULLETS = signs(BULLETS)
_DOTS, _ELLIPSIS = signs(ELLIPSES[0]), np.uint32(ord(ELLIPSES[1]))
_STOP_WORDS, _STOP_STARTS = laid_out(sorted(STOP_WORDS))
_LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # of str.splitlines
_BASE = np.uint64(0x9FB21C651E98DF25)  # of the hash of characters, which is a polynomial: odd, of many bits


@cache
def classes() -> Array:
    """Bits of each code point (uint8)."""
    table = measures.classes()  # white space and letters
    for signs_, bit in (
        (SYMBOLS, _SYMBOL), (sentence_ends(), _SENTENCE_END), (TERMINAL, _FULL_STOP), (_LINE_ENDS, _LINE_END),
        ((sign for sign in every() if unicodedata.category(sign).startswith("P")), _PUNCTUATION),
    ):  # fmt: skip
        table[[ord(sign) for sign in signs_]] |= bit
    return table


@compiled
def _judge(
    codes: Array,
    starts: Array,
    begins: Array,
    classes: Array,
    gopher: bool,
    empty_lines: bool,
    stripped: bool,
    limits: Array,
    top_sizes: Array,
    top_limits: Array,
    duplicate_sizes: Array,
    duplicate_limits: Array,
) -> tuple[Array, Array]:
    """The first broken rule of each text, as a code, and the two numbers of its reason.

    ``empty_lines`` are sentences; FineWeb's lines are ``stripped``.
    """
    found = np.zeros(len(starts) - 1, np.int64)
    values = np.zeros((len(starts) - 1, 2), np.float64)
    longest = np.diff(starts).max() if len(starts) > 1 else 0
    room = 16
    while room < 2 * longest + 4:
        room *= 2
    table, stamps, stamp = np.empty(room, np.uint64), np.zeros(room, np.int64), 0
    counts, firsts = np.empty(room, np.int64), np.empty(room, np.int64)
    hashes, sizes = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.int64)
    # Of the words before each, run together: hash and characters.
    joined, characters = np.zeros(longest + 2, np.uint64), np.zeros(longest + 2, np.int64)
    powers = np.ones(longest + 2, np.uint64)
    for power in range(1, longest + 2):
        powers[power] = powers[power - 1] * _BASE
    parts = np.empty((longest + 2, 2), np.int64)
    for text in range(len(starts) - 1):
        start, end = starts[text], starts[text + 1]
        size = end - start
        rule = (findings.NONE, 0.0, 0.0)
        if gopher:
            counted = _words(codes, start, end, classes, begins, hashes, sizes, joined, characters)
            words = counted[0]
            count = _lines(codes, start, end, classes, parts)
            rule = _quality(
                counted, measures.symbols(codes, start, end), count, _line_ends(codes, classes, parts, count), limits
            )
            repetition = not words < limits[findings.REPETITION]
            if rule[0] == findings.NONE and repetition:
                count = _split(codes, start, end, 1, parts)
                stamp += 1
                lines = measures.repeats(codes, parts, count, table, stamps, stamp)
                left, right = _stripped(codes, start, end, classes)
                paragraphs = _split(codes, left, right, 2, parts)
                stamp += 1
                twice = measures.repeats(codes, parts, paragraphs, table, stamps, stamp)
                rule = repetition_finding(lines, count, twice, paragraphs, size, limits)
            if repetition:
                for n, most in zip(top_sizes, top_limits):  # noqa: B905 (not in compiled code)
                    if rule[0] == findings.NONE:
                        stamp += 1
                        share = _top_ngram(hashes, sizes, words, n, table, stamps, counts, firsts, stamp) / size
                        if share > most:
                            rule = (findings.TOP, share, float(n))
                for n, most in zip(duplicate_sizes, duplicate_limits):  # noqa: B905
                    if rule[0] == findings.NONE:
                        stamp += 1
                        share = _duplicate_ngrams(joined, characters, powers, words, n, table, stamps, stamp) / size
                        if share > most:
                            rule = (findings.DUPLICATE, share, float(n))
        if rule[0] == findings.NONE:
            rule = _c4(codes, start, end, classes, begins, parts, empty_lines, limits)
        if rule[0] == findings.NONE:
            count, inside = _fineweb_lines(codes, start, end, classes, stripped, parts)
            stamp += 1
            repeated = measures.repeats(codes, parts, count, table, stamps, stamp)[1]
            rule = fineweb_finding(_line_ends(codes, classes, parts, count), repeated, count, inside, limits)
        found[text], values[text, 0], values[text, 1] = rule
    return found, values


@compiled
def _words(
    codes: Array,
    start: int,
    end: int,
    classes: Array,
    begins: Array,
    hashes: Array,
    sizes: Array,
    joined: Array,
    characters: Array,
) -> tuple[int, int, int, int, int]:
    """Hash and size of every word, and of the words before it run together, into the arrays given.

    Returns:
        Words; those not of symbols alone, and the characters in these; words with a letter; distinct stop words.
    """
    count = meant = total = lettered = stops = 0
    place = start
    while place < end:
        if classes[codes[place]] & measures.SPACE:
            place += 1
            continue
        begin = place
        only_symbols, has_letter = True, False
        until = joined[count]
        while place < end and (place == begin or not begins[place]) and not classes[codes[place]] & measures.SPACE:
            kind = classes[codes[place]]
            only_symbols = only_symbols and (kind & _SYMBOL) != 0
            has_letter = has_letter or (kind & measures.LETTER) != 0
            until = until * _BASE + measures.mixed(np.uint64(codes[place]))
            place += 1
        hashes[count], sizes[count] = measures.hashed(codes, begin, place), place - begin
        joined[count + 1], characters[count + 1] = until, characters[count] + place - begin
        count += 1
        meant += not only_symbols
        total += 0 if only_symbols else place - begin
        lettered += has_letter
        for number in range(len(_STOP_STARTS) - 1):
            first, last = _STOP_STARTS[number], _STOP_STARTS[number + 1]
            if last - first == place - begin and stands(codes, begin, _STOP_WORDS[first:last], False):
                stops |= 1 << number
    distinct = 0
    while stops:
        distinct += stops & 1
        stops >>= 1
    return count, meant, total, lettered, distinct


@compiled
def _quality(
    counted: tuple[int, int, int, int, int],
    symbols: tuple[int, int],
    lines: int,
    ends: tuple[int, int, int, int],
    limits: Array,
) -> findings.Found:
    """Gopher's quality rules."""
    words, meant, total, lettered, stops = counted
    hash_signs, ellipses = symbols
    if meant < limits[findings.MIN_WORDS]:
        return findings.FEW_WORDS, float(meant), 0.0
    if meant > limits[findings.MAX_WORDS]:
        return findings.MANY_WORDS, float(meant), 0.0
    if meant > 0 and (total / meant < limits[findings.MIN_MEAN] or total / meant > limits[findings.MAX_MEAN]):
        return findings.MEAN, total / meant, 0.0
    if hash_signs / words > limits[findings.SYMBOL_RATIO]:
        return findings.HASH_SIGNS, float(hash_signs), float(words)
    if ellipses / words > limits[findings.SYMBOL_RATIO]:
        return findings.ELLIPSES_FOUND, float(ellipses), float(words)
    if ends[0] / lines > limits[findings.BULLET_LINES]:
        return findings.BULLETS_FOUND, ends[0] / lines, 0.0
    return line_and_word_finding(ends[1] / lines, lettered / words, stops, limits)


@compiled
def _stripped(codes: Array, left: int, right: int, classes: Array) -> tuple[int, int]:
    while left < right and classes[codes[left]] & measures.SPACE:
        left += 1
    while right > left and classes[codes[right - 1]] & measures.SPACE:
        right -= 1
    return left, right


@compiled
def _lines(codes: Array, start: int, end: int, classes: Array, found: Array) -> int:
    """Begin and end of the lines, as ``str.splitlines`` has them."""
    count, begin, place = 0, start, start
    while place < end:
        if classes[codes[place]] & _LINE_END:
            found[count, 0], found[count, 1] = begin, place
            count += 1
            if codes[place] == 13 and place + 1 < end and codes[place + 1] == 10:
                place += 1
            begin = place + 1
        place += 1
    if begin < end:
        found[count, 0], found[count, 1] = begin, end
        count += 1
    return count


@compiled
def _split(codes: Array, start: int, end: int, least: int, found: Array) -> int:
    """Begin and end of the parts between so many newlines or more, as ``re.split`` has them."""
    count, begin, place = 0, start, start
    while place < end:
        after = place
        while after < end and codes[after] == 10:
            after += 1
        if after - place >= least:
            found[count, 0], found[count, 1] = begin, place
            count += 1
            begin = after
        place = max(after, place + 1)
    found[count, 0], found[count, 1] = begin, end
    return count + 1


@compiled
def _line_ends(codes: Array, classes: Array, lines: Array, count: int) -> tuple[int, int, int, int]:
    """Of the lines: how many begin with a bullet, end with an ellipsis, end in a full stop, are short."""
    bullets = ellipses = stopped = short = 0
    for line in range(count):
        left, right = lines[line, 0], lines[line, 1]
        stopped += right > left and (classes[codes[right - 1]] & _FULL_STOP) != 0
        short += right - left <= SHORT_LINE
        left, right = _stripped(codes, left, right, classes)
        if right > left:
            bullets += is_in(codes[left], _BULLETS)
            ends = codes[right - 1] == _ELLIPSIS
            ellipses += ends or (right - left >= 3 and stands(codes, right - 3, _DOTS, False))
    return bullets, ellipses, stopped, short


@compiled
def _fineweb_lines(codes: Array, start: int, end: int, classes: Array, stripped: bool, found: Array) -> tuple[int, int]:
    """Begin and end of the lines that are not blank; how many they are, and the characters of all lines."""
    inside, count = 0, 0
    if stripped:
        lines = _lines(codes, start, end, classes, found)
    else:
        lines = _split(codes, start, end, 1, found)
    for line in range(lines):
        left, right = _stripped(codes, found[line, 0], found[line, 1], classes)
        is_blank = left == right
        if not stripped:
            left, right = found[line, 0], found[line, 1]
        inside += right - left
        if not is_blank:
            found[count, 0], found[count, 1] = left, right
            count += 1
    return count, inside


@compiled
def _top_ngram(
    hashes: Array,
    sizes: Array,
    words: int,
    n: int,
    table: Array,
    stamps: Array,
    counts: Array,
    firsts: Array,
    stamp: int,
) -> int:
    """Characters, a blank between words among them, in the n-gram that occurs most often, of several the first."""
    size = measures.table_size(words)
    most, best = 0, 0
    for word in range(words - n + 1):
        key = measures.gram(hashes, word, n)
        place = measures.place_of(table, stamps, stamp, key, size)
        if stamps[place] == stamp:
            counts[place] += 1
        else:
            stamps[place], table[place], counts[place], firsts[place] = stamp, key, 1, word
        if counts[place] > most or (counts[place] == most and firsts[place] < best):
            most, best = counts[place], firsts[place]
    length = n - 1
    for word in range(best, best + n):
        length += sizes[word]
    return most * length if most else 0


@compiled
def _duplicate_ngrams(
    joined: Array, characters: Array, powers: Array, words: int, n: int, table: Array, stamps: Array, stamp: int
) -> int:
    """Characters of n-grams that occurred before; the next one after such a one begins behind it."""
    size = measures.table_size(words)
    repeated = word = 0
    while word <= words - n:
        length = characters[word + n] - characters[word]
        # Of the characters alone, however they are divided into words.
        key = measures.mixed(joined[word + n] - joined[word] * powers[length])
        place = measures.place_of(table, stamps, stamp, key, size)
        if stamps[place] == stamp:
            repeated += length
            word += n
        else:
            stamps[place], table[place] = stamp, key
            word += 1
    return repeated


@compiled
def _c4(
    codes: Array,
    start: int,
    end: int,
    classes: Array,
    begins: Array,
    lines: Array,
    empty_lines: bool,
    limits: Array,
) -> findings.Found:
    """C4's rules for whole documents."""
    rule = c4_finding(codes, start, end, limits)
    if rule[0] != findings.NONE or not limits[findings.C4_SENTENCES] > 0:
        return rule
    sentences = 0
    for line in range(_lines(codes, start, end, classes, lines)):
        left, right = _stripped(codes, lines[line, 0], lines[line, 1], classes)
        sentences += _sentences(codes, left, right, classes, begins) if right > left else empty_lines
    if sentences < limits[findings.C4_SENTENCES]:
        return findings.SENTENCES, float(sentences), 0.0
    return rule


@compiled
def _sentences(codes: Array, start: int, end: int, classes: Array, begins: Array) -> int:
    """Sentences of a line without white space at its ends, by the sentencizer of spaCy."""
    count, ended = 1, False
    place = start
    while place < end:
        begin = place
        is_space, is_punctuation = (classes[codes[place]] & measures.SPACE) != 0, True
        while place < end and (place == begin or is_space or not begins[place]):
            kind = classes[codes[place]]
            if ((kind & measures.SPACE) != 0) != is_space:
                break
            is_punctuation = is_punctuation and (kind & _PUNCTUATION) != 0
            place += 1
        if is_space and place == begin + 1 and codes[begin] == 32:
            continue  # every other white space is a token
        if not is_space and place == begin + 1 and classes[codes[begin]] & _SENTENCE_END:
            ended = True
        elif ended and not is_punctuation:
            count, ended = count + 1, False
    return count


def judge(texts: Sequence[str], rules: QualityParameters) -> list[Finding | None]:
    """As :func:`components.curate.filters.as_datatrove.judge`, of each text; no text may be blank."""
    gopher = rules.gopher
    top = gopher.max_top_ngram_characters if gopher else {}
    duplicate = gopher.max_duplicate_ngram_characters if gopher else {}
    codes, starts = laid_out(texts)
    begins = word_beginnings.begins(texts, codes, starts, classes())
    found, values = _judge(
        codes, starts, begins, classes(), gopher is not None, rules.c4 is not None and counts_empty_lines(rules.c4),
        rules.c4 is not None, findings.thresholds(rules),
        np.array(list(top), np.int64), np.array(list(top.values()), np.float64),
        np.array(list(duplicate), np.int64), np.array(list(duplicate.values()), np.float64),
    )  # fmt: skip
    return findings.named(found, values)

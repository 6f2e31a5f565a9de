"""What the quality rules measure of a text, compiled: its words, lines, paragraphs, sentences and n-grams.

Words, lines and n-grams of one text are compared by 64-bit hashes (multiply and shift). Nobody who writes a text on
purpose is kept from letting two collide: that can at most change what is said of this one text.

All functions take code points laid end to end (uint32) and the text's place among them, and ``classes``, the bits of
every code point. A hash table is open, and empty wherever its stamp is not the present one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.curate.filters.quality import BULLETS, ELLIPSES, SHORT_LINE, STOP_WORDS, TERMINAL
from components.curate.text.code_points import Array, compiled, is_in, laid_out, signs, stands, those

SPACE, LETTER = 1, 2

_PUNCTUATION = signs([*TERMINAL, ":", ";", ","])
_CLOSERS = signs("\"'”’)]")
_TRIMMED = signs(".,;:!?\"'()")
_BULLETS, _BULLET_STARTS = laid_out(BULLETS)
_ELLIPSIS = np.uint32(ord(ELLIPSES[1]))
_DOTS = signs(ELLIPSES[0])
_STOP_WORDS, _STOP_STARTS = laid_out(sorted(STOP_WORDS))


def classes() -> Array:
    """Bits of each code point: white space and letters, as ``str.isspace`` and ``str.isalpha`` have them (uint8)."""
    return those(str.isspace, SPACE) | those(str.isalpha, LETTER)


@compiled
def contains(codes: Array, start: int, end: int, phrase: Array) -> bool:
    """True if the phrase (lower case, ASCII) is in the text in any case."""
    for place in range(start, end - len(phrase) + 1):
        if stands(codes, place, phrase, True):
            return True
    return False


@compiled
def words(
    codes: Array, start: int, end: int, classes: Array, hashes: Array, sizes: Array, stops: bool
) -> tuple[int, int, int, int]:
    """Hash and size of every word, into the arrays given.

    Returns:
        Words; characters in them; words with a letter; distinct stop words (where ``stops`` asks for them).
    """
    count = total = lettered = found = 0
    has_letter = False
    begin = start
    for place in range(start, end + 1):
        kind = classes[codes[place]] if place < end else np.uint8(SPACE)
        if kind & SPACE:
            if place > begin:
                hashes[count] = hashed(codes, begin, place)
                sizes[count] = place - begin
                count += 1
                total += place - begin
                lettered += has_letter
                if stops:
                    found |= _stop_word(codes, begin, place)
            has_letter = False
            begin = place + 1
        elif kind & LETTER:
            has_letter = True
    distinct = 0
    while found:
        distinct += found & 1
        found >>= 1
    return count, total, lettered, distinct


@compiled
def _stop_word(codes: Array, begin: int, end: int) -> int:
    """The bit of the stop word that a word is, or 0."""
    while begin < end and is_in(codes[begin], _TRIMMED):
        begin += 1
    while end > begin and is_in(codes[end - 1], _TRIMMED):
        end -= 1
    for number in range(len(_STOP_STARTS) - 1):
        first, last = _STOP_STARTS[number], _STOP_STARTS[number + 1]
        if last - first == end - begin and stands(codes, begin, _STOP_WORDS[first:last], True):
            return 1 << number
    return 0


@compiled
def symbols(codes: Array, start: int, end: int) -> tuple[int, int]:
    """Hash signs, and ellipses of either spelling."""
    hash_signs = ellipses = dots = 0
    for place in range(start, end):
        code = codes[place]
        hash_signs += code == 35
        ellipses += code == _ELLIPSIS
        dots = dots + 1 if code == 46 else 0
        if dots == 3:
            ellipses += 1
            dots = 0
    return hash_signs, ellipses


@compiled
def spans(codes: Array, start: int, end: int, breaks: int, classes: Array, found: Array) -> int:
    """Begin and end of the parts that so many newlines in a row part, without the white space around them.

    Parts of white space alone are none.
    """
    count, here = 0, start
    while here <= end:
        part_end = here
        while part_end < end and not _is_break(codes, part_end, end, breaks):
            part_end += 1
        left, right = here, part_end
        while left < right and classes[codes[left]] & SPACE:
            left += 1
        while right > left and classes[codes[right - 1]] & SPACE:
            right -= 1
        if right > left:
            found[count, 0], found[count, 1] = left, right
            count += 1
        here = part_end + breaks
    return count


@compiled
def _is_break(codes: Array, place: int, end: int, breaks: int) -> bool:
    if place + breaks > end:
        return False
    for next_ in range(place, place + breaks):
        if codes[next_] != 10:
            return False
    return True


@compiled
def line_ends(codes: Array, lines: Array, count: int) -> tuple[int, int, int, int]:
    """Of the lines: how many begin with a bullet, end with an ellipsis, end in punctuation, are short."""
    bullets = ellipses = punctuated = short = 0
    for line in range(count):
        left, right = lines[line, 0], lines[line, 1]
        for number in range(len(_BULLET_STARTS) - 1):
            first, last = _BULLET_STARTS[number], _BULLET_STARTS[number + 1]
            if last - first <= right - left and stands(codes, left, _BULLETS[first:last], False):
                bullets += 1
                break
        ends = codes[right - 1] == _ELLIPSIS
        ellipses += ends or (right - left >= 3 and stands(codes, right - 3, _DOTS, False))
        punctuated += is_in(codes[right - 1], _PUNCTUATION)
        short += right - left < SHORT_LINE
    return bullets, ellipses, punctuated, short


@compiled
def sentences(codes: Array, start: int, end: int, classes: Array) -> int:
    """Ends of sentences: ``.``, ``!`` or ``?``, what closes behind them, and white space or the end."""
    count = 0
    for place in range(start, end):
        if codes[place] == 46 or codes[place] == 33 or codes[place] == 63:
            after = place + 1
            while after < end and is_in(codes[after], _CLOSERS):
                after += 1
            count += after == end or (classes[codes[after]] & SPACE) != 0
    return count


@compiled
def repeats(codes: Array, parts: Array, count: int, table: Array, stamps: Array, stamp: int) -> tuple[int, int]:
    """How many parts repeat an earlier one, and their characters."""
    found = characters = 0
    size = table_size(count)
    for part in range(count):
        left, right = parts[part, 0], parts[part, 1]
        key = hashed(codes, left, right)
        place = place_of(table, stamps, stamp, key, size)
        if stamps[place] == stamp:
            found += 1
            characters += right - left
        else:
            stamps[place], table[place] = stamp, key
    return found, characters


@compiled
def top_ngram(
    hashes: Array, sizes: Array, count: int, n: int, table: Array, stamps: Array, covers: Array, stamp: int
) -> int:
    """Characters in the n-gram that covers most; one that occurs once does not count."""
    most, size = 0, table_size(count)
    for word in range(count - n + 1):
        length = 0
        for each in range(word, word + n):
            length += sizes[each]
        key = gram(hashes, word, n)
        place = place_of(table, stamps, stamp, key, size)
        if stamps[place] == stamp:
            covers[place] += length
            most = max(most, covers[place])
        else:
            stamps[place], table[place], covers[place] = stamp, key, length
    return most


@compiled
def repeated_ngrams(hashes: Array, sizes: Array, count: int, n: int, table: Array, stamps: Array, stamp: int) -> int:
    """Characters of words inside any n-gram that occurred before, each word once."""
    repeated = covered = 0
    size = table_size(count)
    for word in range(count - n + 1):
        key = gram(hashes, word, n)
        place = place_of(table, stamps, stamp, key, size)
        if stamps[place] == stamp:
            for each in range(max(word, covered), word + n):
                repeated += sizes[each]
            covered = word + n
        else:
            stamps[place], table[place] = stamp, key
    return repeated


@compiled
def hashed(codes: Array, start: int, end: int) -> Any:
    value = np.uint64(0x9E3779B97F4A7C15)
    for place in range(start, end):
        value = (value ^ np.uint64(codes[place])) * np.uint64(0xD6E8FEB86659FD93)
        value ^= value >> np.uint64(32)
    return value


@compiled
def mixed(value: Any) -> Any:
    """A hash of 64 bits of one (uint64): all of its bits decide on the lowest (Steele et al. 2014, SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def gram(hashes: Array, word: int, n: int) -> Any:
    value = np.uint64(n)
    for each in range(word, word + n):
        value = (value ^ hashes[each]) * np.uint64(0x9FB21C651E98DF25)
        value ^= value >> np.uint64(31)
    return value


@compiled
def table_size(count: int) -> int:
    """Places of a table for so many keys: a power of two, half of which stay free."""
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@compiled
def place_of(table: Array, stamps: Array, stamp: int, key: Any, size: int) -> Any:
    """Where ``key`` is or belongs; the stamp there is not ``stamp`` where it is new."""
    mask = np.uint64(size - 1)
    place = (key ^ (key >> np.uint64(29))) & mask
    while stamps[place] == stamp and table[place] != key:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)

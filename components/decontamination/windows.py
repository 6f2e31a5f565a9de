"""Words and word n-grams of many texts at once, as 64-bit hashes.

A word is what GPT-3 calls a gram: "a lowercase, whitespace delimited word with no punctuation" (Brown et al. 2020,
"Language Models are Few-Shot Learners", appendix C). Text is decomposed first (NFKD), so that one spelling of a letter
is as good as another; a character of a script that puts no spaces between words (Chinese, Japanese, Thai ...) is a word
of its own. No Python loop sees a character or a word.
"""

from __future__ import annotations

import functools
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_SPACE, _NONE, _LETTER = 0, 1, 2  # what a byte is: it parts words, it is left out, it belongs to a word
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_CONTROL = r"[\p{Zs}\p{Zl}\p{Zp}\x{85}]"
_SEED = 20_200_528  # any; hashes live in memory only


@dataclass(frozen=True)
class Words:
    """Words of texts, one after the other.

    Attributes:
        hashes: [words] of each word.
        offsets: [texts + 1] where the words of each text begin.
    """

    hashes: Hashes
    offsets: NDArray[np.int64]


def normalised(texts: Sequence[str] | pa.Array) -> pa.Array:
    """Texts in lower case without punctuation, their words parted by blanks; the words are ``text.split()``."""
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    other = pc.invert(pc.string_is_ascii(array))
    if pc.any(other).as_py():
        array = pc.replace_with_mask(array, other, _simplified(array.filter(other)))
    return array


def words(texts: Sequence[str] | pa.Array) -> Words:
    """The hashed words of ``texts``."""
    array = normalised(texts).cast(pa.large_string())
    ends = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    raw = np.frombuffer(array.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    kinds = _kinds()[raw]
    stays = kinds != _NONE
    kept = np.zeros(len(raw) + 1, np.int64)
    np.cumsum(stays, out=kept[1:])
    begins = kept[ends - ends[0]]  # [texts + 1] where the text begins among the bytes that stay
    letters, values = (kinds == _LETTER)[stays], raw[stays]

    before = np.empty_like(letters)  # whether the byte before belongs to the same word, should this one be a letter
    before[:1] = False
    before[1:] = letters[:-1]
    before[begins[begins < len(before)]] = False
    starts = np.flatnonzero(letters & ~before)
    if not len(starts):
        return Words(np.zeros(0, np.uint64), np.zeros(len(array) + 1, np.int64))
    places = np.flatnonzero(letters)
    # Of letters alone, as blanks add nothing: where each word begins among them, and each letter's place in its word.
    first = np.searchsorted(places, starts)
    lengths = np.diff(np.append(first, len(places)))
    place = np.arange(len(places)) - np.repeat(first, lengths)
    letter, position = _tables()
    hashes = _mixed(np.add.reduceat(letter[values[places]] * position[place % len(position)], first))
    return Words(hashes + lengths.astype(np.uint64), np.searchsorted(starts, begins))


def grams(found: Words, n: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of all runs of ``n`` words within a text, and the number of the text of each."""
    count = len(found.hashes) - n + 1
    if count <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    sizes = np.diff(found.offsets)
    text = np.repeat(np.arange(len(sizes)), sizes)[:count]
    whole = np.flatnonzero(found.offsets[text + 1] - np.arange(count) >= n)
    factors = _tables()[1][:n]
    total = np.zeros(count, np.uint64)
    for place, factor in enumerate(factors):
        total += found.hashes[place : place + count] * factor
    return _mixed(total[whole]), text[whole]


def wholes(found: Words) -> Hashes:
    """A hash of each text's words in their order; 0 for a text without words."""
    result = np.zeros(len(found.offsets) - 1, np.uint64)
    filled = np.flatnonzero(np.diff(found.offsets))
    if len(filled):
        sizes = np.diff(found.offsets)
        place = np.arange(len(found.hashes)) - np.repeat(found.offsets[:-1], sizes)
        each = _mixed(found.hashes + place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        result[filled] = _mixed(np.add.reduceat(each, found.offsets[:-1][filled])) | np.uint64(1)
    return result


def plain(text: str) -> list[str]:
    """The words of one text, to be shown: composed."""
    cleaned = unicodedata.normalize("NFC", str(normalised([text])[0]))
    return cleaned.translate(_PUNCTUATION).lower().split()


def _simplified(array: pa.Array) -> pa.Array:
    """Texts that are not ASCII, with nothing left to do but what is done to ASCII's own characters."""
    array = pc.utf8_lower(pc.utf8_normalize(array, form="NFKD"))
    array = pc.replace_substring_regex(array, r"[\p{P}\p{S}\p{Cf}]+", "")
    array = pc.replace_substring_regex(array, _CONTROL, " ")
    return pc.replace_substring_regex(array, _UNSPACED, r" \1 ")


_PUNCTUATION = str.maketrans("", "", string.punctuation + "".join(set(map(chr, range(28))) - set(string.whitespace)))


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    """[256] what each byte is."""
    kinds = np.full(256, _LETTER, np.uint8)
    kinds[[*range(33)]] = _NONE
    kinds[[ord(sign) for sign in string.punctuation]] = _NONE
    kinds[[ord(sign) for sign in string.whitespace] + [0x1C, 0x1D, 0x1E, 0x1F]] = _SPACE
    return kinds


@functools.cache
def _tables() -> tuple[Hashes, Hashes]:
    """([256] a number for each byte, the same for a letter in either case; [4096] an odd factor for each place)."""
    generator = np.random.default_rng(_SEED)
    letter = generator.integers(0, 2**64, 256, np.uint64)
    letter[ord("A") : ord("Z") + 1] = letter[ord("a") : ord("z") + 1]
    return letter, generator.integers(0, 2**64, 4096, np.uint64) | np.uint64(1)


def _mixed(values: Hashes) -> Hashes:
    """The finalizer of SplitMix64 (Steele et al. 2014): every bit of the result depends on every bit given."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

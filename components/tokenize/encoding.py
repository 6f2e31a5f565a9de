"""Texts to token ids as the shards hold them: whole batches of documents, each followed by the end token.

`tokenizers` says what the ids are. gigatoken gives the same ones about fifty times faster, for the tokenizers it knows;
it is used where it is seen to give the same:

* Once, on documents from all over the corpus and on strings made to be difficult. One difference, and `tokenizers`
  encodes everything.
* For every character outside ASCII: the two follow different versions of Unicode, so they may take a character to be
  of another kind, or compose it otherwise (gigatoken's issues 35 and 37). Characters are compared in blocks of 64 when
  a block is first met; documents that hold one that differs are encoded by `tokenizers`.

So the ids are those of `tokenizers` whichever encoder wrote them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.tokenize.corpus import BATCH_BYTES, array, joined, pieces

if TYPE_CHECKING:
    from gigatoken import gigatoken_rs
    from tokenizers import Tokenizer

Encoded = tuple[NDArray[np.uint32], NDArray[np.int64]]

_REFERENCE_BYTES = 1 << 18  # of text that `tokenizers` encodes at a time; it takes a hundred times as much memory
# gigatoken remembers every word that it has met. So much text after, for each 8,192 entries of the vocabulary (a larger
# one takes longer to load), it is loaded anew.
_CACHED_BYTES = 1 << 25
# Two noncharacters, for which Unicode will never have a use. As a token, it keeps documents apart in one long text.
_SEPARATOR = "\ufdd0\ufdd1"
_BLOCK = 64  # characters that share all bytes of UTF-8 but the last
# Scripts of which Unicode 16 composes characters out of two: a difference that shows in pairs only.
_COMPOSED = frozenset({0x44E, 0x44F, 0x417, 0x584, 0x5B5})  # Tulu-Tigalari, Todhri, Gurung Khema, Kirat Rai
_DIFFICULT = (
    "", " ", "  ", "\n", " \n ", "\t\t", "\r\n\r\n x", "a\u00a0b\u3000c\u2003d", "\u200b\u200d\ufeff", "\x00\x01\x7f",
    "it's we'll I'VE they'd 'S ''s", "x = 12345678901234567890, 3.14e-10;", "def f(a,*b,**c):\n    return a\n\n\n",
    "\ud55c\uad6d\uc5b4 \u65e5\u672c\u8a9e \u4e2d\u6587 \u0e44\u0e17\u0e22 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "e\u0301e\u0323\u0301 \u1e9b\u0323 \ufb01 \u212b \u2126 \u00bd \u2163", "\U0001f469\u200d\U0001f467",
    "\u2581\u2581a \u2581", "<0x41><0x0A></s><s><|endoftext|><pad>", "a" * 3000, " " * 300, "\n" * 300, "1" * 300,
    "\ufffd\U0010ffff\U000e0001", "!?.,;:-_()[]{}\"'`~@#$%^&*+=|\\/<>", "\u0130\u0131\u01c5\u00df\u1e9e\u03c2",
)  # fmt: skip


class Encoder:
    """Encodes batches of documents.

    Args:
        tokenizer: that of `tokenizers`; from now on it takes what spells a special token for text.
        end: the token that follows each document.
        fast: use gigatoken, as far as it encodes each character as `tokenizers` does.

    Attributes:
        avoided: characters of the documents so far that gigatoken encodes differently.
    """

    def __init__(self, tokenizer: Tokenizer, end: int, *, fast: bool):
        # Text that spells a special token is text: a document must not be able to end itself or to speak as the user.
        tokenizer.encode_special_tokens = True
        self._reference, self._end = tokenizer, end
        self._fast = _gigatoken(tokenizer, end) if fast else None
        self._encoded = 0  # bytes since gigatoken was loaded
        self._renewed_after = _CACHED_BYTES * max(1, self._reference.get_vocab_size() // 8192)
        self._known = np.zeros(0x110000 // _BLOCK, dtype=bool)
        self._known[: 0x80 // _BLOCK] = True
        self.avoided: list[str] = []

    @property
    def fast(self) -> bool:
        return self._fast is not None

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """Ids of all documents, [tokens], each document's followed by the end token; and how many each has with it."""
        if self._fast is None:
            return self._slowly(texts)
        blob = _joined(texts)
        self._meet(np.frombuffer(blob, dtype=np.uint8))
        self._encoded += len(blob)
        if self._encoded > self._renewed_after:
            self._fast, self._encoded = _gigatoken(self._reference, self._end), len(blob)
        if self.avoided and pc.any(slow := pc.match_substring_regex(texts, self._pattern())).as_py():
            return self._mixed(texts, np.array(slow.to_pylist()))
        return self._quickly(blob, texts)

    def _quickly(self, blob: bytes, texts: pa.LargeStringArray) -> Encoded:
        ids = self._fast.encode(blob) if blob else np.zeros(0, dtype=np.uint32)  # type: ignore[union-attr]
        ends = np.flatnonzero(ids == self._end)
        if len(ends) != len(texts):  # a document spells the separator
            return self._slowly(texts)
        return ids, np.diff(ends, prepend=-1)

    def _slowly(self, texts: pa.LargeStringArray) -> Encoded:
        parts, lengths, end = [np.zeros(0, dtype=np.uint32)], [], np.array([self._end], dtype=np.uint32)
        for piece in pieces(texts, _REFERENCE_BYTES):
            for encoding in self._reference.encode_batch_fast(piece.to_pylist(), add_special_tokens=False):
                parts += [np.array(encoding.ids, dtype=np.uint32), end]
                lengths.append(len(parts[-2]) + 1)
        return np.concatenate(parts), np.array(lengths, dtype=np.int64)

    def _mixed(self, texts: pa.LargeStringArray, slow: NDArray[np.bool_]) -> Encoded:
        """Runs of documents, each by the encoder that it needs."""
        edges = [0, *(np.flatnonzero(np.diff(slow)) + 1).tolist(), len(texts)]
        ids, lengths = [], []
        for start, stop in itertools.pairwise(edges):
            part = texts[start:stop]
            found = self._slowly(part) if slow[start] else self._quickly(_joined(part), part)
            ids.append(found[0])
            lengths.append(found[1])
        return np.concatenate(ids), np.concatenate(lengths)

    def _meet(self, text: NDArray[np.uint8]) -> None:
        """Compare the encoders on all characters of the blocks that were not met before."""
        for block in np.flatnonzero(_blocks(text) & ~self._known):
            self._known[block] = True
            characters = [chr(c) for c in range(block * _BLOCK, (block + 1) * _BLOCK) if not 0xD800 <= c < 0xE000]
            # Beside a letter, a digit, itself, a space, and the marks that change places with any other one.
            trials = array([f"a{c}1{c}{c} {c}\u0334a\u0345{c}" for c in characters])
            for character, same in zip(characters, self._agree(trials), strict=True):
                if not same or block in _COMPOSED:
                    self.avoided.append(character)

    def _agree(self, texts: pa.LargeStringArray) -> list[bool]:
        """Whether both encoders give the same ids, for each text."""
        pairs = []
        for ids, lengths in (self._slowly(texts), self._quickly(_joined(texts), texts)):
            pairs.append(np.split(ids, np.cumsum(lengths)[:-1]))
        return [np.array_equal(one, other) for one, other in zip(*pairs, strict=True)]

    def _pattern(self) -> str:
        return "[" + "".join(f"\\x{{{ord(character):x}}}" for character in self.avoided) + "]"


def choose(tokenizer: Tokenizer, end: int, sample: Sequence[str]) -> tuple[Encoder, str]:
    """The fastest encoder that gives the ids of `tokenizers`; and its name, with why gigatoken is not used.

    Args:
        tokenizer: as :class:`Encoder` takes it.
        end: the token that follows each document.
        sample: documents of the corpus, on which both encoders must give the same ids.
    """
    reference = f"tokenizers {version('tokenizers')}"
    try:
        encoder = Encoder(tokenizer, end, fast=True)
    except ImportError as error:
        why_not = f"it is not installed ({error})"
    except BaseException as error:  # a panic of its Rust code is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why_not = f"it does not take this tokenizer: {str(error).splitlines()[0]}"
    else:
        texts = [*_DIFFICULT, *sample]
        same = encoder._agree(array(texts))
        wrong = [text for text, alike in zip(texts, same, strict=True) if not alike]
        if not wrong:
            return encoder, f"gigatoken {version('gigatoken')}"
        why_not = f"it encodes {len(wrong)} of {len(texts)} texts differently, such as {wrong[0][:60]!r}"
    return Encoder(tokenizer, end, fast=False), f"{reference} (gigatoken: {why_not})"


def versions() -> str:
    """The encoders that are installed here."""
    try:
        return f"tokenizers {version('tokenizers')} and gigatoken {version('gigatoken')}"
    except PackageNotFoundError:
        return f"tokenizers {version('tokenizers')} and no gigatoken"


def _joined(texts: pa.LargeStringArray) -> bytes:
    return joined(texts, _SEPARATOR.encode()).to_pybytes()


def _gigatoken(tokenizer: Tokenizer, end: int) -> gigatoken_rs.BPETokenizer | gigatoken_rs.SentencePieceTokenizer:
    """gigatoken's form of the tokenizer, which knows one special token: the separator, in place of the end token."""
    from gigatoken import gigatoken_rs

    body = json.loads(tokenizer.to_str())
    vocabulary: dict[str, int] = body["model"]["vocab"]
    if not isinstance(vocabulary, dict):
        raise ValueError(f"it knows no {body['model'].get('type')} models")
    for spelling in [spelling for spelling, number in vocabulary.items() if number == end]:
        del vocabulary[spelling]
    vocabulary[_SEPARATOR] = end
    common: dict[str, Any] = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    body["added_tokens"] = [
        *(token for token in body.get("added_tokens") or () if not token["special"]),
        {"id": end, "content": _SEPARATOR, "special": True, **common},
    ]
    body["post_processor"] = body["truncation"] = body["padding"] = None
    return gigatoken_rs.load_hf_json(json.dumps(body))


def _blocks(text: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which blocks of 64 characters the UTF-8 has characters of, ASCII left out; [17408]."""
    found = np.zeros(0x110000 // _BLOCK, dtype=bool)
    for start in range(0, len(text), BATCH_BYTES):  # a long text is no reason for long arrays
        piece = text[start : start + BATCH_BYTES + 2]  # with what may belong to its last character
        starts = np.flatnonzero(piece[:BATCH_BYTES] >= 0xC0)
        if not len(starts):
            continue
        first = piece[starts].astype(np.int32)
        padded = np.concatenate([piece, np.zeros(2, dtype=np.uint8)])
        second, third = padded[starts + 1] & 0x3F, padded[starts + 2] & 0x3F
        found[first[first < 0xE0] & 0x1F] = True
        three = (first >= 0xE0) & (first < 0xF0)
        found[(first[three] & 0xF) << 6 | second[three]] = True
        four = first >= 0xF0
        found[(first[four] & 0x7) << 12 | second[four].astype(np.int32) << 6 | third[four]] = True
    return found

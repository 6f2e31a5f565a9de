"""A trained n-gram model of text: one file, checked before anything of it is used.

The file is safetensors: back-off tables in whole numbers (fixed point), and a manifest in the metadata. Whole numbers
are added exactly, so a text has the same score in whatever batch and on whatever machine; no part of the file is code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from components import text_models
from components.perplexity import units
from components.perplexity.parameters import Bucket
from core import files

Array = np.ndarray[Any, Any]

FORMAT = "stemma-perplexity-1"
_LARGEST = 1 << 29  # bytes of a file
_MOST_BITS = 1 << 10  # of one token
_KINDS = {"characters": "<u4", "words": "<u8", "unigrams": "<i4", "grams": "<u8", "costs": "<i4", "backoffs": "<i4"}
_PIECE = 1 << 20  # characters whose tokens are in memory at a time


@dataclass(frozen=True)
class PerplexityModel:
    """A 5-gram model over :mod:`components.perplexity.units`.

    Attributes:
        characters: known code points, in order (uint32).
        words: hashes of the known words (uint64).
        unigrams: bits of every token by itself, times :data:`units.SCALE` (int32).
        grams: hashes of longer n-grams, and of contexts (uint64); :func:`hashes_of`.
        costs: their bits, times :data:`units.SCALE` (int32); -1 where it is a context alone.
        backoffs: bits of going back to a shorter context from this one, times :data:`units.SCALE` (int32).
        cutoffs: bits a byte at which the head and the middle of the reference end.
        manifest: what it was made of, how, and its metrics.
        digest: SHA-256 of its file.
    """

    characters: Array
    words: Array
    unigrams: Array
    grams: Array
    costs: Array
    backoffs: Array
    cutoffs: tuple[float, float]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def bits_per_byte(self, texts: Sequence[str]) -> list[float]:
        """Bits that the model needs for each text, for each byte of UTF-8 that is no white space."""
        found: list[float] = []
        begin = 0
        while begin < len(texts):
            end, size = begin, 0
            while end < len(texts) and (end == begin or size + len(texts[end]) <= _PIECE):
                size += len(texts[end])
                end += 1
            tokens, begins, sizes = self.tokens(texts[begin:end])
            totals = units.total_bits(tokens, begins, self.unigrams, self._table, self.grams, self.costs, self.backoffs)
            found += [
                round(total / units.SCALE / max(size, 1), 6)
                for total, size in zip(totals.tolist(), sizes.tolist(), strict=True)
            ]
            begin = end
        return found

    def bucket(self, bits: float) -> Bucket:
        """The third of the reference that a text is like."""
        return "head" if bits < self.cutoffs[0] else "middle" if bits < self.cutoffs[1] else "tail"

    def tokens(self, texts: Sequence[str]) -> tuple[Array, Array, Array]:
        """As :func:`components.perplexity.units.tokens`."""
        codes, starts = units.laid_out_plain(texts)
        first_word = units.FIRST + len(self.characters)
        return units.tokens(
            codes, starts, units.kinds_of_signs(), self._characters, self._words, self.words, first_word
        )  # type: ignore[no-any-return]

    @cached_property
    def _characters(self) -> Array:
        found = np.full(0x110000, units.UNKNOWN, np.int32)
        found[self.characters] = units.FIRST + np.arange(len(self.characters))
        return found

    @cached_property
    def _words(self) -> Array:
        return units.table_of(self.words)  # type: ignore[no-any-return]

    @cached_property
    def _table(self) -> Array:
        return units.table_of(self.grams)  # type: ignore[no-any-return]

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        from safetensors.numpy import save

        body = {**self.manifest, "format": FORMAT, "cutoffs": list(self.cutoffs)}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _KINDS}
        files.write_bytes(path, save(arrays, {"manifest": json.dumps(body, sort_keys=True)}))

    @classmethod
    def read(cls, path: Path, name: str) -> Self:
        """The model in a file; ``name`` stands for it in messages.

        Raises:
            InputProblem: it is not there, or it is no such file.
        """
        return text_models.read(path, name, _LARGEST, cls._of, "model that `stemma data train-perplexity` has written")

    @classmethod
    def _of(cls, content: bytes) -> Self:
        """Every size, type and value is checked before it is relied on. Raises ValueError."""
        from safetensors.numpy import load

        arrays = load(content)
        if set(arrays) != set(_KINDS) or any(
            arrays[name].dtype != kind or arrays[name].ndim != 1 for name, kind in _KINDS.items()
        ):
            raise ValueError(f"it must hold {', '.join(_KINDS)}")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        manifest = text_models.manifest(header["__metadata__"], FORMAT)
        cutoffs = manifest.get("cutoffs")
        if (
            not isinstance(cutoffs, list)
            or len(cutoffs) != 2
            or not all(isinstance(each, float) and math.isfinite(each) for each in cutoffs)
            or not 0 < cutoffs[0] <= cutoffs[1]
        ):
            raise ValueError("its cutoffs must be two numbers in order")
        characters, words, unigrams, grams, costs, backoffs = (arrays[name] for name in _KINDS)
        if len(unigrams) != units.FIRST + len(characters) + len(words) or not len(grams) == len(costs) == len(backoffs):
            raise ValueError("its arrays do not fit together")
        for values, least, most in (
            (characters, 0, 0x10FFFF),
            (unigrams, 0, _MOST_BITS * units.SCALE),
            (costs, -1, _MOST_BITS * units.SCALE),
            (backoffs, 0, _MOST_BITS * units.SCALE),
        ):
            if len(values) and (values.min() < least or values.max() > most):
                raise ValueError("a number in it is out of range")
        digest = hashlib.sha256(content).hexdigest()
        return cls(**arrays, cutoffs=(cutoffs[0], cutoffs[1]), manifest=manifest, digest=digest)


def hashes_of(tokens: Array) -> Array:
    """The hash of each n-gram (uint64); ``tokens``: the last of the text first, ``[n, length]``."""
    found = np.full(len(tokens), units.START, np.uint64)
    for column in tokens.T:
        found = units.mixed(found + column.astype(np.uint64) + np.uint64(1))
    return found

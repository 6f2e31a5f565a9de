"""MinHash signatures (Broder 1997) of a text's shingles, by rensa."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from components.curate.parameters import DeduplicationParameters

_WORD = re.compile(r"\w+")


def shingles(text: str, words: int) -> set[str]:
    """Word n-grams of ``text`` in lower case; a shorter text is one shingle, a text without words its own."""
    found = _WORD.findall(text.lower())
    if len(found) <= words:
        return {" ".join(found) or text}
    return {" ".join(found[i : i + words]) for i in range(len(found) - words + 1)}


def signatures(
    texts: Sequence[str], parameters: DeduplicationParameters, seed: int, *, compiled: bool = False
) -> NDArray[np.uint32]:
    """MinHash values of the texts' shingles, ``[texts, permutations]``.

    Args:
        compiled: by compiled code, which is worth its start where there is much text; the result is the same.
    """
    if compiled and texts:
        from components.curate.deduplication import shingling

        return shingling.signatures(texts, parameters.shingle_words, parameters.permutations, seed)
    # A signature depends on neither the order nor the number of a shingle's occurrences.
    sets = [list(shingles(text, parameters.shingle_words)) for text in texts]
    found = RMinHash.digests_from_token_sets(sets, parameters.permutations, seed & 0xFFFFFFFF)
    return np.asarray(found, dtype=np.uint32).reshape(len(texts), parameters.permutations)

"""The tokenize stage's report: what the vocabulary is like and how well it compresses each part of the corpus."""

from __future__ import annotations

import math
from collections import Counter

from components.contract import Context
from components.tokenize.compression import SplitCompression, rows
from components.tokenize.shards import SplitEntry
from components.tokenize.tokenizer import Packing

EXAMPLE = "def read(path, *, encoding=None): return the text of the file, or raise OSError."


def write_report(
    context: Context,
    tokenizer: Packing,
    splits: dict[str, SplitEntry],
    compressions: dict[str, SplitCompression],
    *,
    trained: bool,
) -> None:
    """Write ``report.json``."""
    vocabulary = tokenizer.backend.get_vocab()
    spellings = sorted(vocabulary.keys() - tokenizer.special.keys(), key=vocabulary.__getitem__)
    example = tokenizer.backend.encode(EXAMPLE, add_special_tokens=False).ids
    context.report(
        {
            "trained": trained,
            "vocabulary": tokenizer.vocabulary,
            "special_tokens": dict(sorted(tokenizer.special.items())),
            "splits": splits,
            "parts": list(rows(compressions)),
            # Of the training split: documents of at least so many tokens, and fewer than the next row's.
            "document_lengths": [
                {"tokens": math.ceil(2 ** (quarter / 4)), "documents": int(number)}
                for quarter, number in enumerate(compressions["train"].lengths)
                if number
            ],
            "token_sizes": [
                {"bytes": size, "entries": number} for size, number in sorted(Counter(map(len, spellings)).items())
            ],
            "longest_tokens": sorted(spellings, key=lambda token: (-len(token), token))[:40],
            "example": [tokenizer.backend.decode([id_], skip_special_tokens=False) for id_ in example],
        }
    )

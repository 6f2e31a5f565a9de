"""The tokenize stage's report: what the vocabulary is like and how well it compresses each part of the corpus."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from components.contract import Context
from components.tokenize.compression import CUT_AT, SplitCompression, rows
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
    mixture: dict[str, Any] | None,
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
            "mixture": mixture,
            "packing": _packing(context, splits["train"], compressions["train"]),
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


def _packing(context: Context, train: SplitEntry, compression: SplitCompression) -> dict[str, Any]:
    documents = max(1, train["documents"])
    body: dict[str, Any] = {
        "packing": context.parameters.packing,
        # Expected for a document of n tokens that lies anywhere: it is cut with a probability of n / length.
        "cut_by_concatenation": [
            {"seq_length": length, "documents": share / max(1, compression.whole.documents)}
            for length, share in zip(CUT_AT, compression.cut.tolist(), strict=True)
        ],
    }
    if "sequences" in train:
        body |= {
            "seq_length": context.parameters.seq_length,
            "sequences": train["sequences"],
            "documents_divided": train["documents_divided"] / documents,
            "padding": train["padding"] / max(1, train["tokens"]),
        }
    return body

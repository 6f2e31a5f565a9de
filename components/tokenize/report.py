"""The tokenize stage's report: what the vocabulary is like and how well it compresses each part of the corpus."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.figure import Figure
from transformers import PreTrainedTokenizerBase

from components.contract import Context
from components.tokenize.compression import Compression
from components.tokenize.shards import SplitEntry

EXAMPLE = "def read(path, *, encoding=None): return the text of the file, or raise OSError."


def write_report(
    context: Context,
    tokenizer: PreTrainedTokenizerBase,
    splits: dict[str, SplitEntry],
    compressions: dict[str, dict[str, Compression]],
    lengths: dict[str, Counter[int]],
    *,
    trained: bool,
) -> None:
    """Write ``report.json`` and the pictures."""
    specials = {token: tokenizer.convert_tokens_to_ids(token) for token in sorted(tokenizer.all_special_tokens)}
    kinds = sorted(
        (
            {
                "split": split,
                "kind": kind,
                "documents": part.documents,
                "bytes": part.bytes,
                "tokens": part.tokens,
                "bytes_per_token": part.bytes_per_token,
            }
            for split, parts in compressions.items()
            for kind, part in parts.items()
        ),
        key=lambda row: (row["split"], row["kind"]),
    )
    sizes = [len(token) for token in _spellings(tokenizer)]
    body = {
        "trained": trained,
        "vocabulary": len(tokenizer),
        "special_tokens": specials,
        "splits": splits,
        "kinds": kinds,
        "longest_tokens": sorted(_spellings(tokenizer), key=lambda token: (-len(token), token))[:40],
        "example": [tokenizer.decode([id_]) for id_ in tokenizer.encode(EXAMPLE, add_special_tokens=False)],
    }
    context.report(body)
    if lengths["train"]:
        context.figure("document_lengths", _lengths_figure(lengths["train"]))
    context.figure("token_sizes", _sizes_figure(sizes))


def _spellings(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Vocabulary entries as they are stored (bytes as printable characters), special tokens left out, by id."""
    special = set(tokenizer.all_special_tokens)
    vocabulary = tokenizer.get_vocab()
    return [token for token in sorted(vocabulary, key=vocabulary.get) if token not in special]


def _lengths_figure(lengths: Counter[int]) -> Figure:
    figure = Figure(figsize=(7, 3))
    axes = figure.subplots()
    values = np.array([max(1, length) for length in lengths])
    top = max(2, int(values.max()))
    bins = np.unique(np.geomspace(1, top + 1, 40).round())
    axes.hist(values, bins=list(bins), weights=list(lengths.values()), color="#4673aa")
    axes.set(xscale="log", xlabel="tokens of a training document", ylabel="documents")
    return figure


def _sizes_figure(sizes: list[int]) -> Figure:
    figure = Figure(figsize=(7, 3))
    axes = figure.subplots()
    counts = Counter(sizes)
    axes.bar(list(counts), list(counts.values()), color="#4673aa")
    axes.set(xlabel="bytes of a vocabulary entry", ylabel="entries")
    return figure

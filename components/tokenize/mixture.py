"""A mixture: how often the training documents of each source (or language, or kind) are taken.

A part of ``n`` tokens that is to be the share ``p`` of ``N`` tokens passes by ``p N / n`` times; that is its number of
*epochs*, below one for a part that is only sampled. Said by shares (Brown et al. 2020, table 2.2; Touvron et al. 2023,
table 1), by epochs, or by a temperature: ``p`` proportional to ``n ** (1 / T)``, which gives small languages more
(Conneau et al. 2019, "Unsupervised Cross-lingual Representation Learning at Scale": T = 1 / 0.3).

A document of ``e`` epochs is taken ``floor(e)`` times, and once more with the probability of the rest, by the seed. The
first copies come first, in the corpus's order, then the second ones: pretraining shuffles sequences, and no two copies
of a document share one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.tokenize.corpus import numbers, shards
from components.tokenize.encoded import tokens_of
from components.tokenize.mixture_parameters import MixtureParameters
from components.tokenize.packing import Writer
from core.errors import InputProblem

_REPEATED = 4  # epochs up to which repeated text is nearly as good as new (Muennighoff et al. 2023, arXiv:2305.16264)
_NONE = "unknown"  # of a document whose column is null, as in the report


def epochs(tokens: Mapping[str, int], parameters: MixtureParameters) -> dict[str, float]:
    """Epochs of each part.

    Args:
        tokens: of each part, separators included.
    """
    if parameters.epochs is not None:
        return {part: parameters.epochs[part] for part in tokens}
    if parameters.shares is not None:
        weights = {part: parameters.shares[part] for part in tokens}
    else:
        weights = {part: number ** (1 / (parameters.temperature or 1.0)) for part, number in tokens.items()}
    whole, total = sum(weights.values()), parameters.tokens or sum(tokens.values())
    return {part: weights[part] / whole * total / max(1, number) for part, number in tokens.items()}


def columns(parameters: MixtureParameters | None) -> list[str]:
    """Columns of the corpus that the mixture needs."""
    if parameters is None:
        return []
    return [parameters.by, *([parameters.quality.column] if parameters.quality else [])]


def check(corpus: Path, parameters: MixtureParameters) -> None:
    """Raise an InputProblem where the training split has other parts than the mixture names, or lacks a column."""
    problems: list[str] = []
    parts: dict[str, None] = {}
    for path in shards(corpus, "train"):
        schema = pq.read_schema(path)
        if missing := [name for name in columns(parameters) if name not in schema.names]:
            problems += [
                f"tokenize.mixture: the corpus has no column {name!r}; it has {', '.join(schema.names)}"
                for name in missing
            ]
            break
        if parameters.quality and not _is_number(schema.field(parameters.quality.column).type):
            problems.append(f"tokenize.mixture.quality.column: {parameters.quality.column!r} holds no numbers")
            break
        found = pq.read_table(path, columns=[parameters.by])[parameters.by].unique().to_pylist()
        parts.update((value or _NONE, None) for value in found)
    named = parameters.shares or parameters.epochs
    if not problems and named is not None:
        where = f"tokenize.mixture.{'shares' if parameters.shares else 'epochs'}"
        if absent := sorted(set(named) - set(parts)):
            problems.append(
                f"{where}: no training document has the {parameters.by} {', '.join(map(repr, absent))}; there are "
                f"{', '.join(map(repr, parts))}"
            )
        if unnamed := sorted(set(parts) - set(named)):
            problems.append(
                f"{where}: says nothing of the {parameters.by} {', '.join(map(repr, unnamed))}; 0 leaves one out"
            )
    if problems:
        raise InputProblem(list(dict.fromkeys(problems)))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


class Stock:
    """What the encoded training documents are, from which the mixture is drawn once all are there.

    A document costs some ten bytes of memory.

    Attributes:
        drawn: what was drawn, as the report has it.
    """

    def __init__(self, parameters: MixtureParameters, seed: int):
        self._parameters, self._seed = parameters, seed
        self._lengths: list[NDArray[np.int32]] = []
        self._parts: list[NDArray[np.int16]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._names: dict[str, int] = {}
        self.drawn: dict[str, Any] | None = None

    def add(self, batch: pa.RecordBatch, lengths: NDArray[np.int64]) -> None:
        """Note the documents of an encoded batch, and how many tokens each has."""
        values = batch.column(self._parameters.by).cast(pa.string())
        named = [self._names.setdefault(value or _NONE, len(self._names)) for value in values.to_pylist()]
        self._parts.append(np.asarray(named, np.int16))
        self._lengths.append(lengths.astype(np.int32))
        if self._parameters.quality:
            score = pc.fill_null(batch.column(self._parameters.quality.column).cast(pa.float32()), float("nan"))
            self._scores.append(numbers(score))

    def draw(self, writer: Writer, read: Callable[[], Iterable[pa.RecordBatch]]) -> None:
        """Pass the drawn documents to ``writer``; ``drawn`` then has what they are.

        Args:
            read: gives the batches that were added, each time from the beginning.
        """
        parts, lengths = np.concatenate(self._parts), np.concatenate(self._lengths)
        tokens = np.bincount(parts, lengths, minlength=len(self._names))
        by_name = epochs({name: int(tokens[number]) for name, number in self._names.items()}, self._parameters)
        wanted = np.array([by_name[name] for name in self._names])[parts]
        if self._parameters.quality:
            scores = np.concatenate(self._scores)
            wanted = wanted * _by_quality(scores, parts, lengths, self._parameters.quality.factors)
        copies = np.floor(wanted).astype(np.int64)
        copies += np.random.default_rng(self._seed).random(len(wanted)) < wanted - copies
        if not copies.any():
            raise InputProblem("tokenize.mixture: draws no training document: raise its epochs, shares or tokens")
        for turn in range(int(copies.max())):
            _write(writer, read(), copies > turn)
        self.drawn = self._table(parts, lengths, copies, by_name)

    def _table(
        self, parts: NDArray[Any], lengths: NDArray[Any], copies: NDArray[np.int64], planned: Mapping[str, float]
    ) -> dict[str, Any]:
        rows = []
        whole = int((copies * lengths).sum())
        for name, number in sorted(self._names.items()):
            mine = parts == number
            there, drawn = int(lengths[mine].sum()), int((copies * lengths)[mine].sum())
            rows.append({
                "part": name,
                "documents": int(mine.sum()),
                "tokens": there,
                "epochs_planned": planned[name],
                "epochs": drawn / max(1, there),
                "documents_drawn": int(copies[mine].sum()),
                "tokens_drawn": drawn,
                "share": drawn / whole,
            })  # fmt: skip
        return {"by": self._parameters.by, "tokens": whole, "parts": rows}


def _write(writer: Writer, batches: Iterable[pa.RecordBatch], chosen: NDArray[np.bool_]) -> None:
    start = 0
    for batch in batches:
        mine = chosen[start : start + len(batch)]
        start += len(batch)
        if mine.any():
            ids, lengths = tokens_of(batch)
            writer.add(ids[np.repeat(mine, lengths)], lengths[mine], int(numbers(batch["bytes"])[mine].sum()))


def _by_quality(
    scores: NDArray[np.float32], parts: NDArray[np.int16], lengths: NDArray[np.int32], factors: tuple[float, ...]
) -> NDArray[np.float64]:
    """[documents] how much more often each is taken than its part on the whole, whose tokens stay as many.

    The documents of a part are divided by score into as many groups of equal size as there are factors, lowest first;
    those without a score count among the lowest.
    """
    found = np.ones(len(scores))
    scores = np.where(np.isnan(scores), -np.inf, scores)
    for part in np.unique(parts):
        mine = np.flatnonzero(parts == part)
        ranks = np.empty(len(mine), np.int64)
        ranks[np.argsort(scores[mine], kind="stable")] = np.arange(len(mine))
        chosen = np.asarray(factors)[ranks * len(factors) // len(mine)]
        kept = float((chosen * lengths[mine]).sum())
        found[mine] = chosen * float(lengths[mine].sum()) / kept if kept else chosen
    return found


def sentence(drawn: Mapping[str, Any]) -> str:
    """What was drawn, in a line for the receipt."""
    parts = (f"{row['part']} {row['tokens_drawn']:,} tokens ({row['epochs']:.2f} epochs)" for row in drawn["parts"])
    return f"by {drawn['by']}: {', '.join(parts)}"


def warnings(drawn: Mapping[str, Any]) -> list[str]:
    """Parts that are repeated more often than helps."""
    return [
        f"tokenize.mixture: {row['part']} is taken {row['epochs']:.1f} times; beyond {_REPEATED} a repetition teaches "
        "little that is new (Muennighoff et al. 2023): lower its share, or the tokens"
        for row in drawn["parts"]
        if row["epochs"] > _REPEATED + 0.5
    ]

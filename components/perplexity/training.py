"""Training an n-gram model on a sample of good text, and where a reference's texts are divided into thirds.

Modified Kneser-Ney (:mod:`components.ngrams`) over known words and spelled ones. As CCNet does, the cutoffs are the
terciles of a reference: of texts like those that are going to be judged, or else of the 15 % of the sample that the
model has not seen.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import platform
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.ngrams import NGramModel
from components.perplexity import units
from components.perplexity.model import PerplexityModel, hashes_of
from core.errors import InputProblem

Array = np.ndarray[Any, Any]

FEWEST = 300  # distinct texts of the sample
FEWEST_REFERENCE = 90
MOST = 24_000_000  # characters that are counted: of the texts with the smallest hashes
_MOST_REFERENCE = 20_000  # texts
_MOST_WORDS, _MOST_CHARACTERS = 1 << 16, 1 << 13
_FEWEST = (1, 1, 2, 2, 2)  # counts of n-grams that are kept, by order
_UNSEEN = 0.15


@dataclass(frozen=True)
class TrainedPerplexity:
    """A model with its metrics in the manifest; texts of the reference at its ends, which stay out of the file."""

    model: PerplexityModel
    best: tuple[float, str]
    worst: tuple[float, str]

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the model; the manifest says also what is known ``about`` its texts."""
        made_by = {
            "python": platform.python_version(), "unicode": unicodedata.unidata_version,
            "numpy": importlib.metadata.version("numpy"),
        }  # fmt: skip
        replace(self.model, manifest={**self.model.manifest, **about, "made_by": made_by}).save(path)


def train(sample: Sequence[str], reference: Sequence[str], seed: int) -> TrainedPerplexity:
    """A model of the sample, with the terciles of the reference (of unseen texts of the sample where that is empty).

    Raises:
        InputProblem: too few distinct texts.
    """
    texts = sorted(dict.fromkeys(sample), key=lambda text: _hash(text, seed))
    others = sorted(dict.fromkeys(reference), key=lambda text: _hash(text, seed))[:_MOST_REFERENCE]
    problems = []
    if len(texts) < FEWEST:
        problems.append(f"--text: there are {len(texts)} distinct texts, and {FEWEST} are needed: add some")
    if reference and len(others) < FEWEST_REFERENCE:
        problems.append(
            f"--reference: there are {len(others)} distinct texts, and {FEWEST_REFERENCE} are needed: add some"
        )
    if problems:
        raise InputProblem(problems)
    unseen_count = math.ceil(_UNSEEN * len(texts))
    unseen, rest = texts[:unseen_count][:_MOST_REFERENCE], texts[unseen_count:]
    lengths = np.cumsum([len(text) for text in rest])
    learnt = rest[: max(1, int(np.searchsorted(lengths, MOST, side="right")))]
    model, counts = _fitted(learnt)
    scores = np.array(model.bits_per_byte(others or unseen))
    order = np.argsort(scores, kind="stable")
    low, high = np.quantile(scores, [1 / 3, 2 / 3])
    manifest = {
        "texts": {
            "distinct": len(texts), "learnt": len(learnt), "unseen": len(unseen), "reference": len(others),
            "characters_learnt": sum(map(len, learnt)),
        },
        "parameters": {"seed": seed, "order": units.ORDER, "fewest_counts": list(_FEWEST)},
        "tokens": counts,
        "metrics": {
            "bits_per_byte_unseen": _mean(model, unseen),
            "bits_per_byte_learnt": _mean(model, learnt[:1000]),
            "bits_per_byte_reference": float(scores.mean()),
            "baselines": {"unigram_bits_per_byte_unseen": _mean(_unigram(model), unseen)},
        },
    }  # fmt: skip
    ends = [(float(scores[row]), (others or unseen)[row]) for row in (order[0], order[-1])]
    low, high = max(float(low), 1e-6), max(float(high), 1e-6)
    return TrainedPerplexity(replace(model, cutoffs=(low, high), manifest=manifest), ends[0], ends[1])


def _hash(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()


def _mean(model: PerplexityModel, texts: Sequence[str]) -> float:
    return float(np.mean(model.bits_per_byte(texts)))


def _unigram(model: PerplexityModel) -> PerplexityModel:
    nothing = np.zeros(0, np.int32)
    return replace(model, grams=np.zeros(0, np.uint64), costs=nothing, backoffs=nothing)


def _fitted(texts: Sequence[str]) -> tuple[PerplexityModel, dict[str, int]]:
    """The model without cutoffs, and how many there are of what."""
    codes, starts = units.laid_out_plain(texts)
    found, counts = np.unique(codes[units.kinds_of_signs()[codes] > 0], return_counts=True)
    characters = np.sort(found[np.lexsort((found, -counts))][:_MOST_CHARACTERS])
    found, counts = np.unique(units.words(codes, starts, units.kinds_of_signs()), return_counts=True)
    often = np.lexsort((found, -counts))[:_MOST_WORDS]
    words = found[often[counts[often] >= 2]]
    empty = np.zeros(0, np.int32)
    model = PerplexityModel(
        characters.astype(np.uint32), words, empty, np.zeros(0, np.uint64), empty, empty, (0.0, 0.0)
    )
    tokens, begins, _ = model.tokens(texts)
    vocabulary = units.FIRST + len(characters) + len(words)
    documents = np.split(tokens, begins[1:-1])
    tables = NGramModel(documents, vocabulary, units.ORDER, units.BEGIN).backoff(_FEWEST)
    unigrams = np.full(vocabulary, tables[0].weights[0] / vocabulary if len(tables[0].weights) else 1 / vocabulary)
    unigrams[tables[0].grams[:, 0]] = tables[0].probabilities
    grams = np.concatenate([hashes_of(table.grams) for table in tables[1:]])
    costs = np.concatenate([_bits(table.probabilities) for table in tables[1:]])
    contexts = np.concatenate([hashes_of(table.contexts) for table in tables[1:]])
    weights = np.concatenate([_bits(table.weights) for table in tables[1:]])
    keys = np.union1d(grams, contexts)
    all_costs, backoffs = np.full(len(keys), -1, np.int32), np.zeros(len(keys), np.int32)
    all_costs[np.searchsorted(keys, grams)] = costs
    backoffs[np.searchsorted(keys, contexts)] = weights
    model = replace(model, unigrams=_bits(unigrams), grams=keys, costs=all_costs, backoffs=backoffs)
    return model, {"learnt": len(tokens), "words": len(words), "characters": len(characters), "grams": len(keys)}


def _bits(probabilities: Array) -> Array:
    return np.round(-np.log2(np.minimum(probabilities, 1.0)) * units.SCALE).astype(np.int32)

"""Overlap of answers with their references: BLEU and ROUGE, with standard errors.

BLEU (Papineni et al. 2002) by sacrebleu (Post 2018, arXiv:1804.08771; its default tokenizer), 0 to 100; ROUGE (Lin
2004) by Google's rouge_score, the F-measure, 0 to 1. Both say how alike an
answer is to its reference, not how right it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.contract import Context, Metric
from components.finetuning.records import Record, target
from components.statistics import Estimate, clustered_bootstrap_stderr, estimate

COPY = "copy of the question"  # the baseline that answers without a model
_ROUGE = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Overlap:
    """Of ``n`` answers with their references. BLEU is one number of all of them; its error is by resampling groups."""

    bleu: Estimate
    rouge1: Estimate
    rouge2: Estimate
    rouge_l: Estimate


def overlap(answers: Sequence[str], references: Sequence[str], groups: Sequence[Hashable], seed: int) -> Overlap:
    """Compare each answer with its reference."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(_ROUGE, use_stemmer=False)
    rows = [scorer.score(reference, answer) for answer, reference in zip(answers, references, strict=True)]
    means = [estimate([row[name].fmeasure for row in rows], groups) for name in _ROUGE]
    counts = _counts(answers, references)
    everything = np.arange(len(answers))
    error = clustered_bootstrap_stderr(lambda rows: _bleu(counts[rows]), groups, seed=seed)
    return Overlap(Estimate(_bleu(counts[everything]), error, len(answers)), *means)


def measure_overlap(said: dict[str, list[str]], records: Sequence[Record], seed: int) -> dict[str, Overlap]:
    """BLEU and ROUGE of each model's answers to ``records`` against those that the records demonstrate."""
    references, groups = [target(record).strip() for record in records], [record["group"] for record in records]
    return {
        name: overlap([answer.strip() for answer in answers], references, groups, seed)
        for name, answers in said.items()
    }


def record_overlap(context: Context, alike: dict[str, Overlap], *, headline: bool) -> None:
    """Record the first model's BLEU and ROUGE-L beside those of the others."""
    name, *others = alike
    for metric in ("rouge_l", "bleu"):
        own = getattr(alike[name], metric)
        beside = {other: getattr(alike[other], metric).value for other in others}
        context.record(
            Metric(metric, own.value, True, own.stderr, own.n, "instructions", beside),
            headline=headline and metric == "rouge_l",
        )


def _counts(answers: Sequence[str], references: Sequence[str]) -> NDArray[np.int64]:
    """What BLEU is computed from: of each answer the n-grams that match and all of them, its and the reference's
    length; shape ``[n, 10]``."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    scores = [metric.sentence_score(answer, [reference]) for answer, reference in zip(answers, references, strict=True)]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores])


def _bleu(counts: NDArray[np.int64]) -> float:
    from sacrebleu.metrics import BLEU

    total = counts.sum(axis=0).tolist()
    return float(BLEU.compute_bleu(total[:4], total[4:8], total[8], total[9], smooth_method="exp").score)

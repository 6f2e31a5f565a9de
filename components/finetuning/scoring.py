"""How good answers are: by the verifier of their record, by their likelihood under a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from components.conversations import Encoded
from components.finetuning.records import Record
from components.statistics import Estimate, estimate
from components.tasks import baseline_answers, has_verifier, judge

_MOST_LOGITS = 1 << 26  # of a batch: 256 MB in float32


@dataclass(frozen=True)
class AnswerScores:
    """Shares of answers that are right, and right and terse; with several answers a question, means over them.

    Attributes:
        by_kind: both shares for each kind of question, kinds in alphabetical order.
        right: of each question, the share of its answers that are right; right_and_terse: that are both.
    """

    correct: Estimate
    terse: Estimate
    by_kind: dict[str, tuple[Estimate, Estimate]]
    right: list[float]
    right_and_terse: list[float]


def checkable(records: Sequence[Record]) -> list[Record]:
    """The records whose answers can be judged."""
    return [record for record in records if has_verifier(record)]


def score(records: Sequence[Record], answers: Sequence[Sequence[str]]) -> AnswerScores:
    """Judge every answer; ``answers[i]`` are those to ``records[i]``."""
    ranks = [[judge(r, answer).rank for answer in given] for r, given in zip(records, answers, strict=True)]
    correct = [float(np.mean([rank >= 1 for rank in given])) for given in ranks]
    terse = [float(np.mean([rank == 2 for rank in given])) for given in ranks]

    def both(rows: Iterable[int]) -> tuple[Estimate, Estimate]:
        rows = list(rows)
        groups = [records[row]["group"] for row in rows]
        return estimate([correct[row] for row in rows], groups), estimate([terse[row] for row in rows], groups)

    kinds = [record["kind"] for record in records]
    by_kind = {kind: both(row for row, other in enumerate(kinds) if other == kind) for kind in sorted(set(kinds))}
    return AnswerScores(*both(range(len(records))), by_kind, correct, terse)


def score_baselines(training: Iterable[Record], records: Sequence[Record]) -> dict[str, AnswerScores]:
    """What answers to ``records`` score that need no model: the commonest one in ``training``, and fixed rules."""
    given = baseline_answers(training, records)
    return {name: score(records, [[answer] for answer in answers]) for name, answers in given.items()}


class Likelihood(NamedTuple):
    """Of each conversation: natural-log probability of its answers' tokens, and their number."""

    log_probabilities: list[float]
    tokens: list[int]

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood, nats a token of the answers."""
        return -math.fsum(self.log_probabilities) / sum(self.tokens)


def likelihood(model: Any, encoded: Encoded, *, pad: int, batch_size: int = 128) -> Likelihood:
    """Score the marked tokens of each conversation under a causal language model."""
    import torch

    scores, counts = [0.0] * len(encoded.input_ids), [0] * len(encoded.input_ids)
    row = max(map(len, encoded.input_ids), default=1) * model.config.get_text_config().vocab_size
    batch_size = max(1, min(batch_size, _MOST_LOGITS // row))
    model.eval()
    with torch.inference_mode():
        for rows, ids, real in padded_batches(model, encoded.input_ids, pad=pad, batch_size=batch_size):
            learnt = torch.zeros(ids.shape)
            for place, row in enumerate(rows):
                learnt[place, : len(encoded.answer_mask[row])] = torch.tensor(encoded.answer_mask[row]).float()
            learnt = learnt.to(model.device)
            logits = model(input_ids=ids, attention_mask=real).logits[:, :-1].float()
            # Position t predicts token t + 1; the right-hand padding is never predicted.
            picked = torch.log_softmax(logits, dim=-1).gather(2, ids[:, 1:, None])[..., 0] * learnt[:, 1:]
            for row, total, count in zip(rows, picked.sum(1).tolist(), learnt[:, 1:].sum(1).tolist(), strict=True):
                scores[row], counts[row] = total, int(count)
    return Likelihood(scores, counts)


def padded_batches(
    model: Any, sequences: Sequence[Sequence[int]], *, pad: int, batch_size: int
) -> Iterator[tuple[list[int], Any, Any]]:
    """All sequences, those of like length side by side: their places, and on the model's device their token ids, padded
    on the right with ``pad``, and their attention mask (both of shape ``[rows, longest]``)."""
    import torch

    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        longest = max(len(sequences[row]) for row in rows)
        gaps = [longest - len(sequences[row]) for row in rows]
        ids = torch.tensor([[*sequences[row], *[pad] * gap] for row, gap in zip(rows, gaps, strict=True)])
        real = torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps])
        yield rows, ids.to(model.device), real.to(model.device)

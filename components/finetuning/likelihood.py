"""How probable a model finds given answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from components.conversations import Encoded


class Likelihood(NamedTuple):
    """Of each conversation: natural-log probability of its answers' tokens, and their number."""

    log_probabilities: list[float]
    tokens: list[int]

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood, nats a token of the answers."""
        return -math.fsum(self.log_probabilities) / sum(self.tokens)


def likelihood(
    model: Any, encoded: Encoded, *, pad: int, batch_size: int = 128, on_batch: Callable[[int], None] | None = None
) -> Likelihood:
    """Score the marked tokens of each conversation under a causal language model. Batches are sorted by length."""
    import torch

    order = sorted(range(len(encoded.input_ids)), key=lambda index: len(encoded.input_ids[index]))
    scores, counts = [0.0] * len(order), [0] * len(order)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            longest = max(len(encoded.input_ids[row]) for row in rows)
            ids = torch.full((len(rows), longest), pad)
            learnt, real = torch.zeros((len(rows), longest)), torch.zeros((len(rows), longest), dtype=torch.long)
            for place, row in enumerate(rows):
                size = len(encoded.input_ids[row])
                ids[place, :size] = torch.tensor(encoded.input_ids[row])
                learnt[place, :size] = torch.tensor(encoded.answer_mask[row], dtype=torch.float)
                real[place, :size] = 1
            ids, learnt, real = (tensor.to(model.device) for tensor in (ids, learnt, real))
            logits = model(input_ids=ids, attention_mask=real).logits[:, :-1].float()
            # Position t predicts token t + 1; the right-hand padding is never asked for.
            picked = torch.log_softmax(logits, dim=-1).gather(2, ids[:, 1:, None])[..., 0] * learnt[:, 1:]
            for row, total, count in zip(rows, picked.sum(1).tolist(), learnt[:, 1:].sum(1).tolist(), strict=True):
                scores[row], counts[row] = total, int(count)
            if on_batch:
                on_batch(len(rows))
    return Likelihood(scores, counts)

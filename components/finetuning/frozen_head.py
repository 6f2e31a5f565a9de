"""The loss under a frozen output layer on processors: of the answers' tokens alone, in two products each.

TRL computes log-probabilities in its own kernel, which on processors projects every position onto the vocabulary,
questions and padding included, computes the projection again in the backward pass, and the gradient of the layer's
weights with it. Under an adapter these weights do not learn: the gradient of a token's log-probability to its hidden
state is one row, known as soon as the probabilities are, and only its scale waits for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

_ROWS = 256  # tokens whose logits are held at a time

_Outputs = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class FrozenHead(torch.autograd.Function):
    """TRL's ``ChunkedLogProbFunction`` (its arguments and outputs) for an output layer that is not trained."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # [tokens, width]
        weight: Tensor,  # [vocabulary, width]
        bias: Tensor | None,
        labels: Tensor,  # [tokens]
        temperature: float,
        chunk: int,
        softcap: float | None,
        scale: float,
        outputs: tuple[str, ...],
    ) -> _Outputs:
        """Log-probability of each label, and where asked for without a gradient: the entropy, the logarithm of the sum
        of squared probabilities, the mean logit, and whether the label is the likeliest."""
        log_probs = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        entropy, squares, means = (
            torch.empty_like(log_probs) if name in outputs else None
            for name in ("entropy", "log_sum_sq_probs", "mean_logits")
        )
        is_top1 = torch.empty_like(labels, dtype=torch.bool) if "is_top1" in outputs else None
        rows = torch.empty_like(hidden) if hidden.requires_grad else None
        for start in range(0, len(labels), _ROWS):
            here = slice(start, start + _ROWS)
            label = labels[here, None]
            logits = linear(hidden[here], weight, bias).float().mul_(scale)
            slope = None
            if softcap is not None:
                logits = logits.div_(softcap).tanh_()
                slope = 1 - logits.square() if rows is not None else None
                logits = logits.mul_(softcap)
            logits = logits.div_(temperature)
            total = logits.logsumexp(-1, keepdim=True)
            log_probs[here] = (logits.gather(1, label) - total)[:, 0]
            if is_top1 is not None:
                is_top1[here] = logits.argmax(-1) == labels[here]
            if means is not None:
                means[here] = logits.mean(-1)
            if squares is not None:
                squares[here] = (2 * logits).logsumexp(-1) - 2 * total[:, 0]
            if entropy is None and rows is None:
                continue
            probabilities = torch.exp(logits - total) if entropy is not None else logits.sub_(total).exp_()
            if entropy is not None:
                entropy[here] = total[:, 0] - torch.einsum("tv,tv->t", probabilities, logits)
            if rows is not None:
                change = probabilities.neg_().scatter_add_(1, label, torch.ones_like(label, dtype=torch.float32))
                if slope is not None:
                    change = change.mul_(slope)
                change = change.mul_(scale / temperature).to(weight.dtype)
                rows[here] = (change @ weight).to(rows.dtype)
        if rows is not None:
            ctx.save_for_backward(rows)
        ctx.mark_non_differentiable(*(each for each in (entropy, squares, means, is_top1) if each is not None))
        return log_probs, entropy, squares, means, is_top1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        [rows] = ctx.saved_tensors
        return (rows * gradient[:, None].to(rows.dtype), *[None] * 8)


@contextmanager
def frozen_head(wanted: bool) -> Iterator[None]:
    """Within the block TRL's trainers on processors score the answers' tokens alone, by :class:`FrozenHead`."""
    if not wanted or torch.cuda.is_available():
        yield
        return
    from trl.trainer import utils

    usual = utils._ChunkedLogProbFunction, utils._use_triton
    utils._ChunkedLogProbFunction, utils._use_triton = FrozenHead, lambda device: True
    try:
        yield
    finally:
        utils._ChunkedLogProbFunction, utils._use_triton = usual

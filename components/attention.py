"""Causal attention in bfloat16 for training on processors: whole matrix products over blocks of rows.

torch's fused attention for processors is written for long contexts and for a forward pass: at the contexts that are
trained on a processor its backward pass in bfloat16 takes several times as long as the products that it consists of
(docs/experiments.md). This one multiplies 128 queries at a time with the keys up to them, so that nearly half of the
products, those above the diagonal, are left out, and keeps the probabilities for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "causal_blocks"
ROWS = 128  # queries of a block: fewer leave out more products, more make faster ones
KEPT_BYTES = 1 << 24  # of a layer's probabilities; where there are more, torch's attention keeps none


@contextmanager
def in_blocks(model: PreTrainedModel) -> Iterator[None]:
    """Have ``model`` attend in this way meanwhile, if it attends as torch does and can attend otherwise.

    What this attention is not for (other precisions, dropout, a mask that is no boolean, one query against a cache, no
    gradient, long contexts) goes to torch's.
    """
    usual = model.config._attn_implementation
    if usual != "sdpa" or not model._can_set_attn_implementation():
        yield
        return
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """transformers' attention interface.

    Args:
        query: [sequences, heads, tokens, width].
        key, value: [sequences, key heads, tokens, width].
        attention_mask: [sequences or 1, 1, tokens, tokens], true where a query may look; no query looks ahead.

    Returns:
        [sequences, tokens, heads, width], and no weights.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    batch, heads, tokens, width = query.shape
    suited = (
        torch.is_grad_enabled()
        and query.device.type == "cpu"
        and dtype == torch.bfloat16
        and (getattr(module, "is_causal", True) if is_causal is None else is_causal)
        and not dropout
        and tokens == key.shape[2] > 1
        and batch * heads * tokens * tokens * dtype.itemsize <= KEPT_BYTES
        and (attention_mask is None or attention_mask.dtype == torch.bool)
        and options.get("position_bias") is None
    )
    if not suited:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **options
        )
    groups = heads // key.shape[1]
    q, k, v = (each.to(dtype) for each in (query, repeat_kv(key, groups), repeat_kv(value, groups)))
    with torch.autocast("cpu", enabled=False):
        output = _Attention.apply(q, k, v, attention_mask, width**-0.5 if scaling is None else scaling)
    return output.transpose(1, 2).contiguous(), None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        q, k, v = (each.reshape(-1, *each.shape[2:]) for each in (query * scale, key, value))
        output, blocks = torch.empty_like(v), []
        for start in range(0, q.shape[1], ROWS):
            scores = _scores(q, k, start, None if mask is None else mask.expand(*query.shape[:2], -1, -1))
            probabilities = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
            output[:, start : start + ROWS] = torch.bmm(probabilities, v[:, : start + ROWS])
            blocks.append(probabilities)
        ctx.scale, ctx.heads = scale, query.shape[:2]
        ctx.save_for_backward(q, k, v, output, *blocks)
        return output.unflatten(0, ctx.heads)

    @staticmethod
    def backward(ctx, upstream: Tensor):
        q, k, v, output, *blocks = ctx.saved_tensors
        upstream = upstream.reshape(output.shape)
        # What the gradient of the softmax takes off: the sum over keys of probability times its gradient, which is
        # that of output times its gradient (Dao et al. 2022, arXiv:2205.14135, section B.2).
        taken = (upstream.float() * output.float()).sum(dim=-1, keepdim=True).to(q.dtype)
        to_q = torch.empty_like(q)
        to_k, to_v = (torch.zeros(each.shape, dtype=torch.float32) for each in (k, v))
        for number, probabilities in enumerate(blocks):
            start = number * ROWS
            rows, seen = slice(start, start + ROWS), slice(0, start + ROWS)
            slope = torch.bmm(upstream[:, rows], v[:, seen].mT).sub_(taken[:, rows]).mul_(probabilities)
            to_q[:, rows] = torch.bmm(slope, k[:, seen])
            to_k[:, seen] += torch.bmm(slope.mT, q[:, rows])
            to_v[:, seen] += torch.bmm(probabilities.mT, upstream[:, rows])
        to_q.mul_(ctx.scale)
        to_query, to_key, to_value = (each.to(q.dtype).unflatten(0, ctx.heads) for each in (to_q, to_k, to_v))
        return to_query, to_key, to_value, None, None


def _scores(q: Tensor, k: Tensor, start: int, mask: Tensor | None) -> Tensor:
    """Scores of one block of queries, [sequences x heads, rows, keys up to the last of them]."""
    end = min(start + ROWS, q.shape[1])
    scores = torch.bmm(q[:, start:end], k[:, :end].mT)
    # Not minus infinity: a row of padding that may look nowhere would be no number.
    lowest = torch.finfo(scores.dtype).min
    scores[:, :, start:].masked_fill_(torch.ones(end - start, end - start, dtype=torch.bool).triu(1), lowest)
    if mask is not None:
        scores.masked_fill_(~mask[:, :, start:end, :end].flatten(0, 1), lowest)
    return scores

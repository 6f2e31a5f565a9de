"""FLOPs of a training, counted on the architecture: matrix products and attention scores.

A multiplication and an addition are two FLOPs. Norms, activations, the softmax and the embedding's look-up are left out
(below 1 % in the models people train), as in Kaplan et al. 2020 (https://arxiv.org/abs/2001.08361), Chowdhery et al.
2022 (PaLM, https://arxiv.org/abs/2204.02311, appendix B) and `torch.utils.flop_counter`. Unlike these, a causal decoder
is charged only for the scores that it needs: half of them at long contexts, fewer in a sliding window.
"""

from __future__ import annotations

from components.planning.decoder import Decoder

#: FLOPs of forward and backward in units of the forward's: each product has two more in the backward.
TRAINING = 3
#: With gradient checkpointing the forward is done twice.
TRAINING_CHECKPOINTED = 4


def mean_keys(context: int, window: int | None = None) -> float:
    """Keys that a token attends to, on average over a sequence of ``context`` tokens."""
    if window is None or window >= context:
        return (context + 1) / 2
    return (window * (window + 1) / 2 + (context - window) * window) / context


def attention_per_token(decoder: Decoder, context: int, *, causal: bool = True) -> float:
    """FLOPs a token of a forward pass, of scores (queries with keys) and of the values summed by them."""
    width = decoder.score_width + decoder.value_width
    return sum(2 * width * (mean_keys(context, window) if causal else context) for window in decoder.windows)


def forward_per_token(decoder: Decoder, context: int, *, causal: bool = True) -> float:
    """FLOPs a token of a forward pass over sequences of ``context`` tokens."""
    return 2 * decoder.products + attention_per_token(decoder, context, causal=causal)


def training(decoder: Decoder, context: int, tokens: float) -> float:
    """FLOPs of training on ``tokens`` tokens in sequences of ``context``: the model's own, repetitions not counted."""
    return TRAINING * forward_per_token(decoder, context) * tokens


def six_n_d(decoder: Decoder, tokens: float) -> float:
    """The usual estimate 6ND, with the active parameters (embeddings included) for N."""
    return 6 * decoder.active * tokens

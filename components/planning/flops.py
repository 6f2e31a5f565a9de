"""FLOPs of a training, counted on the architecture, and how many tokens a model of a given size should see.

A multiplication and an addition are two FLOPs. Norms, activations, the softmax and the embedding's look-up are left out
(below 1 % in the models people train), as in Kaplan et al. 2020 (https://arxiv.org/abs/2001.08361), Chowdhery et al.
2022 (PaLM, https://arxiv.org/abs/2204.02311, appendix B) and `torch.utils.flop_counter`. Unlike these, a causal decoder
is charged only for the scores that it needs: half of them at long contexts, fewer in a sliding window.

How many tokens: Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556.

Their first approach (the lowest loss on each training curve) gave the table that people quote, :data:`PUBLISHED`: model
and data grow in equal proportion, at about 20 tokens a parameter. Their third approach fits a loss in closed form,
L(N, D) = E + A / N^alpha + B / D^beta. Its published constants are rounded so far that they do not give back the
paper's own results; :data:`LOSS` is the fit repaired by Besiroglu et al. 2024, https://arxiv.org/abs/2404.10102, which
agrees with the first approach.
"""

from __future__ import annotations

from dataclasses import dataclass

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


TOKENS_PER_PARAMETER = 20
#: The loss was fitted on models of 70M to 16B parameters; below that it says nothing of use.
SMALLEST_FITTED = 70e6

#: Parameters, training FLOPs and tokens of the paper's table 3 (compute-optimal by the first approach), as printed.
PUBLISHED: tuple[tuple[float, float, float], ...] = (
    (400e6, 1.92e19, 8.0e9),
    (1e9, 1.21e20, 20.2e9),
    (10e9, 1.23e22, 205.1e9),
    (67e9, 5.76e23, 1.5e12),
    (175e9, 3.85e24, 3.7e12),
    (280e9, 9.90e24, 5.9e12),
    (520e9, 3.43e25, 11.0e12),
    (1e12, 1.27e26, 21.2e12),
    (10e12, 1.30e28, 216.2e12),
)


def training_flops(parameters: float, tokens: float) -> float:
    """FLOPs of a training by the usual count: 2 a parameter and token forward, 4 backward (Kaplan et al. 2020)."""
    return 6 * parameters * tokens


def tokens_by_rule(parameters: float) -> float:
    """Compute-optimal tokens by the rule of thumb of 20 a parameter."""
    return TOKENS_PER_PARAMETER * parameters


def compute_optimal_tokens(parameters: float) -> float:
    """Compute-optimal tokens by the first approach: the power law through table 3's rows of 1B and 10T parameters.

    Its exponent, 1.0074, is the paper's N_opt ~ C^0.50 with one more digit: N_opt ~ C^0.498. The rows between are met
    within 2 %, save the one of 67B (7 %), whose tokens the paper prints as 1.5T and whose FLOPs say 1.43T.
    """
    return 20.2e9 * (parameters / 1e9) ** 1.00738


@dataclass(frozen=True)
class ParametricLoss:
    """The third approach: loss in nats a token of a model of N parameters after D tokens, E + A/N^alpha + B/D^beta.

    Fitted on English web text with the paper's tokenizer: differences between losses mean something, their level on
    other text does not.
    """

    entropy: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Predicted loss, in nats a token."""
        return self.entropy + self.a / parameters**self.alpha + self.b / tokens**self.beta

    def optimal(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens with the lowest loss for a budget of 6ND FLOPs (the paper's equation 4)."""
        scale = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        parameters = scale * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return parameters, flops / 6 / parameters


LOSS = ParametricLoss(entropy=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658)


def remark(parameters: float, tokens: float) -> str:
    """Whether a training is short or long of the compute-optimal number of tokens, in words."""
    ratio = tokens / compute_optimal_tokens(parameters)
    if ratio < 0.5:
        return (
            f"under-trained: {ratio:.2f} of the compute-optimal tokens; a smaller model on more tokens would reach a "
            f"lower loss for the same compute"
        )
    if ratio > 2:
        return (
            f"over-trained: {ratio:.2f} times the compute-optimal tokens; it costs more compute than the loss needs, "
            f"and the smaller model is cheaper to serve"
        )
    return f"about compute-optimal: {ratio:.2f} times the tokens of Hoffmann et al."

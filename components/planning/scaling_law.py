"""A scaling law fitted to trainings of several sizes and lengths: how loss falls with parameters and tokens, and what
size and length a budget is best spent on.

The three approaches of Hoffmann et al. 2022 (https://arxiv.org/abs/2203.15556, section 3), each where the trainings
suffice. The law in closed form (their third) is fitted as they did: the Huber loss (delta 1e-3) of the logarithms of
the losses, by L-BFGS from a grid of starts, the lowest end taken. Besiroglu et al. 2024
(https://arxiv.org/abs/2404.10102) showed that their published constants come from a minimiser that stopped too early;
so the sum of the losses is minimised here, not their mean, to a tolerance far below the Huber delta.

Every training counts with its final loss alone, so each has to end with a schedule of its own length (theirs too).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from components.planning.flops import ParametricLoss, training_flops

HUBER = 1e-3  # Hoffmann et al., appendix D.2
# Two differences of losses determine a factor and its exponent, so two lengths would leave the entropy free, with a law
# that meets every loss and foretells none. Five constants need more trainings than constants.
LEAST_SIZES, LEAST_LENGTHS, LEAST_TRAININGS = 3, 3, 6
LEVELS = 24  # of compute, between those that two sizes and more have in common
#: Share of the lowest loss that is entropy, and the two exponents.
_STARTS = tuple(itertools.product((0.3, 0.6, 0.9), ((0.2, 0.2), (0.5, 0.5), (0.25, 0.6), (0.6, 0.25))))


@dataclass(frozen=True)
class Observation:
    """A training that ended.

    Attributes:
        parameters: all of the model's.
        tokens: that it was trained on.
        loss: on held-out text, in nats a token.
    """

    parameters: float
    tokens: float
    loss: float

    @property
    def flops(self) -> float:
        return training_flops(self.parameters, self.tokens)


@dataclass(frozen=True)
class PowerLaw:
    """Best parameters for a budget of compute: ``scale * flops ** exponent``."""

    scale: float
    exponent: float

    def parameters(self, flops: float) -> float:
        return float(self.scale * flops**self.exponent)


@dataclass(frozen=True)
class Interval:
    """A number and its confidence interval by the bootstrap; no bounds where too few samples could be fitted."""

    value: float
    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool | None:
        return None if self.low is None or self.high is None else self.low <= value <= self.high


@dataclass(frozen=True)
class ScalingLaw:
    """What was fitted.

    Attributes:
        loss: the law in closed form (approach 3).
        envelope: best size by the lowest loss at each compute (approach 1); ``None`` where trainings do not suffice.
        profiles: best size by parabolas through sizes of equal compute (approach 2); likewise.
        missing: why an approach was not fitted, by its name.
        samples: laws fitted to samples of the trainings, drawn with replacement.
        residual: standard deviation of the logarithms of the losses around the law.
    """

    trainings: tuple[Observation, ...]
    loss: ParametricLoss
    envelope: PowerLaw | None
    profiles: PowerLaw | None
    missing: dict[str, str] = field(default_factory=dict)
    samples: tuple[ParametricLoss, ...] = ()
    residual: float = 0.0

    def interval(self, of: Callable[[ParametricLoss], float], confidence: float = 0.95) -> Interval:
        """What ``of`` says of the law, with the bounds that the samples give."""
        values = [of(law) for law in self.samples]
        values = [value for value in values if math.isfinite(value)]
        if len(values) < 20:
            return Interval(of(self.loss))
        low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Interval(of(self.loss), float(low), float(high))

    def predicted(self, parameters: float, tokens: float) -> Interval:
        """Loss of one more training: the law's own uncertainty, and the scatter of single trainings around it."""
        draw = np.random.default_rng(0)
        scatter = np.exp(draw.normal(0.0, self.residual, len(self.samples)))
        values = [law.loss(parameters, tokens) * float(noise) for law, noise in zip(self.samples, scatter, strict=True)]
        value = self.loss.loss(parameters, tokens)
        if len(values) < 20:
            return Interval(value)
        low, high = np.quantile(values, [0.025, 0.975])
        return Interval(value, min(float(low), value), max(float(high), value))


def problems(trainings: Sequence[Observation]) -> list[str]:
    """What is missing for a fit, each with what to do."""
    found = []
    sizes, lengths = {each.parameters for each in trainings}, {each.tokens for each in trainings}
    if len(sizes) < LEAST_SIZES:
        found.append(
            f"trainings of {len(sizes)} sizes do not show how loss falls with size: take {LEAST_SIZES} or more"
        )
    if len(lengths) < LEAST_LENGTHS:
        found.append(
            f"trainings of {len(lengths)} lengths do not show how it falls with tokens: take {LEAST_LENGTHS} or more"
        )
    if len(trainings) < LEAST_TRAININGS:
        found.append(f"{len(trainings)} trainings do not determine five constants: take {LEAST_TRAININGS} or more")
    return found


@threadpool_limits.wrap(limits=1)  # threads of BLAS that wait for each other cost many times what five numbers do
def fit(trainings: Sequence[Observation], *, samples: int = 200, seed: int = 0) -> ScalingLaw:
    """Fit all approaches that the trainings suffice for.

    Args:
        samples: of the bootstrap; whole trainings are drawn with replacement, and those draws left out that no longer
            suffice for a fit.

    Raises:
        ValueError: the trainings do not suffice for the law in closed form; as :func:`problems` says.
    """
    if wrong := problems(trainings):
        raise ValueError("; ".join(wrong))
    best = parametric(trainings)
    draw, drawn = np.random.default_rng(seed), []
    for _ in range(samples):
        chosen = [trainings[number] for number in draw.integers(0, len(trainings), len(trainings))]
        if not problems(chosen):
            drawn.append(_minimised(chosen, [_vector(best), *_starts(chosen)[::4]]))
    missing = {}
    approaches: dict[str, PowerLaw | None] = {"envelope": None, "profiles": None}
    for name, approach in (("envelope", envelope), ("profiles", profiles)):
        try:
            approaches[name] = approach(trainings)
        except ValueError as error:
            missing[name] = str(error)
    errors = [math.log(each.loss) - math.log(best.loss(each.parameters, each.tokens)) for each in trainings]
    freedom = max(1, len(trainings) - 5)
    return ScalingLaw(
        tuple(trainings), best, **approaches, missing=missing, samples=tuple(drawn),
        residual=math.sqrt(sum(error**2 for error in errors) / freedom),
    )  # fmt: skip


def parametric(trainings: Sequence[Observation]) -> ParametricLoss:
    """Approach 3: L(N, D) = E + A / N^alpha + B / D^beta."""
    return _minimised(trainings, _starts(trainings))


def _starts(trainings: Sequence[Observation]) -> list[Any]:
    lowest, middle = (choose([each.loss for each in trainings]) for choose in (min, statistics.median))
    starts = []
    for share, (alpha, beta) in _STARTS:
        term = math.log((middle - share * lowest) / 2)  # the two others have equal parts of what is left
        sizes, lengths = _centres(trainings)
        starts.append(np.array([term + alpha * sizes, term + beta * lengths, math.log(share * lowest), alpha, beta]))
    return starts


def envelope(trainings: Sequence[Observation]) -> PowerLaw:
    """Approach 1: at each compute the size with the lowest loss, and the power law through these.

    Raises:
        ValueError: too few sizes overlap in compute, or the best one is always the largest or smallest.
    """
    levels, losses, sizes = _at_equal_compute(trainings)
    best = []
    for level, row in zip(levels, losses, strict=True):
        known = np.flatnonzero(np.isfinite(row))
        lowest = int(known[np.argmin(row[known])])
        if known[0] < lowest < known[-1]:  # else a size beyond those trained may be better
            best.append((level, sizes[lowest]))
    if len({size for _, size in best}) < 2:
        raise ValueError("the best size is seldom between two others at the same compute: add sizes or lengths")
    return _power_law(best)


def profiles(trainings: Sequence[Observation]) -> PowerLaw:
    """Approach 2: at each compute the minimum of a parabola through the losses over the logarithm of size.

    Raises:
        ValueError: nowhere do three sizes of equal compute have their minimum between them.
    """
    levels, losses, sizes = _at_equal_compute(trainings)
    best = []
    for level, row in zip(levels, losses, strict=True):
        known = np.flatnonzero(np.isfinite(row))
        if len(known) < 3:
            continue
        logs = np.log(np.array(sizes)[known])
        curvature, slope, _ = np.polyfit(logs, row[known], 2)
        minimum = -slope / (2 * curvature) if curvature > 0 else math.inf
        if logs[0] < minimum < logs[-1]:
            best.append((level, math.exp(minimum)))
    if len(best) < 3:
        raise ValueError("too few computes at which three sizes have their minimum between them: add sizes or lengths")
    return _power_law(best)


def _at_equal_compute(trainings: Sequence[Observation]) -> tuple[Any, Any, list[float]]:
    """(levels of compute, loss of each size there, sizes): between trainings of one size by their logarithms.

    A size has no loss (nan) at a compute that its trainings do not span.
    """
    sizes = sorted({each.parameters for each in trainings})
    curves = []
    for size in sizes:
        by_length: dict[float, list[float]] = {}
        for each in trainings:
            if each.parameters == size:
                by_length.setdefault(each.tokens, []).append(math.log(each.loss))
        tokens = sorted(by_length)
        curves.append(
            ([math.log(training_flops(size, length)) for length in tokens],
             [sum(by_length[length]) / len(by_length[length]) for length in tokens])
        )  # fmt: skip
    ends = sorted(end for flops, _ in curves if len(flops) > 1 for end in (flops[0], flops[-1]))
    if not ends:
        raise ValueError("no size was trained at two lengths")
    levels = np.linspace(ends[0], ends[-1], LEVELS)
    losses = np.array([[_between(level, *curve) for curve in curves] for level in levels])
    enough = np.isfinite(losses).sum(axis=1) >= 3
    if not enough.any():
        raise ValueError("nowhere do three sizes have equal compute: give large models fewer tokens, small ones more")
    return np.exp(levels[enough]), losses[enough], sizes


def _between(level: float, flops: list[float], losses: list[float]) -> float:
    inside = len(flops) > 1 and flops[0] <= level <= flops[-1]
    return float(np.interp(level, flops, losses)) if inside else math.nan


def _power_law(best: Sequence[tuple[float, float]]) -> PowerLaw:
    exponent, intercept = np.polyfit(np.log([flops for flops, _ in best]), np.log([size for _, size in best]), 1)
    return PowerLaw(math.exp(intercept), float(exponent))


def _centres(trainings: Sequence[Observation]) -> tuple[float, float]:
    """Mean logarithms of sizes and lengths."""
    return (
        statistics.fmean(math.log(each.parameters) for each in trainings),
        statistics.fmean(math.log(each.tokens) for each in trainings),
    )


def _minimised(trainings: Sequence[Observation], starts: Sequence[Any]) -> ParametricLoss:
    """The law with the lowest loss that is reached from ``starts``: log A, log B, log E, alpha, beta.

    Logarithms are counted from their means meanwhile: else each exponent and its factor are nearly one number, and the
    minimiser takes thousands of steps.
    """
    of_sizes, of_lengths = _centres(trainings)
    sizes = np.log([each.parameters for each in trainings]) - of_sizes
    lengths = np.log([each.tokens for each in trainings]) - of_lengths
    losses = np.log([each.loss for each in trainings])

    def objective(vector: Any) -> tuple[float, Any]:
        a, b, e, alpha, beta = vector
        terms = np.stack([a - alpha * sizes, b - beta * lengths, np.full_like(sizes, e)])
        predicted = np.logaddexp.reduce(terms, axis=0)
        shares = np.exp(terms - predicted)
        error = predicted - losses
        slope = np.clip(error / HUBER, -1, 1)
        value = np.where(np.abs(error) <= HUBER, error**2 / (2 * HUBER), np.abs(error) - HUBER / 2).sum()
        gradient = [
            (slope * shares[0]).sum(), (slope * shares[1]).sum(), (slope * shares[2]).sum(),
            -(slope * shares[0] * sizes).sum(), -(slope * shares[1] * lengths).sum(),
        ]  # fmt: skip
        return float(value), np.array(gradient)

    bounds = [(None, None)] * 3 + [(1e-3, 3.0)] * 2
    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-9}
    ends = []
    for start in starts:
        centred = start - np.array([start[3] * of_sizes, start[4] * of_lengths, 0.0, 0.0, 0.0])
        ends.append(minimize(objective, centred, jac=True, method="L-BFGS-B", bounds=bounds, options=options))
    a, b, e, alpha, beta = (float(value) for value in min(ends, key=lambda end: end.fun).x)
    return ParametricLoss(
        math.exp(e), math.exp(a + alpha * of_sizes), math.exp(b + beta * of_lengths), alpha, beta
    )  # fmt: skip


def _vector(law: ParametricLoss) -> Any:
    return np.array([math.log(law.a), math.log(law.b), math.log(law.entropy), law.alpha, law.beta])

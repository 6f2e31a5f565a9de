"""The model before and after: its answers to development and test questions, and how it orders held-out answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contract import Context
from components.conversations import Encoded
from components.finetuning.pairs import Pair
from components.finetuning.records import Record
from components.finetuning.rewards import Rewarder, warn_of_cuts
from components.finetuning.sampling import SavedModel, answer_records
from components.finetuning.scoring import AnswerScores, Likelihood, checkable, likelihood, score
from components.finetuning.templates import encode_answers
from components.preference_tune.kto import Labelled
from components.preference_tune.own_reward import RewardFunction
from components.statistics import Estimate, estimate


@dataclass(frozen=True)
class MeasuredModel:
    """One model on one set of questions.

    Attributes:
        greedy, sampled: the verifier's scores of greedy and of drawn answers; None where no question has a verifier.
        reward: mean reward of the greedy answers by the reward model; None where there is none.
        earned: mean of what greedy answers earn by each reward that an online method learns from.
        answers: the greedy answers.
    """

    greedy: AnswerScores | None
    sampled: AnswerScores | None
    reward: Estimate | None
    rewards: list[float]
    answers: list[str]
    earned: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Ordered:
    """How the trained model orders held-out answers, beside the model it started from.

    Attributes:
        accuracy: share of pairs of a better and a worse answer in the right order, by the implicit reward: the gain in
            log-probability over the reference.
        reference: the same share by the reference's own log-probability.
        loss, reference_loss: negative log-likelihood of the better answers, nats a token.
    """

    accuracy: Estimate
    reference: Estimate
    loss: float
    reference_loss: float


def measure(
    context: Context,
    name: str,
    model: Any,
    tokenizer: Any,
    records: Sequence[Record],
    rewarder: Rewarder | None,
    earning: Mapping[str, RewardFunction],
    saved: SavedModel | None = None,
) -> MeasuredModel:
    """Greedy and drawn answers of ``model`` to ``records``, judged by the verifier, the reward model and ``earning``,
    each where there is one.

    Args:
        saved: where copies of ``model`` on a cluster find it.
    """
    sampling = context.parameters.sampling
    greedy = answer_records(context, f"{name}-greedy", model, tokenizer, records, sampling, saved=saved)
    judged = checkable(records)
    verdicts = drawn = None
    if judged:
        own = {id(record): answer for record, answer in zip(records, greedy, strict=True)}
        verdicts = score(judged, [own[id(record)] for record in judged])
        sampled = answer_records(
            context, f"{name}-sampled", model, tokenizer, judged, sampling, temperature=sampling.temperature,
            saved=saved,
        )  # fmt: skip
        drawn = score(judged, sampled)
    answers = [answer for [answer] in greedy]
    groups = [record["group"] for record in records]
    reward, values = None, []
    if rewarder is not None:
        values = rewarder(records, answers)
        reward = estimate(values, groups)
        warn_of_cuts(context, rewarder, f"answers of {name}")
    earned = {each: estimate(function(records, answers), groups) for each, function in earning.items()}
    if rewarder is not None:
        rewarder.take()  # the same answers once more, where it is among what is learnt from
    return MeasuredModel(verdicts, drawn, reward, values, answers, earned)


def pair_order(policy: Any, reference: Any, tokenizer: Any, pairs: Sequence[Pair]) -> Ordered:
    """How ``policy`` and ``reference`` order the two answers of each pair."""
    scored = {
        (name, side): _likelihood(model, tokenizer, [p.record for p in pairs], [getattr(p, side) for p in pairs])
        for side in ("chosen", "rejected")
        for name, model in (("policy", policy), ("reference", reference))
    }
    logps = {key: np.array(found.log_probabilities) for key, found in scored.items()}
    gain = {side: logps["policy", side] - logps["reference", side] for side in ("chosen", "rejected")}
    groups = [pair.record["group"] for pair in pairs]
    right = 0.5 + 0.5 * np.sign(gain["chosen"] - gain["rejected"])
    likelier = 0.5 + 0.5 * np.sign(logps["reference", "chosen"] - logps["reference", "rejected"])
    return Ordered(
        estimate(right.tolist(), groups),
        estimate(likelier.tolist(), groups),
        scored["policy", "chosen"].loss,
        scored["reference", "chosen"].loss,
    )


def label_order(policy: Any, reference: Any, tokenizer: Any, answers: Sequence[Labelled]) -> Ordered:
    """The same over all pairs of a good and a bad answer, be they to one question or to two (the area under the curve
    of the true against the false positive rate)."""
    records, given = [answer.record for answer in answers], [answer.answer for answer in answers]
    own, base = (_likelihood(model, tokenizer, records, given) for model in (policy, reference))
    good = np.array([answer.good for answer in answers])
    gain = np.subtract(own.log_probabilities, base.log_probabilities)

    def loss(scored: Likelihood) -> float:
        return -float(np.array(scored.log_probabilities)[good].sum() / np.array(scored.tokens)[good].sum())

    return Ordered(
        area_under_curve(gain, good), area_under_curve(np.array(base.log_probabilities), good), loss(own), loss(base)
    )


def area_under_curve(values: NDArray[np.float64], good: NDArray[np.bool_]) -> Estimate:
    """Share of pairs of a good and a bad one in which the good one's value is higher, ties half.

    The standard error is that of DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).
    """
    wins = 0.5 + 0.5 * np.sign(values[good][:, None] - values[~good][None, :])
    of_good, of_bad = wins.mean(axis=1), wins.mean(axis=0)
    stderr = None
    if min(len(of_good), len(of_bad)) > 1:
        stderr = float(np.sqrt(of_good.var(ddof=1) / len(of_good) + of_bad.var(ddof=1) / len(of_bad)))
    return Estimate(float(wins.mean()), stderr, len(values))


def _likelihood(model: Any, tokenizer: Any, records: Sequence[Record], answers: Sequence[str]) -> Likelihood:
    encoded: Encoded = encode_answers(tokenizer, records, answers).whole()
    return likelihood(model, encoded, pad=tokenizer.pad_token_id)

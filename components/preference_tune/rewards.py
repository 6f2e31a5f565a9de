"""What an answer earns in online methods: each reward of the parameters as a function of records and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from components.finetuning.records import Record
from components.finetuning.rewards import Rewarder
from components.preference_tune import own_reward
from components.preference_tune.own_reward import RewardFunction
from components.preference_tune.parameters import (
    FormatReward,
    FunctionReward,
    Reward,
    RewardModelReward,
    VerifierReward,
)
from components.tasks import has_verifier, judge
from core.errors import InputProblem


def build(
    given: Sequence[Reward],
    root: Path,
    files: dict[str, Sequence[Record]],
    rewarder: Rewarder | None,
) -> dict[str, RewardFunction]:
    """A function for each reward, by its name; each is tried once on the first record.

    Args:
        root: the workspace, for the user's own functions.
        files: the records whose answers are to be rewarded, by the name of their file in ``data/instructions``.
        rewarder: of ``models/reward``; None where that is empty.

    Raises:
        InputProblem: with every reward that cannot be given, and why.
    """
    found, problems = {}, []
    for reward in given:
        try:
            function = _function(reward, root, files, rewarder)
            function(list(next(iter(files.values()))[:1]), ["Yes."])
            found[reward.name] = function
        except InputProblem as problem:
            problems += problem.problems
    if problems:
        raise InputProblem(problems)
    if rewarder is not None:
        rewarder.take()  # a trial counts for nothing
    return found


def by_format(rule: FormatReward, answer: str) -> float:
    """1 where ``answer``, without space around it, keeps every rule, else 0."""
    text = answer.strip()
    kept = (
        rule.pattern is None or re.search(rule.pattern, text) is not None,
        rule.min_characters is None or len(text) >= rule.min_characters,
        rule.max_characters is None or len(text) <= rule.max_characters,
    )
    return float(all(kept))


def _function(
    reward: Reward, root: Path, files: dict[str, Sequence[Record]], rewarder: Rewarder | None
) -> RewardFunction:
    if isinstance(reward, FormatReward):
        return lambda records, answers: [by_format(reward, answer) for answer in answers]
    if isinstance(reward, FunctionReward):
        return own_reward.load(root, reward)
    if isinstance(reward, VerifierReward):
        for name, records in files.items():
            if without := [record["row"] for record in records if not has_verifier(record)]:
                raise InputProblem(
                    f"data/instructions/{name}.jsonl: {len(without)} of {len(records)} rows (such as row "
                    f"{without[0]}) have no verifier, so the reward {reward.name} cannot judge answers to them: set "
                    "preference_tune.rewards to another reward"
                )
        return lambda records, answers: [judge(r, answer).rank / 2 for r, answer in zip(records, answers, strict=True)]
    assert isinstance(reward, RewardModelReward)
    if rewarder is None:
        raise InputProblem(
            f"preference_tune.rewards: {reward.name} is the reward model's, and models/reward is empty: run "
            "reward_model"
        )
    return rewarder

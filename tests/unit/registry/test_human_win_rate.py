"""What people voted on in the arena, as a metric of the gate."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from registry.db.schema import ModelVersion
from registry.feedback import votes
from registry.feedback.selection import PairSelection
from registry.feedback.votes import GivenAnswer
from registry.lineage.recording import record_execution
from registry.promotion.gate import Check, judge
from registry.promotion.human import WinRate
from registry.promotion.parameters import PromotionParameters
from tests.unit.registry.conftest import item

SIGNED = Check("signatures valid", True, "")


@pytest.fixture
def judged(registry, finished, tmp_path):
    """The gate's checks of the second version against the first, by the votes between them: first shown, choice."""

    def judge_by(given: list[tuple[int, str]], rule: dict, *, first: bool = True) -> dict[str, Check]:
        with registry.write() as session:
            for number in (1, 2, 3):
                model = item("model", f"m{number}", "model", "base")
                record_execution(session, finished("train", [item("raw", "r", "raw")], [model], started=number))
            versions = list(session.scalars(select(ModelVersion).order_by(ModelVersion.version)))
        answers = [GivenAnswer(version.id, "x") for version in versions]
        votes.record(registry, "", "q", answers[1], answers[2], "a", "")  # against another one: does not count
        chosen = PairSelection("disagreement", "f" * 32, 0.9, 0.0, 0.9, 1, 2, "reward:1", "a judge")
        for _ in range(20):  # chosen for a disagreement: they do not count
            votes.record(registry, "", "q", answers[1], answers[0], "a", "", selection=chosen)
        for shown, choice in given:
            votes.record(registry, "", "q", answers[shown - 1], answers[2 - shown], choice, "")
        parameters = PromotionParameters.model_validate({"base": {"human_win_rate": rule}})
        with registry.read() as session:
            champion, candidate, _ = session.scalars(select(ModelVersion).order_by(ModelVersion.version))
            verdict = judge(
                session, candidate, champion if first else None, "champion", parameters, tmp_path, {}, SIGNED
            )
        return {check.name: check for check in verdict.checks if check.name.startswith("human_win_rate")}

    return judge_by


def test_the_share_of_votes_is_compared_with_even(judged):
    lost = [(2, "b")] * 4 + [(1, "a")] * 3 + [(1, "b"), (1, "tie"), (2, "bad")]
    checks = judged(lost, {"min": 0.3})
    # (2 + 1.9208) / (10 + 3.8416) = 0.2833, and 1.96 * sqrt(0.2833 * 0.7167 / 13.8416) = 0.2374
    found = "0.2, 95 % 0.04589 to 0.5206 (1 won, 2 tied, 7 lost)"
    assert checks["human_win_rate at least 0.3"] == Check("human_win_rate at least 0.3", False, found)
    assert checks["human_win_rate against base:1"].passed, "it may be noise"
    more = judged(lost, {})["human_win_rate against base:1"]
    assert not more.passed and "(2 won, 4 tied, 14 lost), against 0.5" in more.detail
    assert judged([], {"max_drop": 0.3})["human_win_rate against base:1"].passed


def test_a_few_votes_are_noise():
    low, high = WinRate(2, 0, 0).interval
    assert WinRate(2, 0, 0).value == 1.0 and low < 0.5 and high == 1.0


def test_without_votes_it_does_not_pass_and_without_a_holder_it_does(judged):
    assert "stemma serve base:2 base:1" in judged([], {})["human_win_rate"].detail
    assert judged([], {}, first=False)["human_win_rate"].passed

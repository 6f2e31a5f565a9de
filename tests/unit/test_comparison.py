"""Two models on the same items: differences by hand, tests against scipy's, and words that say what they mean."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest, norm

from components.comparison.agreement import agreement
from components.comparison.judged import judge_pairs
from components.comparison.paired import BOOTSTRAP, MCNEMAR, compare, paired
from components.evaluate.items import Item
from components.evaluate.judge.parameters import JudgeParameters
from components.evaluate.judge.verdicts import judging
from core.errors import InputProblem
from tests.unit.evaluate.judging_server import judging_server


def rows(scores, *, metric="accuracy", groups=None, weights=None, start=0, answers=None):
    return [
        Item("t", str(start + place), metric, score, answers[place] if answers else f"a{place}", "ref", f"q{place}",
             groups[place] if groups else str(start + place), weights[place] if weights else 1.0)
        for place, score in enumerate(scores)
    ]  # fmt: skip


def test_right_or_wrong_items_are_tested_by_those_that_flipped():
    a, b = [1, 1, 0, 0, 0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    found = paired(rows(a), rows(b), True)
    assert (found.wins, found.ties, found.losses) == (7, 2, 1) and found.win_rate == 0.8
    assert found.difference == pytest.approx(0.6) and found.test == MCNEMAR
    assert found.p_value == pytest.approx(binomtest(1, 8, 0.5).pvalue)
    # The textbook error of the mean of the ten differences.
    assert found.stderr == pytest.approx((((0.4**2) * 7 + (0.6**2) * 2 + 1.6**2) / 90) ** 0.5)
    assert not found.is_significant and found.in_words("A", "B").startswith("no difference that 10 items in 10 groups")
    assert [pair[1].item for pair in found.flips] == sorted(str(n) for n in (0, 2, 3, 4, 5, 6, 7, 8))


def test_only_shared_items_count():
    found = paired(rows([1, 0, 1]), rows([0, 0, 1, 1], start=1), True)
    assert (found.n, found.only_a, found.only_b) == (2, 1, 2)
    assert paired(rows([1]), rows([1], start=7), True) is None
    assert [each.metric for each in compare(rows([1, 0]), rows([1, 0]) + rows([1], metric="other"), {})] == ["accuracy"]


def test_real_scores_are_tested_by_a_bootstrap_that_agrees_with_the_normal_where_that_holds():
    chance = random.Random(7)
    a = [chance.gauss(5, 2) for _ in range(400)]
    b = [each + chance.gauss(0.1, 1) for each in a]
    found = paired(rows(a, metric="judge_score"), rows(b, metric="judge_score"), True)
    assert found.test == BOOTSTRAP
    assert found.p_value == pytest.approx(2 * norm.sf(abs(found.difference) / found.stderr), abs=0.015)
    assert found.low == pytest.approx(found.difference - 1.96 * found.stderr, abs=0.01)
    assert found.high == pytest.approx(found.difference + 1.96 * found.stderr, abs=0.01)


def test_items_of_one_group_are_no_independent_evidence():
    a, b = [0.0] * 40, [1.0] * 30 + [0.0] * 10
    alone = paired(rows(a), rows(b), True)
    together = paired(rows(a, groups=["g"] * 30 + ["h"] * 10), rows(b, groups=["g"] * 30 + ["h"] * 10), True)
    assert alone.is_significant and not together.is_significant and together.stderr > 2 * alone.stderr
    one = paired(rows(a, groups=["g"] * 40), rows(b, groups=["g"] * 40), True)
    assert one.p_value is None and "one group of items cannot say" in one.in_words("A", "B")


def test_a_loss_has_its_own_direction_and_weights():
    a = rows([2.0, 4.0], metric="bits_per_byte", weights=[30, 10])
    b = rows([1.0, 5.0], metric="bits_per_byte", weights=[30, 10])
    found = paired(a, b, False)
    assert (found.a, found.b) == (2.5, 2.0) and found.difference == -0.5
    assert (found.wins, found.losses) == (1, 1)
    long = paired(rows([2.0 + n % 3 for n in range(60)]), rows([1.0 + n % 3 for n in range(60)]), False)
    assert long.in_words("A", "B") == "B is better than A (p < 0.001, paired bootstrap)"
    assert "B is lower than A" in paired(rows([2.0] * 60), rows([1.0] * 60), None).in_words("A", "B")


def test_equal_answers_are_called_equal():
    found = paired(rows([1, 0, 1]), rows([1, 0, 1]), True)
    assert found.in_words("A", "B") == "A and B got the same on every item" and found.p_value == 1 and not found.flips


def test_the_judge_compares_the_answers_and_keeps_its_verdicts(tmp_path):
    a = rows([0, 0, 0], answers=["bad", "bad", "same"])
    b = rows([0, 0, 0], answers=["splendid", "splendid answer", "same"])
    with judging_server() as server:

        def prefer(text):
            first = text.index("splendid") < text.index("[Answer of assistant B]")
            return "[[A]]" if first else "[[B]]"

        server.answer = prefer
        given = JudgeParameters(endpoint=server.url, model="judge", attempts=1, min_judged=1.0)
        counted: list[int] = []

        def judged(a, b, count=lambda tally: counted.append(tally.own_prompt_tokens)):
            with judging(given, tmp_path, f"compare-{len(counted)}", count) as judge:
                return judge_pairs(judge, a, b)

        found = judged(a, b)
        assert found.win_rate.value == pytest.approx(2.5 / 3) and found.win_rate.n == 3
        asked = len(server.asked)
        assert asked == 4 and judged(a, b).as_dict() == found.as_dict()
        assert len(server.asked) == asked
        assert counted[0] > 0 and counted[1] == 0, "what was kept costs nothing again"
        assert "prefers B in 0.833" in found.in_words("A", "B")
        server.answer = lambda text: "Hm."
        with pytest.raises(InputProblem, match=r"a verdict on 1 of 3 pairs.*does not give \[\[A\]\]"):
            judged(rows([0] * 3, answers=["p", "q", "same"]), b)
        assert counted[2] > 0, "also where it failed"
        with pytest.raises(InputProblem, match="no item has a question and an answer of both"):
            judged(a, rows([1], start=9))


def test_a_judge_is_held_against_peoples_votes(tmp_path):
    """Six pairs: people and judge name the same winner on three, another one on one; a tie; one without verdict."""
    pairs = [(f"q{n}", "splendid", "bad") for n in range(4)] + [("q4", "x", "y"), ("lost", "splendid", "bad")]
    people = [1.0, 1.0, 1.0, 0.0, 0.5, 1.0]
    with judging_server() as server:

        def prefer(text):
            if "lost" in text:
                return "Hm."
            if "splendid" not in text:
                return "[[C]]"
            return "[[A]]" if text.index("splendid") < text.index("[Answer of assistant B]") else "[[B]]"

        server.answer = prefer
        given = JudgeParameters(endpoint=server.url, model="judge", attempts=1)
        with judging(given, tmp_path, "arena") as judge:
            found = agreement(judge, pairs, people, [question for question, *_ in pairs])
    assert (found.votes, found.unjudged, found.decided) == (6, 1, 4)
    assert found.share.value == 0.75 and found.share.stderr == pytest.approx(0.25)
    # Of the five judged pairs four agree; by chance 3/5 * 4/5 + 1/5 * 1/5 + 1/5 * 0 = 0.52 would.
    assert found.kappa == pytest.approx((0.8 - 0.52) / 0.48)
    assert "on 0.75 ± 0.25 of 4 pairs" in found.in_words() and "1 have no verdict" in found.in_words()

"""Pairs of answers: ranked rightly, whatever order the answers were drawn in, and split by group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contract import Context
from components.finetuning.pairs import Pair, by_verifier, candidates, ranked_pairs, split_by_group, user_pairs
from components.reward_model import RewardModelParameters
from core.errors import InputProblem
from tests.chat_templates import tokenizer

RECORD = {
    "prompt": "Which parameter is first? def f ( alpha )",
    "kind": "first",
    "group": "f",
    "reference": "alpha",
    "verifier": "closed_answer",
}
ANSWERS = [" alpha", " The answer is alpha.", " beta", " The answer is beta.", "", " "]


@given(st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=6), st.integers(1, 8), st.randoms())
def test_the_better_answer_is_the_chosen_one(answers, most, random):
    pairs = ranked_pairs(RECORD, answers, by_verifier(RECORD, answers), most)
    assert len(pairs) <= most
    for pair in pairs:
        better, worse = by_verifier(RECORD, [pair.chosen, pair.rejected])
        assert better > worse
    shuffled = answers[:]
    random.shuffle(shuffled)
    assert ranked_pairs(RECORD, shuffled, by_verifier(RECORD, shuffled), most) == pairs


def test_right_and_terse_beats_right_and_chatty_beats_wrong():
    assert by_verifier(RECORD, ANSWERS[:3]) == [2, 1, 0]
    [widest, *_] = ranked_pairs(RECORD, ANSWERS[:3], [2, 1, 0], 3)
    assert (widest.chosen, widest.rejected, widest.same_style) == (" alpha", " beta", True)


def test_wording_is_compared():
    [pair] = ranked_pairs(RECORD, ANSWERS[:2], [2, 1], 3)
    assert pair.same_style is False


def test_the_users_pairs_are_taken_as_they_are():
    own = {"prompt": "q", "group": "q", "kind": "question", "chosen": "good", "rejected": "bad"}
    assert user_pairs([own, RECORD], 3) == [Pair(own, "good", "bad", None)]


def test_a_ranked_list_gives_pairs_those_farthest_apart_first():
    ranked = {"prompt": "q", "group": "q", "kind": "ranked", "ranked": ["a", "b", "c"]}
    pairs = user_pairs([ranked], 5)
    assert {(pair.chosen, pair.rejected) for pair in pairs} == {("a", "b"), ("b", "c"), ("a", "c")}
    assert user_pairs([ranked], 1) == [Pair(ranked, "a", "c", None)] == pairs[:1]


def test_pairs_that_the_template_does_not_show_are_counted_and_left_out(tmp_path):
    """DeepSeek-V3's template drops thoughts: the answer would be trained behind a question that opens none."""
    context = Context(RewardModelParameters(), 0, {}, {}, tmp_path)
    rows = [{"prompt": f"q{i}", "group": str(i), "chosen": "yes", "rejected": "no", "row": i + 1} for i in range(120)]
    rows[7]["chosen"] = "<think>\nhm\n</think>\n\nyes"
    kept = candidates(context, None, tokenizer("deepseekv3"), rows, 500, name="reward_model", file="reward")
    assert [pair.record["row"] for pair in kept] == [i for i in range(1, 121) if i != 8]
    [warning] = context.warnings
    assert "reward.jsonl: 1 of 120 rows do not fit the chat template and are left out" in warning and "row 8" in warning
    with pytest.raises(InputProblem, match="1 of 40 rows do not fit the chat template"):
        candidates(context, None, tokenizer("deepseekv3"), rows[:40], 500, name="reward_model", file="reward")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.floats(0.05, 0.8), st.integers(0, 4))
def test_no_group_lies_on_both_sides(groups, share, seed):
    pairs = [Pair({"prompt": "q", "group": str(g)}, "a", "b", None) for g in groups]
    train, held_out = split_by_group(pairs, share, seed)
    assert len(train) + len(held_out) == len(pairs)
    assert not {p.record["group"] for p in train} & {p.record["group"] for p in held_out}
    assert (train, held_out) == split_by_group(pairs, share, seed)

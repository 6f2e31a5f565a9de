"""The verifier of signature questions, and the baselines that answer the same questions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.tasks import baseline_answers, has_verifier, judge
from components.tasks.signatures import judging
from components.tasks.signatures.functions import parse
from components.tasks.signatures.judging import normalise, rule_answer
from components.tasks.signatures.questions import LIST_ANSWERS, ask, chatty


def record(reference: str, kind: str = "first") -> dict:
    return {"prompt": "?", "kind": kind, "reference": reference, "verifier": "closed_answer"}


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
answers = names | st.sampled_from(["none", "yes", "no", "3", "None", "...", "'a.'", "-1", "1.0", "(1,)"])


@given(answers, st.sampled_from(["", " ", "\n"]), st.sampled_from(["", " ", "\n"]))
def test_the_reference_itself_is_terse_and_right(answer, before, after):
    judgement = judge(record(answer), f"{before}{answer}{after}")
    assert (judgement.correct, judgement.terse, judgement.rank) == (True, True, 2)


@given(answers)
def test_the_chatty_form_is_right_and_ranks_below_terse(answer):
    judgement = judge(record(answer), f" {chatty(answer)}")
    assert (judgement.correct, judgement.terse, judgement.rank) == (True, False, 1)


@given(answers, answers)
def test_another_answer_is_wrong_in_either_style(reference, said):
    if normalise(reference, "first") != normalise(said, "first"):
        assert judge(record(reference), said).rank == 0
        assert judge(record(reference), chatty(said)).rank == 0


@given(names, st.text(alphabet=st.characters(codec="utf-8"), min_size=1).filter(str.split))
def test_a_right_answer_with_words_around_it_is_wrong(name, extra):
    said = f"{name} {extra}"
    if extra.strip() not in ("", ".", "`"):
        assert judge(record(name), said).rank == 0


@given(st.lists(names, min_size=1, max_size=5, unique=True), st.randoms())
def test_lists_are_right_in_any_order_but_not_with_a_name_more_or_less(listed, random):
    wanted = record(", ".join(listed), "optional")
    shuffled = random.sample(listed, len(listed))
    assert judge(wanted, " , ".join(shuffled)).rank == 2
    assert judge(wanted, ", ".join([*listed, listed[0]])).rank == 0
    if len(listed) > 1:
        assert judge(wanted, ", ".join(listed[1:])).rank == 0


@pytest.mark.parametrize(
    ("reference", "kind", "said", "rank"),
    [
        ("yes", "args", "Yes", 2),
        ("yes", "args", "Yes.", 2),
        ("none", "optional", "None", 2),
        ("None", "default", "none", 0),
        ("timeout", "first", "Timeout", 0),
        ("timeout", "first", "`timeout`", 2),
        ("timeout", "first", "Answer: timeout", 1),
        ("timeout", "first", "the answer is timeout", 1),
        ("...", "default", "...", 2),
        ("...", "default", "The answer is ....", 1),
        ("1.", "default", "1.", 2),
        ("timeout", "first", "", 0),
        ("timeout", "first", "The answer is", 0),
        ("it", "first", "it", 2),
    ],
)
def test_wordings(reference, kind, said, rank):
    assert judge(record(reference, kind), said).rank == rank


def test_records_without_a_verifier_are_refused():
    plain = {"prompt": "?", "kind": "alpaca", "reference": None, "verifier": None}
    assert not has_verifier(plain)
    with pytest.raises(ValueError, match="no verifier"):
        judge(plain, "x")


def questions(source: str) -> list[dict]:
    return [
        {"prompt": q.prompt, "kind": q.kind, "reference": q.answer, "verifier": "closed_answer"}
        for function in parse(source, "m")
        for q in ask(function, 40)
    ]


def test_rules_find_what_stands_at_a_fixed_place():
    answered = {(r["kind"], r["prompt"].split("?")[0]): rule_answer(r) for r in questions("def f(a, b=1, **kw): ...")}
    assert answered["first", "Which parameter is first"] == "a"
    assert answered["last", "Which parameter is last"] == "kw"
    assert answered["next", "Which parameter comes after a"] == "b"
    assert answered["next", "Which parameter comes after b"] == "1"  # it does not see the default
    assert answered["default", "What is the default of b"] == "1"
    assert answered["kwargs", "Are extra keyword arguments accepted"] == "yes"


@given(st.text(max_size=60), st.text(max_size=8))
def test_rules_have_some_answer_to_anything(prompt, kind):
    assert isinstance(rule_answer({"prompt": prompt, "kind": kind}), str)


def test_majority_answers_by_kind_and_breaks_ties_by_name():
    train = [{"kind": "a", "reference": x} for x in ("2", "1", "1", "2")] + [{"kind": "b", "reference": "no"}]
    records = [{"kind": "a"}, {"kind": "b"}, {"kind": "unseen"}]
    assert baseline_answers(train, records) == {"majority": ["1", "no", "1"]}


def test_rules_answer_only_the_records_of_their_task():
    (record, *_), own = questions("def f(a): ..."), {"prompt": "Who? def f ( a )", "kind": "first", "verifier": None}
    assert baseline_answers([], [record, own]) == {"rules": ["1", ""]}
    assert baseline_answers([], [own]) == {}


def test_list_kinds_of_the_verifier_are_those_of_the_questions():
    assert judging._LISTS == LIST_ANSWERS

"""Multiple-choice items: one right answer each, wrong ones that are wrong, and never the same twice."""

import shutil
import textwrap

import pytest

from components.evaluate.choices import as_rows, build, chance_level
from components.tasks import judge
from tests.unit.evaluate.conftest import questions

RECORDS = [*questions(shutil), *questions(textwrap)]
BY_PROMPT = {record["prompt"]: record for record in RECORDS}


def test_exactly_one_choice_is_right():
    items = build(RECORDS, seed=1)
    assert len(items) > 0.9 * len(RECORDS)
    for item in items:
        record = BY_PROMPT[item.prompt]
        assert [judge(record, choice).correct for choice in item.choices].count(True) == 1
        assert item.choices[item.gold] == record["reference"]
        assert 2 <= len(item.choices) <= 4 and len(set(item.choices)) == len(item.choices)


def test_wrong_names_come_from_the_signature():
    items = [item for item in build(RECORDS, seed=1) if item.kind in ("first", "last", "next")]
    assert items
    assert all(choice in item.prompt.split() for item in items for choice in item.choices)


def test_an_item_does_not_depend_on_the_others_order_and_the_seed_shuffles():
    items = {item.prompt: item for item in build(RECORDS, seed=1)}
    assert {item.prompt: item for item in build(RECORDS[::-1], seed=1)} == items
    assert {item.prompt: item for item in build(RECORDS, seed=2)} != items
    places = [item.gold for item in items.values() if len(item.choices) == 4]
    assert all(0.15 < places.count(place) / len(places) < 0.35 for place in range(4))


def test_questions_without_reference_or_wrong_answers_are_left_out():
    lonely = {"prompt": "Who?", "kind": "k", "group": "g", "reference": "me", "verifier": "closed_answer"}
    assert build([lonely, {"prompt": "Say something.", "kind": "k", "group": "g"}], seed=1) == []


def test_other_closed_questions_borrow_answers_of_their_kind():
    records = [
        {
            "prompt": f"Capital of {land}?",
            "kind": "capital",
            "group": land,
            "reference": city,
            "verifier": "closed_answer",
        }
        for land, city in (("France", "Paris"), ("Italy", "Rome"), ("Peru", "Lima"))
    ]
    for item in build(records, seed=1):
        assert set(item.choices) == {"Paris", "Rome", "Lima"}


def test_rows_for_chat_and_for_documents():
    items = build(RECORDS, seed=1)[:1]
    (chat,), (document,) = (as_rows(items, chat=chat, end="<end>") for chat in (True, False))
    assert chat["query"] == items[0].prompt and document["query"] == f"{items[0].prompt} Answer:"
    assert all(choice.startswith(" ") and choice.endswith("<end>") for choice in chat["choices"] + document["choices"])
    assert chance_level(items) == pytest.approx(1 / len(items[0].choices))

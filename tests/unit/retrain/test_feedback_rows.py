"""Votes, thumbs, stars and edits as rows that curation reads."""

from __future__ import annotations

import json

import pytest

from components.curate.parameters import InstructionsParameters
from components.curate.supervised.forms import convert
from components.curate.supervised.instructions import read_splits
from flows.feedback.rows import DEMONSTRATIONS, FILES, LABELLED, PAIRS, build
from registry.feedback.answers import AnswerView
from registry.feedback.votes import VoteView

NOW = 1000.0
ASKED = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]


def vote(choice="a", **changes) -> VoteView:
    given = {"voter": "ada", "a": "assistant:1", "b": "assistant:2", "question": "hi", "reason": "", "consent": True}
    texts = {"answer_a": "good", "answer_b": "bad"}
    return VoteView(**{"id": 1, "time": 1.0, "choice": choice, "expires": None, **given, **texts, **changes})


def answer(**changes) -> AnswerView:
    given = {"name": "chatcmpl-1", "conversation": "talk", "person": "ada", "version": "assistant:1", "consent": True}
    said = {"thumb": None, "stars": None, "edit": None, "rated": 2.0}
    base = {"id": 1, "messages": ASKED, "answer": "hello", "time": 1.0, "expires": 2000.0}
    return AnswerView(**{**base, **given, **said, **changes})


def made(*given):
    votes = [each for each in given if isinstance(each, VoteView)]
    return build(votes, [each for each in given if isinstance(each, AnswerView)], b"salt", NOW)


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        (vote("a"), {PAIRS: [("good", "bad")]}),
        (vote("b"), {PAIRS: [("bad", "good")]}),
        (vote("tie"), {}),
        (answer(edit="hello!"), {PAIRS: [("hello!", "hello")], DEMONSTRATIONS: ["hello!"]}),
        (answer(edit="hello"), {}),
        (answer(thumb="up"), {LABELLED: [("hello", True)], DEMONSTRATIONS: ["hello"]}),
        (answer(thumb="down"), {LABELLED: [("hello", False)]}),
        (answer(stars=5, thumb="down"), {LABELLED: [("hello", True)], DEMONSTRATIONS: ["hello"]}),
        (answer(stars=3, thumb="up"), {}),
        (answer(stars=1, edit="hi!"),
         {PAIRS: [("hi!", "hello")], LABELLED: [("hello", False)], DEMONSTRATIONS: ["hi!"]}),
        (answer(), {}),
        (vote("a", consent=False), {}),
        (vote("a", answer_b=""), {}),
        (vote("a", question=""), {}),
        (answer(thumb="up", consent=False), {}),
        (answer(thumb="up", expires=NOW), {}),
        (answer(thumb="up", messages=[{"role": "assistant", "content": "first"}]), {}),
    ],
)  # fmt: skip
def test_what_was_said_becomes_these_rows(given, kinds):
    rows = made(given)
    found = {name: list(map(convert, each)) for name, each in rows.files.items() if each}
    read = {
        PAIRS: lambda row: (row["chosen"], row["rejected"]),
        LABELLED: lambda row: (row["completion"], row["label"]),
        DEMONSTRATIONS: lambda row: row["completion"],
    }
    assert {name: [read[name](row) for row in each] for name, each in found.items()} == kinds
    assert bool(rows.left_out) == (not kinds)


def test_a_demonstration_has_no_earlier_answer_that_was_not_found_good():
    later = [*ASKED, {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and?"}]
    second = answer(id=2, name="chatcmpl-2", messages=later, answer="bye", thumb="up")

    def demonstrated(*given) -> list[str]:
        return [row["messages"][-1]["content"] for row in made(*given).files[DEMONSTRATIONS]]

    assert demonstrated(answer(thumb="up"), second) == ["hello", "bye"]
    assert demonstrated(answer(answer="hi", edit="hello"), second) == ["hello", "bye"]
    for first in (answer(), answer(thumb="down"), answer(thumb="up", consent=False), answer(thumb="up", person="bob"),
                  answer(thumb="up", conversation="another"), answer(thumb="up", edit="other")):  # fmt: skip
        assert "bye" not in demonstrated(first, second), "it may be none of this gateway's, or a bad one"
    assert [convert(row)["completion"] for row in made(second).files[LABELLED]] == ["bye"], "only the last is judged"


def test_an_answer_that_is_json_stays_a_text():
    text = json.dumps([{"role": "assistant", "content": "something else"}])
    [row] = made(vote("a", answer_a=text)).files[PAIRS]
    assert convert(row)["chosen"] == text


def test_rows_say_where_they_come_from_without_the_persons_name_and_curation_knows_these_columns(tmp_path):
    rows = made(vote("a"), vote("b", id=2, voter="bob"), answer(thumb="up", edit="hello!"), vote("a", id=3))
    assert rows.files == made(vote("a"), vote("b", id=2, voter="bob"), answer(thumb="up", edit="hello!")).files
    assert rows.left_out == {"rows that are there already": 1}
    first, second, edit = (row["provenance"] for row in rows.files[PAIRS])
    assert first["person"] == edit["person"] != second["person"] and "ada" not in json.dumps(rows.files)
    assert edit == {"kind": "edit", "id": "chatcmpl-1", "person": first["person"], "versions": ["assistant:1"],
                    "recorded": "1970-01-01T00:00:02Z", "conversation": "talk", "chosen": "person"}  # fmt: skip
    folder = tmp_path / "data/raw/feedback"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows.files[name]))
    for split in ("test", "development"):
        (folder / split).with_suffix(".jsonl").write_text(json.dumps({"prompt": split, "completion": "yes"}) + "\n")
    files = {"test": ["data/raw/feedback/test.jsonl"], "development": ["data/raw/feedback/development.jsonl"],
             "instruct": [f"data/raw/feedback/{DEMONSTRATIONS}"],
             "preference": [f"data/raw/feedback/{PAIRS}", f"data/raw/feedback/{LABELLED}"]}  # fmt: skip
    parameters = InstructionsParameters(source="files", files=files, shares={"reward": 0})
    records, report = read_splits(parameters, 1, tmp_path, pytest.fail)
    assert [len(records["instruct"]), len(records["preference"])] == [1, 4]
    assert all(not each["unused_columns"] and not each["broken"] for each in report["files"].values())

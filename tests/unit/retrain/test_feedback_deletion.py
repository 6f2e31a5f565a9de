"""Whose data a deletion request means."""

from __future__ import annotations

import pytest

from core.errors import InputProblem
from flows.feedback.deletion import Traces, in_words, subject_of


@pytest.mark.parametrize(
    ("person", "conversation", "told"),
    [(None, None, "either"), ("ada", "talk", "either"), ("", None, "nobody is meant"), (None, " ", "the name of")],
)
def test_a_person_or_a_conversation_is_meant(person, conversation, told):
    with pytest.raises(InputProblem, match=told):
        subject_of(person, conversation)


def test_what_follows_is_said_before_it_is_done():
    found = Traces(1, 2, {"pairs.jsonl": 3}, ["abc"], ["assistant:5"], ["laptop (assistant:5)"], ["not looked at: x"])
    text = "\n".join(in_words(found))
    for part in ("1 answer, 2 votes", "3 in pairs.jsonl", "assistant:5. These models are not changed",
                 "1 exported file", "Served now: laptop (assistant:5)", "not looked at: x"):  # fmt: skip
        assert part in text
    assert "No recorded model" in "\n".join(in_words(Traces(1)))
    assert "not everything could be looked at" in "\n".join(in_words(Traces(1, notes=["not looked at: x"])))

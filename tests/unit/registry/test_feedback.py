"""Answers that are kept belong to their person, have bounds and an end."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from deploy.leaderboard import leaderboard
from registry.db.schema import KeptAnswer, ModelVersion
from registry.errors import NoSuchAnswer
from registry.feedback import answers, selection, votes
from registry.feedback.answers import NewAnswer, keep, rate
from registry.feedback.retention import remove_expired
from registry.feedback.selection import PairSelection
from registry.feedback.votes import GivenAnswer
from registry.lineage.recording import record_execution
from tests.unit.registry.conftest import item


@pytest.fixture
def version(registry, finished) -> int:
    with registry.write() as session:
        record_execution(session, finished("train", [item("raw", "aaaa01", "raw")],
                                           [item("model", "eeee01", "model", "assistant")]))  # fmt: skip
        return session.scalar(select(ModelVersion.id))


def answered(version: int, name: str = "chatcmpl-1", **changes) -> NewAnswer:
    asked = [{"role": "user", "content": "hi\0"}]
    given = {"conversation": "talk", "person": "ada", "messages": asked, "answer": "hello", "consent": True}
    return NewAnswer(**{"name": name, "version_id": version, "expires": time.time() + 60, **given, **changes})


def test_only_the_person_who_asked_says_something_of_an_answer_and_the_last_word_counts(registry, version):
    assert keep(registry, answered(version))
    rate(registry, "chatcmpl-1", "ada", thumb="up")
    rate(registry, "chatcmpl-1", "ada", edit="hello there")
    rate(registry, "chatcmpl-1", "ada", thumb="down", stars=2)
    for name, person in (("chatcmpl-1", "bob"), ("chatcmpl-1", ""), ("chatcmpl-2", "ada")):
        with pytest.raises(NoSuchAnswer):
            rate(registry, name, person, thumb="up")
    with registry.read() as session:
        [kept] = answers.answers(session)
    assert (kept.thumb, kept.stars, kept.edit, kept.version) == ("down", 2, "hello there", "assistant:1")
    assert kept.messages == [{"role": "user", "content": "hi\N{REPLACEMENT CHARACTER}"}]


def test_what_is_too_long_or_too_much_of_one_person_is_not_kept(registry, version, monkeypatch):
    assert not keep(registry, answered(version, answer="x" * answers.LONGEST))
    monkeypatch.setattr(answers, "MOST", 2)
    assert [keep(registry, answered(version, f"chatcmpl-{number}")) for number in range(3)] == [True, True, False]
    assert keep(registry, answered(version, "chatcmpl-3", person="bob"))


def test_how_a_pair_was_chosen_is_kept_with_what_is_said_of_it(registry, version):
    about = {"reward_model": "reward:1", "judge_model": "a judge", "place": 1, "of": 2}
    chosen = PairSelection("disagreement", "one", 0.9, 0.0, 0.9, **about)
    a = GivenAnswer(version, "yes")
    votes.record(registry, "ada", "hi", a, a, "a", "", selection=chosen)
    votes.record(
        registry, "ada", "hi", a, a, "b", "", selection=PairSelection("random", "two", 0.5, None, None, **about)
    )
    votes.record(registry, "ada", "hi", a, a, "tie", "")
    keep(registry, answered(version, selection=chosen))
    with registry.read() as session:
        cast = votes.votes(session)
        assert (selection.voted_on(session), selection.rated(session)) == ({"one", "two"}, set())
        assert answers.unrated(session, "ada", "one", True).name == "chatcmpl-1"
        for other in (("bob", "one", True), ("ada", "two", True), ("ada", "one", False)):
            assert answers.unrated(session, *other) is None
    assert [(vote.chosen, vote.counts) for vote in cast] == [
        ("disagreement", False), ("random", True), ("person", True)
    ]  # fmt: skip
    assert cast[0].selection == {"pair": "one", "reward": 0.9, "judge": 0.0, "disagreement": 0.9, **about}
    board = leaderboard(cast)
    assert (board.votes, board.left_out) == (2, 1)
    rate(registry, "chatcmpl-1", "ada", stars=4)
    with registry.read() as session:
        assert selection.rated(session) == {"one"} and answers.unrated(session, "ada", "one", True) is None


def test_what_has_expired_is_deleted_and_of_votes_the_choice_stays(registry, version):
    past = time.time() - 1
    keep(registry, answered(version, expires=past))
    keep(registry, answered(version, "chatcmpl-2"))
    a = GivenAnswer(version, "yes")
    votes.record(registry, "ada", "hi", a, a, "a", "why", consent=True, expires=past)
    votes.record(registry, "ada", "hi", a, a, "b", "why", consent=True, expires=None)
    with pytest.raises(NoSuchAnswer):
        rate(registry, "chatcmpl-1", "ada", thumb="up")
    assert remove_expired(registry) == 2 and remove_expired(registry) == 0
    with registry.read() as session:
        assert list(session.scalars(select(KeptAnswer.name))) == ["chatcmpl-2"]
        old, new = votes.votes(session)
    assert (old.choice, old.question, old.answer_a, old.answer_b, old.reason) == ("a", "", "", "", "")
    assert (new.choice, new.question, new.reason) == ("b", "hi", "why")

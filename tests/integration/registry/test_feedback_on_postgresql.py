"""Votes, answers, how they were chosen, their deletion and the gate's count of them, on PostgreSQL as on SQLite."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest

from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.feedback.deletions import DeletionSubject, remove, rows_of
from registry.feedback.votes import votes
from tests.unit.registry.conftest import finished  # noqa: F401  (a fixture)
from tests.unit.registry.test_feedback import (  # noqa: F401  (fixtures and tests)
    answered,
    keep,
    test_how_a_pair_was_chosen_is_kept_with_what_is_said_of_it,
    test_only_the_person_who_asked_says_something_of_an_answer_and_the_last_word_counts,
    test_what_has_expired_is_deleted_and_of_votes_the_choice_stays,
    test_what_is_too_long_or_too_much_of_one_person_is_not_kept,
    version,
)
from tests.unit.registry.test_human_win_rate import (  # noqa: F401  (a fixture and a test)
    judged,
    test_the_share_of_votes_is_compared_with_even,
)


@pytest.fixture
def registry(postgresql: str) -> Iterator[Registry]:
    name = f"feedback_{secrets.token_hex(4)}"
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with open_registry(f"{postgresql}/{name}") as opened:
        yield opened


def test_a_persons_rows_are_removed_and_others_stay(registry, version):  # noqa: F811
    keep(registry, answered(version))
    keep(registry, answered(version, "chatcmpl-2", person="bob"))
    subject = DeletionSubject(person="ada")
    assert remove(registry, subject, "p" * 16, "Otto", ["md5"], ["assistant:1"]) == 1
    with registry.read() as session:
        assert rows_of(session, subject) == [] and len(rows_of(session, DeletionSubject(person="bob"))) == 1
        assert votes(session) == []

"""Texts of people: bounded and refused where they come in, spelled out where they go out."""

import pytest

from core.text import printable, problems


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 数\tand\nlines", "plain, größer, 数\tand\nlines"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\x00b\x9bc", "a\\x00b\\x9bc"),
        ("evil\u202egnp", "evil\\u202egnp"),
        ("half \udc80", "half \\udc80"),
    ],
)
def test_nothing_that_acts_on_a_terminal_is_printed(text, shown):
    assert printable(text) == shown
    assert printable(text).encode()
    assert bool(problems("the reason", text, 100)) == (text != shown)


def test_the_bound_is_named():
    assert problems("the reason", "x" * 1_000_000, 2000) == [
        "the reason has 1,000,000 characters; at most 2,000 are recorded, so shorten it"
    ]

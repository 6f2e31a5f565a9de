"""Repeated stretches are exactly those of the definition, whatever the size of what is looked at together."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate.deduplication import repeats, windows


def by_definition(texts: list[str], length: int) -> list[int]:
    """Places, in the row of all texts, of the stretches that are equal to one that ends before them."""
    first: dict[str, int] = {}
    found, begin = [], 0
    for text in texts:
        for place in range(len(text) - length + 1):
            if begin + place >= first.setdefault(text[place : place + length], begin + place) + length:
                found.append(begin + place)
        begin += len(text)
    return found


def by_files(texts: list[str], length: int, at_a_time: int = 3) -> list[int]:
    def given_again():
        return (texts[begin : begin + at_a_time] for begin in range(0, len(texts), at_a_time))

    size = sum(map(len, texts))
    with tempfile.TemporaryDirectory() as folder:
        found = repeats.find(given_again, size, length, 1, Path(folder) / "repeats")
        return [place for end in (size // 3, size) for place in found.until(end).tolist()]


passages = st.lists(st.text("ab é🙂", min_size=1, max_size=12), min_size=1, max_size=4)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(passages, st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=8), st.sampled_from([2, 3, 5, 8, 13]))
def test_the_files_find_what_the_definition_says(parts, documents, length):
    texts = ["".join(parts[each % len(parts)] for each in document) for document in documents]
    assert by_files(texts, length) == by_definition(texts, length)


@pytest.mark.parametrize("size", [50, 1 << 12])
def test_no_size_of_what_is_looked_at_together_changes_what_is_found(monkeypatch, size):
    for name, value in (("PIECE", size), ("BLOCK", size), ("PARTITION", 24 * size)):
        monkeypatch.setattr(repeats, name, value)
    drawn = np.random.default_rng(1)
    words = ["".join(drawn.choice(list("abcdefgh "), 30)) for _ in range(20)]
    texts = ["".join(drawn.choice(words, 8)) for _ in range(40)] + ["-" * 500, "x" + "-" * 400, "short", ""]
    assert by_files(texts, 40) == by_definition(texts, 40) != []


def test_hashes_are_those_of_the_polynomial():
    codes = np.frombuffer("Ein Käse 🧀, zwei Käse".encode("utf-32-le"), np.uint32)
    points = np.array([windows.PRIME - 2, 1 << 60], np.uint64)
    ranges = np.array([[0, 3], [3, 5], [9, 12]])
    expected = [
        [sum(int(code) * pow(int(x), 6 - at, windows.PRIME) for at, code in enumerate(codes[begin : begin + 7]))
         % windows.PRIME for x in points]
        for begin in (0, 1, 2, 3, 4, 9, 10, 11)
    ]  # fmt: skip
    assert windows.hashed(codes, ranges, 7, points).tolist() == expected

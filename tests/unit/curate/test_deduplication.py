"""Repeats are found, distinct texts stay, and the links between similar ones are kept."""

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate.deduplication import Deduplicator, shingles
from components.curate.parameters import DeduplicationParameters
from tests.unit.curate.workspace import sentence

PARAMETERS = DeduplicationParameters()
words = st.lists(st.text("abcdefgh", min_size=3, max_size=8), min_size=12, max_size=60, unique=True)


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one, PARAMETERS.shingle_words), shingles(other, PARAMETERS.shingle_words)
    return len(a & b) / len(a | b)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_no_text_is_kept_twice(texts):
    deduplicator = Deduplicator(PARAMETERS, 1)
    kept = [text for text in texts if deduplicator.add(text).rule is None]
    assert len(kept) == len(set(kept))
    assert all(deduplicator.add(text).rule is not None for text in texts)


@settings(max_examples=40)
@given(words)
def test_case_and_punctuation_make_a_near_duplicate(found):
    deduplicator = Deduplicator(PARAMETERS, 1)
    assert deduplicator.add(" ".join(found)).rule is None
    verdict = deduplicator.add(", ".join(found).upper() + "!")
    assert (verdict.rule, verdict.of) == ("near_duplicate", 0)


@settings(max_examples=40)
@given(words, st.data())
def test_a_change_of_few_words_is_judged_by_its_similarity(found, data):
    text = " ".join(found)
    places = data.draw(st.sets(st.integers(0, len(found) - 1), max_size=6))
    changed = " ".join("zzz" + str(i) if i in places else word for i, word in enumerate(found))
    deduplicator = Deduplicator(PARAMETERS, 1)
    deduplicator.add(text)
    verdict = deduplicator.add(changed)
    true = jaccard(text, changed)
    # 128 permutations estimate with a standard error of at most 0.045; the margins are three of them.
    if changed != text and true < PARAMETERS.threshold - 0.14:
        assert verdict.rule is None
    if true > PARAMETERS.threshold + 0.14:
        assert verdict.rule is not None
    if verdict.rule is None and true > PARAMETERS.split_threshold + 0.14:
        assert deduplicator.links == [(0, 1)]
    if verdict.rule is None and true < PARAMETERS.split_threshold - 0.14:
        assert deduplicator.links == []


def test_distinct_texts_all_stay():
    deduplicator = Deduplicator(PARAMETERS, 1)
    assert [deduplicator.add(sentence(n)).rule for n in range(300)] == [None] * 300


def test_short_texts_are_distinguished():
    deduplicator = Deduplicator(PARAMETERS, 1)
    assert [deduplicator.add(text).rule for text in ("Open the file", "Close the file", "open the FILE")] == [
        None, None, "near_duplicate",
    ]  # fmt: skip


def test_signatures_are_equal_in_every_process():
    program = (
        "from components.curate.deduplication import *;from rensa import RMinHash;"
        "s=RMinHash(128,7);s.update(sorted(shingles('the quick brown fox jumps over the dog',3)));print(s.digest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1

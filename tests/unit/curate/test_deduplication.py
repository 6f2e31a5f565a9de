"""Repeats are found, distinct texts stay, and the links between similar ones are kept."""

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate.deduplication import EXACT, KEPT, NEAR, Deduplicator, shingles, signatures
from components.curate.documents import identifier
from components.curate.parameters import DeduplicationParameters
from tests.unit.curate.workspace import sentence

PARAMETERS = DeduplicationParameters()
words = st.lists(st.text("abcdefgh", min_size=3, max_size=8), min_size=12, max_size=60, unique=True)


def judged(texts: list[str]) -> tuple[list[tuple[int, int, float]], Deduplicator]:
    """Outcome, number of the kept text and similarity of each text in turn, and the index."""
    deduplicator = Deduplicator(PARAMETERS)
    signed = signatures(texts, PARAMETERS, 1)
    return [deduplicator.add(identifier(text), each) for text, each in zip(texts, signed, strict=True)], deduplicator


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one, PARAMETERS.shingle_words), shingles(other, PARAMETERS.shingle_words)
    return len(a & b) / len(a | b)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20))
def test_no_text_is_kept_twice(texts):
    outcomes = [outcome for outcome, _, _ in judged([*texts, *texts])[0]]
    kept = [text for text, outcome in zip(texts, outcomes[: len(texts)], strict=True) if outcome == KEPT]
    assert len(kept) == len(set(kept))
    assert KEPT not in outcomes[len(texts) :]


@settings(max_examples=40)
@given(words)
def test_case_and_punctuation_make_a_near_duplicate(found):
    (first, second), _ = judged([" ".join(found), ", ".join(found).upper() + "!"])
    assert first[0] == KEPT
    assert second[:2] == (NEAR, 0)


@settings(max_examples=40)
@given(words, st.data())
def test_a_change_of_few_words_is_judged_by_its_similarity(found, data):
    text = " ".join(found)
    places = data.draw(st.sets(st.integers(0, len(found) - 1), max_size=6))
    changed = " ".join("zzz" + str(i) if i in places else word for i, word in enumerate(found))
    (_, (outcome, _, _)), deduplicator = judged([text, changed])
    true = jaccard(text, changed)
    # 128 permutations estimate with a standard error of at most 0.045; the margins are three of them.
    if changed != text and true < PARAMETERS.threshold - 0.14:
        assert outcome == KEPT
    if true > PARAMETERS.threshold + 0.14:
        assert outcome != KEPT
    if outcome == KEPT and true > PARAMETERS.split_threshold + 0.14:
        assert deduplicator.links == [(0, 1)]
    if outcome == KEPT and true < PARAMETERS.split_threshold - 0.14:
        assert deduplicator.links == []


def test_distinct_texts_all_stay():
    assert [each[0] for each in judged([sentence(n) for n in range(300)])[0]] == [KEPT] * 300


def test_short_texts_are_distinguished():
    texts = ["Open the file", "Close the file", "open the FILE", "Open the file"]
    assert [each[0] for each in judged(texts)[0]] == [KEPT, KEPT, NEAR, EXACT]


def test_signatures_are_equal_in_every_process():
    program = (
        "from components.curate.deduplication import *;"
        "print(signatures(['the quick brown fox jumps over the dog'],DeduplicationParameters(),7).tolist())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1

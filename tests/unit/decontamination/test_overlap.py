"""Overlap of training texts with evaluation sets: as a naive oracle finds it, whatever the batches."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.decontamination import overlap, windows
from components.decontamination.parameters import OverlapRules
from tests.unit.decontamination import oracle

WORDS = [
    "river",
    "Engine",
    "don't",
    "été",
    "ﬁne",
    "x-ray",
    "東京",
    "สวัสดี",
    "…",
    "a\u00a0b",
    "NAÏVE",
    "2nd",
    "(so)",
    "|",
]
TEXT = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
DOCUMENTS = st.lists(st.lists(TEXT, min_size=1, max_size=2), max_size=7)


@settings(max_examples=60, deadline=None)
@given(
    DOCUMENTS,
    DOCUMENTS,
    DOCUMENTS,
    DOCUMENTS,
    st.sampled_from([None, 4, 6]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 0.5, 1.0]),
)
def test_finds_what_the_oracle_finds(first, second, items, more, ngram, common, coverage):
    rules = OverlapRules(ngram_words=ngram, common_documents=common, coverage_words=4, coverage=coverage)
    training, evaluation = {"a": first, "b": second}, {"x": items, "y": more}
    found = overlap.find(
        [oracle.text_set(name, documents) for name, documents in training.items()],
        [oracle.text_set(name, documents) for name, documents in evaluation.items()],
        rules,
    )
    expected = oracle.find(training, evaluation, rules)
    for pair in found.pairs:
        here = (pair.training, pair.evaluation)
        listed = [each.number for each in found.overlaps if (each.training, each.evaluation) == here]
        assert pair.items == len(evaluation[pair.evaluation])
        assert (pair.overlapping, set(listed), pair.seen) == expected[here]
        assert pair.documents == len(listed) == len(set(listed))  # each document once
    for each in found.overlaps:
        texts = training[each.training][each.number]
        passage = each.passage.partition(" [...")[0]
        assert any(passage in " ".join(oracle.split(text)) for text in texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=6))
def test_words_are_those_that_are_shown(texts):
    """Equal words have equal hashes and others have not, whatever the signs between them."""
    found = windows.words(texts)
    plain = [windows.plain(text) for text in texts]
    assert [int(size) for size in found.offsets[1:] - found.offsets[:-1]] == [len(words) for words in plain]
    spelled = [word for words in plain for word in words]
    hashes: dict[str, int] = {}
    for word, value in zip(spelled, found.hashes.tolist(), strict=True):
        assert hashes.setdefault(word, value) == value
    assert len(set(hashes.values())) == len(hashes)


def test_words_are_gpt3s():
    text = "The  “Quick” brown-fox\trock'n'roll JUMP, x=3; 東京タワー　и ЁЖ\u200b."
    assert windows.plain(text) == ["the", "quick", "brownfox", "rocknroll", "jump", "x3", *"東京タワ", "ー", "и", "ёж"]
    assert windows.words([text]).hashes.tolist() == windows.words([" ".join(windows.plain(text))]).hashes.tolist()


def sentence(number: int, words: int) -> str:
    generator = random.Random(number)
    return " ".join(f"w{generator.randrange(10**6)}" for _ in range(words))


@pytest.mark.parametrize(("shared", "rules", "found"), [
    (13, {"coverage": None}, 1),
    (12, {"coverage": None}, 0),
    (13, {"coverage": None, "ngram_words": None}, 0),
    (74, {"ngram_words": None}, 1),  # 67 of the item's 93 runs of 8 words
    (72, {"ngram_words": None}, 0),  # 65 of them
])  # fmt: skip
def test_published_thresholds(shared, rules, found):
    item = sentence(1, 100)
    document = f"{sentence(2, 30)} {' '.join(item.split()[10 : 10 + shared])} {sentence(3, 30)}"
    pairs = overlap.find(
        [oracle.text_set("t", [[document]])], [oracle.text_set("e", [[item]])], OverlapRules(**rules)
    ).pairs
    assert pairs[0].overlapping == found


def test_boilerplate_is_no_overlap():
    """A run of words in more than ten training texts is left alone, in ten it is not."""
    notice = sentence(1, 20)
    items = oracle.text_set("e", [[f"{sentence(2, 100)} {notice}"]])
    for copies, expected in ((10, 10), (11, 0)):
        training = oracle.text_set("t", [[f"{sentence(n, 40)} {notice}"] for n in range(100, 100 + copies)])
        assert len(overlap.find([training], [items], OverlapRules()).overlaps) == expected


def test_pairs_that_are_apart_are_not_compared():
    sets = [oracle.text_set(name, [[sentence(1, 30)]]) for name in ("one", "two")]
    found = overlap.find(sets, [oracle.text_set("e", [[sentence(1, 30)]])], OverlapRules(), [("one", "e")])
    assert [(pair.training, pair.overlapping, pair.seen) for pair in found.pairs] == [("two", 1, 1)]


def test_an_answer_of_one_word_is_no_overlap():
    """Of a question and its answer only the longer one is compared as a whole."""
    items = oracle.text_set("e", [["Which river is it?", "Nile"]])
    training = oracle.text_set("t", [["Nile"], ["Which river, is it"], ["what is it", "Nile"]])
    assert [(each.number, each.rule) for each in overlap.find([training], [items], OverlapRules()).overlaps] == [
        (1, "exact")
    ]

"""The rules as datatrove measures them: by spaCy's words and sentences, compiled as in the reference."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate import batches
from components.curate.filters import as_datatrove, spacy_words
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.text.code_points import laid_out

from .test_batches import ALONE, PIECES, PUBLISHED

spacy = pytest.importorskip("spacy", reason="pip install 'stemma-llm[spacy]'")

CASES = ("e.g.", "a.m.", "10", ":)", ":", "(:", ")", "8", "-", "o.O", "D", "'", "'s", "He's", "don't", "C++", "U.S.",
         "Mr.", "<3", "5km", "US$", "1,000", "a-b", "/", "=", "http://a.b/c?d=e", "x@y.org", "(e.g.,", "...", "No!",
         "ok?", "。", "IS_ALPHA", "a" * (spacy_words.LONGEST + 1), "the", "of", "  ", "\r\n", "\x0b")  # fmt: skip
WRITINGS = st.lists(st.sampled_from([*CASES, *PIECES, " ", " ", " "]), max_size=40).map("".join)
RULES = [rules.model_copy(update={"measures": "datatrove"}) for rules in [QualityParameters(), PUBLISHED, *ALONE]]


@pytest.fixture(scope="module")
def pipeline():
    """What datatrove asks for words and sentences."""
    english = spacy.blank("en")
    english.add_pipe("sentencizer")
    return english


def of(family: str, **rules: object) -> QualityParameters:
    return QualityParameters.model_validate({"profile": None, "measures": "datatrove", family: rules})


@given(WRITINGS.filter(lambda text: "IS_ALPHA" not in text and "aaaa" not in text))
@settings(max_examples=200, deadline=None)
def test_words_and_sentences_are_those_of_spacy(pipeline, text: str) -> None:
    with pipeline.memory_zone():
        assert spacy_words.words(text) == [token.text for token in pipeline.tokenizer(text) if not token.is_space]
        for line in filter(None, map(str.strip, text.splitlines())):
            assert spacy_words.sentences(line) == len(list(pipeline(line).sents))


def test_what_spacy_fails_at_is_a_word():
    assert [spacy_words.words("(IS_ALPHA)") for _ in range(2)] == [["(", "IS_ALPHA", ")"]] * 2
    brackets = "(" * (spacy_words.LONGEST + 1)
    assert spacy_words.words(f"a {brackets} (b)") == ["a", brackets, "(", "b", ")"]


@pytest.mark.slow
def test_a_special_case_is_not_put_together_where_another_one_reaches_across_a_blank(monkeypatch):
    from components.curate.filters import kernels_as_datatrove, word_beginnings

    texts = ["foo:)) )", "foo:) )", "foo:)\n)"]
    codes, starts = laid_out(texts)

    def words() -> list[int]:
        begins = word_beginnings.begins(texts, codes, starts, kernels_as_datatrove.classes())
        return [int(begins[starts[place] : starts[place + 1]].sum()) for place in range(3)]

    assert words() == [len(spacy_words.words(text)) for text in texts] == [5, 4, 3]
    monkeypatch.setattr(word_beginnings.divider(), "touching", word_beginnings.divider().touching & False)
    assert words() == [3, 3, 3], "each stretch alone would do, so that this test shows nothing"


@pytest.mark.slow
@given(st.lists(WRITINGS.filter(str.strip), min_size=1, max_size=6), st.sampled_from(RULES))
@settings(max_examples=60, deadline=None)
def test_compiled_rules_decide_the_same(texts: list[str], rules: QualityParameters) -> None:
    assert batches.judged(texts, rules, compiled=True) == batches.judged(texts, rules, compiled=False)


def test_every_rule_alone_decides_the_same_on_longer_texts(monkeypatch):
    from components.curate.filters import word_beginnings

    chance = random.Random(5)
    pieces = ["the", "data.", "of", "e.g.", "(x)", "and", "that", "…", "- item", "end...", "12,34", "#", "{", "•",
              "Lorem ipsum", "w" * 12, "Really?", "don't", ":)"]  # fmt: skip

    def text() -> str:
        size = chance.randrange(1, chance.choice([8, 200]))
        return "".join(chance.choice(pieces) + chance.choice([" ", " ", "\n", "\n\n"]) for _ in range(size))

    texts = [text() for _ in range(50)]
    texts += ["\n\n".join(chance.choices(["the data.", "a long line of it\nand of that"], k=4)) for _ in range(10)]
    monkeypatch.setattr(word_beginnings, "_KEPT", 7)  # stretches are forgotten between the batches
    for rules in RULES[1:]:
        found = [as_datatrove.judge(each, rules) for each in texts]
        assert batches.judged(texts, rules, compiled=True) == found
        assert any(found), "a rule that none of the texts breaks shows nothing"


@pytest.mark.parametrize(
    ("text", "rules", "finding"),
    [
        ("-- a, b!", of("gopher", min_words=3), ("gopher_min_words", "2 words")),
        ("-- aa, bbb!", of("gopher", max_mean_word_length=2),
         ("gopher_mean_word_length", "mean word of 2.5 characters")),
        ("a # b c", of("gopher", max_symbol_word_ratio=0.2), ("gopher_symbol_word_ratio", "1 hash signs in 4 words")),
        ("* a\n-b\n• c\n", of("gopher", max_bullet_lines=0.6),
         ("gopher_bullet_lines", "0.67 of lines begin with a bullet")),
        ("don't, ok", of("gopher", min_alphabetic_words=0.9),
         ("gopher_alphabetic_words", "0.75 of words have a letter")),
        ("The cat, to be", of("gopher", min_stop_words=3), ("gopher_stop_words", "2 stop words")),
        # One that occurs once is the commonest; "x y" of five characters.
        ("x y z", of("gopher", max_top_ngram_characters={2: 0.5}),
         ("gopher_top_2_gram", "0.60 of characters in the commonest 2-gram")),
        # "ab" "c" and "a" "bc" are the same run of letters.
        ("ab c a bc", of("gopher", max_duplicate_ngram_characters={2: 0.2}),
         ("gopher_duplicate_2_gram", "0.33 of characters in repeated 2-grams")),
        ("One.\n\nTwo. And\nthree?", of("c4", min_sentences=6), ("c4_min_sentences", "5 sentences")),
        ("One.\n\nTwo. And\nthree?", of("c4", min_sentences=6, line_min_words=1), ("c4_min_sentences", "4 sentences")),
        ('"Yes"\nno:\nnever.', of("fineweb", min_punctuated_lines=0.5),
         ("fineweb_punctuated_lines", "0.33 of lines end in punctuation")),
        ("x" * 30 + "\n" + "y" * 31, of("fineweb", max_short_lines=0.4),
         ("fineweb_short_lines", "0.50 of lines are short")),
    ],
)  # fmt: skip
def test_each_rule_measures_as_datatrove_does(text, rules, finding):
    assert batches.judged([text], rules, compiled=False) == batches.judged([text], rules, compiled=True) == [finding]

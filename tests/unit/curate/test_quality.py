"""Each published rule drops what its paper drops, at the threshold given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.curate import component
from components.curate.filters import spacy_words
from components.curate.filters.quality import (
    RULES,
    c4,
    c4_lines,
    duplicate_ngram_share,
    fineweb,
    gopher,
    judge,
    top_ngram_share,
)
from components.curate.filters.quality_parameters import (
    C4Parameters,
    FineWebParameters,
    GopherParameters,
    QualityParameters,
)
from components.curate.parameters import CurateParameters

PROSE = (
    "The library reads a file line by line and returns what it found. It does not keep the file open, so that another "
    "process may write to it. Errors are raised with the name of the file and the number of the line.\n"
    "A caller that wants to go on after an error should catch it and have a second look at the text with its own eyes."
)
PUBLISHED = GopherParameters(
    min_words=50, min_mean_word_length=3, max_mean_word_length=10, min_alphabetic_words=0.8, min_stop_words=2
)


def test_prose_passes_all_published_rules():
    assert gopher(PROSE, PUBLISHED) is None
    assert fineweb(PROSE, FineWebParameters(min_punctuated_lines=0.12, max_short_lines=0.67)) is None
    assert c4(PROSE, C4Parameters(drop_curly_bracket=True, min_sentences=4)) is None
    assert judge(PROSE, QualityParameters()) is None


@pytest.mark.parametrize(
    ("text", "parameters", "rule"),
    [
        ("too short", {"min_words": 3}, "gopher_min_words"),
        ("one two three four", {"min_words": 1, "max_words": 3}, "gopher_max_words"),
        ("a b c d e f", {"min_words": 1}, "gopher_mean_word_length"),
        ("supercalifragilistic " * 5, {"min_words": 1}, "gopher_mean_word_length"),
        ("some #tags #everywhere #always here", {"min_words": 1}, "gopher_symbol_word_ratio"),
        ("- one point\n- another point\n- third point", {"min_words": 1}, "gopher_bullet_lines"),
        ("read more about it...", {"min_words": 1}, "gopher_ellipsis_lines"),
        ("12 34 56 78 words", {"min_words": 1}, "gopher_alphabetic_words"),
        ("buy cheap watches online today", {"min_words": 1, "min_stop_words": 2}, "gopher_stop_words"),
        ("this line repeats itself often\n" * 20, {"min_words": 1}, "gopher_duplicate_lines"),
        ("never ending story " * 40, {"min_words": 1}, "gopher_top_2_gram"),
    ],
)
def test_gopher_names_the_rule_that_a_text_breaks(text, parameters, rule):
    assert gopher(text, GopherParameters(**parameters))[0] == rule


def test_switched_off_rules_drop_nothing():
    off = QualityParameters(gopher=None, c4=None, fineweb=None)
    assert judge("x", off) is None
    assert judge("lorem ipsum { " * 50, off) is None


def test_c4_removes_lines_and_drops_documents():
    page = "Read our Privacy Policy now\nA real sentence stands here.\nno full stop"
    assert c4_lines(page, C4Parameters()) == ("A real sentence stands here.\nno full stop", 1)
    assert c4_lines(page, C4Parameters(remove_unpunctuated_lines=True))[0] == "A real sentence stands here."
    assert c4("Lorem Ipsum dolor", C4Parameters())[0] == "c4_lorem_ipsum"
    assert c4("if (x) {", C4Parameters(drop_curly_bracket=True))[0] == "c4_curly_bracket"
    assert c4("One. Two!", C4Parameters(min_sentences=3))[0] == "c4_min_sentences"


def test_fineweb_rules():
    assert fineweb("a\nb\nc", FineWebParameters(min_punctuated_lines=0.12))[0] == "fineweb_punctuated_lines"
    assert fineweb("a.\nb.\nc.", FineWebParameters(max_short_lines=0.67))[0] == "fineweb_short_lines"
    repeated = "the same long line stands here again.\n" * 3
    assert fineweb(repeated, FineWebParameters())[0] == "fineweb_duplicate_line_characters"


@given(st.lists(st.sampled_from(["aa", "bb", "cc", "dd"]), min_size=1, max_size=60), st.integers(1, 6))
def test_shares_of_ngrams_agree_with_their_definition(words, n):
    total = sum(map(len, words))
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    covered = {i + k for i, gram in enumerate(grams) if gram in grams[:i] for k in range(n)}
    assert duplicate_ngram_share(words, n, total) == pytest.approx(sum(len(words[i]) for i in covered) / total)
    repeated = [2 * n * grams.count(gram) for gram in grams if grams.count(gram) > 1]
    assert top_ngram_share(words, n, total) == pytest.approx(max(repeated, default=0) / total)


@given(st.text())
def test_any_text_is_judged_by_a_known_rule(text):
    finding = judge(text, QualityParameters())
    assert finding is None or finding[0] in RULES or finding[0].endswith("_gram")


def test_bounds_that_exclude_each_other_are_refused():
    with pytest.raises(ValidationError, match="no document could pass"):
        GopherParameters(min_words=10, max_words=5)
    with pytest.raises(ValidationError, match="not an n-gram length"):
        GopherParameters(max_top_ngram_characters={0: 0.5})


def test_a_library_that_the_rules_measure_by_is_asked_for_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(spacy_words, "find_spec", lambda name: None)
    assert component.check(CurateParameters(), tmp_path, {}) == []
    assert component.check(CurateParameters.model_validate({"quality": {"measures": "datatrove"}}), tmp_path, {}) == [
        "curate.quality.measures: datatrove counts spaCy's words, and spaCy is not installed: "
        "pip install 'stemma-llm[spacy]'"
    ]

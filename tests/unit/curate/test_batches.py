"""The compiled passes against the functions of single texts: the same texts, findings and reasons."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.curate import batches
from components.curate.compilation import kept_in
from components.curate.filters import quality
from components.curate.filters.quality_parameters import (
    C4Parameters,
    FineWebParameters,
    GopherParameters,
    QualityParameters,
)
from components.curate.privacy.placeholders import TYPED
from components.curate.text import code_points
from components.curate.text.cleaning import clean

PUBLISHED = QualityParameters(
    gopher=GopherParameters(
        min_words=50, min_mean_word_length=3, max_mean_word_length=10, min_alphabetic_words=0.8, min_stop_words=2,
        max_duplicate_lines=0.3, max_duplicate_line_characters=0.2, max_top_ngram_characters={2: 0.2, 3: 0.18, 4: 0.16},
        max_duplicate_ngram_characters={5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1},
    ),
    c4=C4Parameters(drop_curly_bracket=True, min_sentences=5),
    fineweb=FineWebParameters(min_punctuated_lines=0.12, max_duplicate_line_characters=0.1, max_short_lines=0.67),
)  # fmt: skip
# Every rule alone, so that none hides behind an earlier one.
OFF = {
    name: None for name in GopherParameters.model_fields if name.startswith(("min_", "max_")) and "ngram" not in name
}
NONE = GopherParameters(**OFF, max_top_ngram_characters={}, max_duplicate_ngram_characters={}, repetition_min_words=1)
ALONE = [
    *(
        QualityParameters(gopher=NONE.model_copy(update=update), c4=None, fineweb=None)
        for update in (
            {"min_words": 4}, {"max_words": 6}, {"min_mean_word_length": 4.0}, {"max_mean_word_length": 5.0},
            {"max_symbol_word_ratio": 0.1}, {"max_bullet_lines": 0.4}, {"max_ellipsis_lines": 0.3},
            {"min_alphabetic_words": 0.8}, {"min_stop_words": 2}, {"max_duplicate_lines": 0.2},
            {"max_duplicate_paragraphs": 0.2}, {"max_duplicate_line_characters": 0.2},
            {"max_duplicate_paragraph_characters": 0.01}, {"max_top_ngram_characters": {2: 0.2, 3: 0.2}},
            {"max_duplicate_ngram_characters": {2: 0.3, 5: 0.1}},
        )
    ),
    QualityParameters(gopher=None, c4=C4Parameters(min_sentences=None, drop_curly_bracket=False), fineweb=None),
    QualityParameters(gopher=None, c4=C4Parameters(min_sentences=None, drop_curly_bracket=True), fineweb=None),
    QualityParameters(gopher=None, c4=C4Parameters(min_sentences=2), fineweb=None),
    *(
        QualityParameters(gopher=None, c4=None, fineweb=FineWebParameters(**{
            "min_punctuated_lines": None, "max_short_lines": None, "max_duplicate_line_characters": None, **update
        }))
        for update in ({"min_punctuated_lines": 0.5}, {"max_short_lines": 0.5}, {"max_duplicate_line_characters": 0.1})
    ),
]  # fmt: skip
PIECES = (
    "the", "have", "(with)", "word", "Lorem", "ipsum", "LOREM IPSUM", "{", "#", "…", "...", "....", ".", "!\"", "?’) ",
    "- ", "* ", "• ", "\n", "\n\n", "\n \n", "\n\n\n", " ", "\u1680", "\u3000", "\x1f", "naïve", "日本語", "Straße",
    "ſ", "İ", "\u212a", "٣", "123", "x" * 31, ":", ";", ",", "a" * 7, "\U0001d4d0", "\u200d",
)  # fmt: skip
WRITINGS = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
FOUND = (
    "a@b.org", "@property", "x@", "+49 (30) 1234-5678", "(212) 555-0172", "1-212-555-0172", "555-0172", "8.8.8.8",
    "tel 030 23125678", "phone (020) 7946-0018", "call 0", "0", "12 ", "fax 0049/30/23125/678", "cell 415 555 0132",
    "123.45.67.89", "10.0.0.255", "2001:4860:4860::8888", "std::vector", "a::b", "4111 1111 1111 1111", "4111-1111",
    "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "AB12",
    "-----BEGIN PRIVATE KEY-----x-----END PRIVATE KEY-----", "ya29.abcdefghijklmnopqrstu", "٤١١١١١١١١١١١١١١١",
    "AKIAIOSFODNN7EXAMPLE", "sk-abcdefghijklmnopqrst", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
    "api_key = 'a1b2c3d4e5f6g7h8i9j0k'", "password: aaaaaaaaaaaaaaaaaaaaaaaa", "Passwd=A1b2C3d4E5f6G7h8I9j0Kl",
    "token", "Bearer ", "password", "ſecret_Key", "access-key", "q1w2e3r4t5", "A1ſb2c3", "'",
    " ", "\n", ".", "-", "+", "x", ":", "1", "é", "_", "/", "=",
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(WRITINGS, min_size=1, max_size=8), st.sampled_from([QualityParameters(), PUBLISHED, *ALONE]))
@settings(max_examples=100, deadline=None)
def test_the_quality_rules_decide_the_same(texts: list[str], rules: QualityParameters) -> None:
    texts = [text for text in texts if text.strip()] or ["x"]
    assert batches.judged(texts, rules, compiled=True) == batches.judged(texts, rules, compiled=False)


@pytest.mark.parametrize("rules", [QualityParameters(), PUBLISHED, *ALONE], ids=lambda rules: None)
def test_every_rule_alone_decides_the_same_on_longer_texts(rules: QualityParameters) -> None:
    chance = random.Random(5)
    words = [
        "the",
        "data",
        "of",
        "x",
        "and.",
        "that",
        "…",
        "- item",
        "end...",
        "1234",
        "#",
        "{",
        "Lorem ipsum",
        "w" * 12,
    ]

    def text() -> str:
        size = chance.randrange(1, chance.choice([8, 200]))
        return "".join(chance.choice(words) + chance.choice([" ", " ", "\n", "\n\n"]) for _ in range(size))

    texts = [text() for _ in range(200)]
    given = [quality.judge(text, rules) for text in texts]
    assert batches.judged(texts, rules, compiled=True) == given
    assert any(given), "a rule that none of the texts breaks shows nothing"


@given(st.lists(WRITINGS, max_size=8), st.sampled_from(["NFC", "NFKC", "none"]))
@settings(max_examples=100, deadline=None)
def test_cleaning_gives_the_same_text(texts: list[str], form: str) -> None:
    texts = [*texts, "e\u0301 \r\n\tx ", "\n\n\na\n\n\nb\n", " a", "x\u2028y", "\ud800", "ﬁ"]
    assert batches.cleaned(texts, form, compiled=True) == [clean(text, form) for text in texts]


@pytest.mark.slow
@given(st.lists(st.lists(st.sampled_from(FOUND), max_size=12).map("".join), min_size=1, max_size=6))
@settings(max_examples=120, deadline=None)
def test_redaction_finds_the_same(texts: list[str]) -> None:
    for types in (list(TYPED), ["phone"], ["ip", "card"]):
        assert batches.redacted(texts, types, compiled=True) == batches.redacted(texts, types, compiled=False)


def test_each_kind_of_finding_alone_is_suspected() -> None:
    texts = [f"see {found} there" for found in FOUND]
    plain = batches.redacted(texts, list(TYPED), compiled=False)
    assert batches.redacted(texts, list(TYPED), compiled=True) == plain
    assert {name for _, counts in plain for name in counts} == set(TYPED)


def test_compiled_code_is_kept_for_exactly_these_sources(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text("ENDS = '.'\n")
    (tmp_path / "kernels.py").write_text("from rules import ENDS\n")
    before = kept_in(tmp_path)
    assert kept_in(tmp_path) == before and before.parent == tmp_path / "__pycache__"
    (tmp_path / "rules.py").write_text("ENDS = '!'\n")
    assert kept_in(tmp_path) != before
    of_these = kept_in(Path(batches.__file__).parent)
    batches.judged(["some text"], QualityParameters(), compiled=True)
    assert list(of_these.rglob("*.nbc")), "nothing was kept"


@pytest.mark.parametrize("test", [str.isspace, str.isalpha, str.isalnum, str.isdecimal])
def test_what_each_code_point_is_is_what_python_says(test):
    assert code_points.those(test, 4).tolist() == [4 * test(sign) for sign in code_points.every()]


def test_compiled_code_starts_without_the_extensions_of_other_packages():
    program = (
        "import sys\nfrom components.curate import batches\n"
        "assert batches.cleaned(['a b\\n'], 'NFC', compiled=True) == ['a b']\n"
        "assert 'numba' in sys.modules and not {'awkward', 'scipy.linalg'} & set(sys.modules)\n"
        "import scipy.linalg\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

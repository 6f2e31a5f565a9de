"""Words and sentences as datatrove 0.10 takes them from spaCy: its blank English pipeline with the sentencizer.

A run of more than :data:`LONGEST` characters without white space is one word, which it need not be for spaCy: some such
runs take it quadratic time, or far more memory than they have characters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.util import find_spec
from typing import Any

from components.curate.filters.quality_parameters import QualityParameters
from core import python

LONGEST = 10_000
_LONG = re.compile(rf"(\S{{{LONGEST + 1},}})")
_SUFFIX = 8  # characters; the longest suffix of English that is no row of dots has five


def problems(rules: QualityParameters) -> list[str]:
    """What is missing for the rules to be measured as they ask."""
    if rules.measures == "datatrove" and find_spec("spacy") is None:
        return [
            "curate.quality.measures: datatrove counts spaCy's words, and spaCy is not installed: "
            "pip install 'stemma-llm[spacy]'"
        ]
    return []


@cache
def tokenizer() -> Any:
    """spaCy's English tokenizer with the same words in a third of the time, and in linear time for rows of brackets.

    A word's attributes are not computed; a suffix is sought at the end alone, and an infix at signs that are neither
    letters nor digits, of which each one has the first.
    """
    with python.hidden("torch"):  # which is imported for models: here is none
        import spacy
        from spacy.tokenizer import Tokenizer
    usual = spacy.blank("en").tokenizer

    def suffix(text: str) -> Any:
        return usual.suffix_search(text, max(0, min(len(text) - _SUFFIX, len(text.rstrip(".")))))

    return Tokenizer(
        spacy.vocab.Vocab(), rules=usual.rules, prefix_search=usual.prefix_search, suffix_search=suffix,
        infix_finditer=re.compile(rf"(?=[\W_])(?:{usual.infix_finditer.__self__.pattern})").finditer,
        url_match=usual.url_match,
    )  # fmt: skip


@cache
def sentence_ends() -> frozenset[str]:
    """The marks, of one character each, behind which spaCy's sentencizer begins a sentence."""
    with python.hidden("torch"):
        from spacy.pipeline import Sentencizer
    return frozenset(Sentencizer.default_punct_chars)


def divided(text: str) -> Any:
    """spaCy's tokens of a text, which live as long as the memory zone they are made in.

    spaCy fails on the word ``IS_ALPHA`` from the second time on (its name for the number 1, which its tables take for
    a free place), where datatrove removes it; a word like it is divided in its place.
    """
    return tokenizer()(text.replace("IS_ALPHA", "IS_ALPHB"))


def tokens(text: str) -> list[str]:
    """Words, and of white space what is more than the one blank between two words."""
    found: list[str] = []
    with tokenizer().vocab.memory_zone():
        for place, piece in enumerate(_LONG.split(text)):
            ends = [(token.idx, token.idx + len(token)) for token in divided(piece)] if place % 2 == 0 else [(0, None)]
            found += [piece[begin:end] for begin, end in ends]
    return found


def words(text: str) -> list[str]:
    """The text's words; punctuation marks are words of their own."""
    return [token for token in tokens(text) if not token.isspace()]


def sentences(line: str) -> int:
    """Sentences of a line without white space at its ends; an empty one is a sentence for datatrove."""
    count, ended = 1, False
    for token in tokens(line):
        if token in sentence_ends():
            ended = True
        elif ended and not is_punctuation(token):
            count, ended = count + 1, False
    return count


def is_punctuation(token: str) -> bool:
    """spaCy's ``is_punct``."""
    return all(unicodedata.category(sign).startswith("P") for sign in token)

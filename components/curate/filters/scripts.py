"""The quality rules for languages other than English, for which they were published.

Texts are judged by a copy that is written as English is: blanks between words, and its marks at the ends of
sentences. Chinese, Japanese, Thai, Lao, Khmer and Burmese have no blanks between words. Segmenting them takes a
dictionary for each and is slow, and counting takes no true words: a run of Han characters and kana is divided into
pieces of two, the others into pieces of five. (Words of manual pages have 1.8 characters in Chinese by jieba and 1.9
in Japanese by MeCab, those of the Universal Declaration of Human Rights 4.9 in Thai by PyThaiNLP.) Each run begins
anew behind a punctuation mark, so that a clause that is repeated is divided alike. FineWeb2 (Penedo et al. 2025,
arXiv:2506.20920) has tokenizers instead.

What the copy cannot mend is left out: English stop words for other languages, the mean length of words where pieces
or syllables are counted, and the rules for punctuation where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from components.contract import StageParameters
from components.curate import batches
from components.curate.filters import quality
from components.curate.filters.quality import Finding
from components.curate.filters.quality_parameters import QualityParameters
from components.curate.text.language_parameters import UNDETERMINED

# Han with its iteration marks, kana, bopomofo.
_HAN = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
# Letters and signs of Thai, Lao, Burmese and Khmer, without digits and punctuation.
_SOUTH_EAST = (
    "\u0e01-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u109f\u1780-\u17d3\u17d7\u17dc-\u17dd\uaa60-\uaa7f"
)
_PIECE = re.compile(rf"[{_HAN}]{{1,2}}|[{_SOUTH_EAST}]{{1,5}}")
_EDGE = re.compile(rf"(?<=[{_HAN}{_SOUTH_EAST}])(?=[0-9A-Za-z])")
_TSHEG = "\u0f0b"  # between the syllables of Tibetan
_MARKS = str.maketrans(
    dict.fromkeys("。｡．۔।॥։።។៕။།", ".")  # full stops: Chinese, Urdu, Hindi, Armenian, Amharic, Khmer, Burmese, Tibetan
    | dict.fromkeys("！՜", "!")
    | dict.fromkeys("？؟՞፧", "?")
    | dict.fromkeys("，、､،፣၊", ",")
    | dict.fromkeys("「『《", "\"")
    | dict.fromkeys("」』》»“", "”")  # the last closes in German
    | {"；": ";", "؛": ";", "：": ":", "（": "(", "）": ")", "\u3000": " ", _TSHEG: f"{_TSHEG} "}
)  # fmt: skip
_OTHER = re.compile(rf"[{_HAN}{_SOUTH_EAST}{re.escape(''.join(map(chr, _MARKS)))}]")
_SHORT = frozenset(("zh", "yue", "wuu", "ja", "th", "lo", "km", "my", "bo", "ko"))  # pieces; a syllable in a sign
_UNPUNCTUATED = frozenset(("th", "lo"))  # a blank ends a sentence, or nothing does


def as_english(text: str) -> str:
    """The copy by which a text is judged: as many lines, and the same text where its script needs nothing else."""
    if text.isascii() or not _OTHER.search(text):
        return text
    return _PIECE.sub(r" \g<0>", _EDGE.sub(" ", text)).translate(_MARKS)


def left_out(language: str) -> frozenset[str]:
    """Rules that make no sense for a language; none for English, and where the language is undetermined."""
    found: set[str] = set()
    if language not in ("en", UNDETERMINED):
        found |= {"min_stop_words"}
    if language in _SHORT:
        found |= {"min_mean_word_length", "max_mean_word_length"}
    if language in _UNPUNCTUATED:
        found |= {"remove_unpunctuated_lines", "min_sentences", "min_punctuated_lines"}
    return frozenset(found)


def without(rules: QualityParameters, names: Collection[str]) -> QualityParameters:
    """The rules without those of these names."""
    families: dict[str, StageParameters | None] = {"gopher": rules.gopher, "c4": rules.c4, "fineweb": rules.fineweb}
    for name, family in families.items():
        if family is not None:
            values = {rule: getattr(family, rule) for rule in type(family).model_fields if rule in names}
            off = {rule: False if isinstance(value, bool) else None for rule, value in values.items()}
            families[name] = family.model_copy(update=off)
    return rules.model_copy(update=families)


def c4_lines(texts: Sequence[str], languages: Sequence[str] | None, rules: QualityParameters) -> list[tuple[str, int]]:
    """As :func:`components.curate.filters.quality.c4_lines`, of each text; ``languages`` as for :func:`judged`."""
    if languages is None:
        return [quality.c4_lines(text, rules.c4) for text in texts] if rules.c4 else [(text, 0) for text in texts]
    fitting = {names: without(rules, names).c4 for names in map(left_out, set(languages))}
    found = []
    for text, language in zip(texts, languages, strict=True):
        c4 = fitting[left_out(language)]
        found.append(quality.c4_lines(text, c4, as_english(text)) if c4 else (text, 0))
    return found


def judged(
    texts: Sequence[str], languages: Sequence[str] | None, rules: QualityParameters, *, compiled: bool
) -> list[Finding | None]:
    """As :func:`components.curate.batches.judged`, by the rules that make sense for each text's language.

    Args:
        languages: of the texts; ``None``: they are judged as they are, whatever they are written in.
    """
    if languages is None:
        return batches.judged(texts, rules, compiled=compiled)
    alike: dict[frozenset[str], list[int]] = {}
    for place, language in enumerate(languages):
        alike.setdefault(left_out(language), []).append(place)
    findings: list[Finding | None] = [None] * len(texts)
    for names, places in alike.items():
        found = batches.judged([as_english(texts[place]) for place in places], without(rules, names), compiled=compiled)
        for place, finding in zip(places, found, strict=True):
            findings[place] = finding
    return findings

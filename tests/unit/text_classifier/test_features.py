"""What a classifier sees of a text: its words and their pairs, the same in whatever batch."""

import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.text_classifier import features

TEXTS = st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=40), max_size=6)


def words(text: str) -> list[str]:
    """The plain reading of the rule, character by character."""
    found: list[str] = []
    inside = False
    for sign in text.lower():
        category, code = unicodedata.category(sign)[0], ord(sign)
        word = category in "LMN" or sign == "_"
        if word and any(first <= code <= last for first, last in features._SPACELESS):
            found.append(sign)
            inside = False
        elif word:
            found[len(found) - inside :] = [(found[-1] if inside else "") + sign]
            inside = True
        else:
            inside = False
            if category not in "ZC":
                found.append(sign)
    return found


def seen(found: features.Features, number: int) -> list[int]:
    part = slice(found.starts[number], found.starts[number + 1])
    return found.buckets[part][found.real[part]].tolist()


@given(TEXTS)
def test_a_text_has_its_words_and_pairs_whatever_stands_beside_it(texts):
    found = features.extract(texts)
    for number, text in enumerate(texts):
        alone = features.extract([text])
        assert seen(found, number) == seen(alone, 0)
        assert found.counts[number] == len(seen(alone, 0)) == max(2 * len(words(text)) - 1, 0)
        assert seen(alone, 0)[::2] == [seen(features.extract([word]), 0)[0] for word in words(text)]


def test_words_pairs_and_scripts_without_spaces():
    assert words("Hello, wörld_1 日本") == ["hello", ",", "wörld_1", "日", "本"]
    one, other = features.extract(["dog bites man"]), features.extract(["man bites dog"])
    assert set(seen(one, 0)) & set(seen(other, 0)) == set(seen(features.extract(["dog", "bites", "man"]), 0)) | {
        seen(features.extract([word]), 0)[0] for word in ("bites", "man", "dog")
    }


def test_totals_are_exact_sums_of_weights():
    weights = np.random.default_rng(0).integers(-(2**31) + 1, 2**31 - 1, features.BUCKETS).astype(np.int32)
    texts = ["", "one", "two words", "and, some more! " * 1000]
    found = features.extract(texts)
    expected = [sum(int(weights[bucket]) for bucket in seen(found, number)) for number in range(len(texts))]
    assert features.totals(found, weights).tolist() == expected

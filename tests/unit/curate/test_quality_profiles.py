"""A profile sets every rule; a value that is given stands before it."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from components.curate.filters.profiles import PROFILES
from components.curate.filters.quality import judge
from components.curate.filters.quality_parameters import (
    C4Parameters,
    FineWebParameters,
    GopherParameters,
    QualityParameters,
)

FAMILIES = {"gopher": GopherParameters, "c4": C4Parameters, "fineweb": FineWebParameters}
DOCSTRING = "Return the number of items that the queue holds, which may be wrong by the time the caller reads it."


def test_without_a_word_the_profile_is_that_of_docstrings():
    assert QualityParameters() == QualityParameters(profile="docstrings")
    assert QualityParameters().model_dump(exclude={"profile", "measures", "perplexity"}) == {
        name: model().model_dump() for name, model in FAMILIES.items()
    }


@pytest.mark.parametrize("profile", ["web", "books", "code", "chat"])
def test_a_profile_sets_every_rule_and_reads_back_as_it_is_written(profile):
    found = QualityParameters(profile=profile)
    for name, model in FAMILIES.items():
        assert getattr(found, name).model_fields_set == set(model.model_fields)
    assert QualityParameters.model_validate(json.loads(found.model_dump_json())) == found
    assert found.own() == {}


def test_the_values_for_web_pages_are_those_that_the_descriptions_call_published():
    web = QualityParameters(profile="web").model_dump()
    for family, model in FAMILIES.items():
        for name, field in model.model_fields.items():
            value, published = web[family][name], re.search(r"Published:? (.*)", field.description)[1]
            if name == "repetition_min_words":  # published without such a bound
                assert value == 1
            elif isinstance(value, bool):
                assert value and published.startswith("true")
            elif isinstance(value, dict):
                named = {int(n): float(share) for n, share in re.findall(r"(\d+): (0\.\d+)", published)}
                assert named and named.items() <= value.items()
            else:
                assert value == float(re.match(r"[\d.,]*\d", published)[0].replace(",", ""))


def test_the_documentation_has_the_values():
    text = (Path(__file__).parents[3] / "docs" / "curate.md").read_text()
    for family, model in FAMILIES.items():
        for name in model.model_fields:
            row = re.search(rf"^\| `{family}.{name}` \| (.*) \|$", text, re.MULTILINE)[1].split(" | ")
            for profile, shown in zip(PROFILES, row, strict=True):
                value = getattr(getattr(QualityParameters(profile=profile), family), name)
                off = value is None or value is False or value == {}
                assert (shown == "–") == off, (profile, name)
                if not off and not isinstance(value, bool | dict):
                    assert float(shown.replace(",", "")) == value, (profile, name)


def test_web_drops_a_document_that_the_profile_of_docstrings_keeps():
    assert judge(DOCSTRING, QualityParameters()) is None
    assert judge(DOCSTRING, QualityParameters(profile="web")) == ("gopher_min_words", "20 words")
    assert judge(DOCSTRING, QualityParameters(profile=None)) is None


def test_a_value_that_is_given_stands_before_the_profiles():
    given = {"profile": "web", "gopher": {"min_words": 5, "max_bullet_lines": None}, "fineweb": None}
    found = QualityParameters.model_validate(given)
    assert (found.gopher.min_words, found.gopher.max_bullet_lines, found.fineweb) == (5, None, None)
    assert found.gopher.min_alphabetic_words == 0.8 and found.c4 == QualityParameters(profile="web").c4
    assert found.own() == {"gopher.min_words": 5, "gopher.max_bullet_lines": None, "fineweb": None}


def test_without_a_profile_only_the_rules_given_hold():
    found = QualityParameters.model_validate({"profile": None, "gopher": {"min_words": 5}})
    assert found.c4 is None and found.fineweb is None
    assert judge("one two " * 500 + "# " * 200 + "a line...", found) is None
    assert judge("one two", found) == ("gopher_min_words", "2 words")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"profile": "wiki"}, "profile"),
        ({"profile": ["web"]}, "profile"),
        ({"profile": "web", "gopher": 5}, "gopher"),
        ({"profile": "web", "gopher": {"min_word": 5}}, "gopher.min_word"),
        ({"profile": "web", "gopher": {"min_words": 200_000}}, "gopher"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(given, where):
    with pytest.raises(ValidationError) as problem:
        QualityParameters.model_validate(given)
    assert [".".join(map(str, each["loc"])) for each in problem.value.errors()] == [where]

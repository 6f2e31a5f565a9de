"""params.yaml as a form: what Prefect's UI is given to draw, and what a filled-in form changes."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from core import parameters_file
from core.errors import InputProblem
from flows.deployments import form
from flows.pipeline import parameters

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def schema():
    return form.schema(ROOT)


@pytest.fixture(scope="module")
def values():
    return form.values(ROOT)


def _nodes(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value)


def test_the_form_has_every_parameter_with_its_bounds_help_and_choices(schema):
    assert set(schema["properties"]) == {"seed", *parameters.sections()}
    pretrain = schema["properties"]["pretrain"]["properties"]
    assert pretrain["learning_rate"]["exclusiveMinimum"] == 0 and pretrain["learning_rate"]["maximum"] == 1
    assert pretrain["schedule"]["enum"] == ["cosine", "linear", "wsd", "constant"]
    for explained in parameters.explain():
        if "<" in explained.path or "[" in explained.path or explained.path == "promotion.approval":
            continue
        node = schema
        for part in explained.path.split("."):
            whole = [node, *node.get("anyOf", [])]
            node = next(each["properties"][part] for each in whole if part in each.get("properties", {}))
        assert node["title"] == part
        assert node.get("description") or not explained.help


def test_the_form_is_of_what_prefect_s_ui_draws(schema):
    for node in _nodes(schema):
        assert not {"$ref", "oneOf", "allOf", "discriminator", "const", "prefixItems"} & set(node), node
    kinds = schema["properties"]["curate"]["properties"]["sources"]["items"]["anyOf"]
    assert [kind["title"] for kind in kinds] == ["python_docs", "files", "huggingface"]


def test_prefect_takes_the_schema_and_its_first_values(schema, values):
    from prefect.utilities.schema_tools.validation import is_valid_schema, validate

    whole = {"type": "object", "properties": {"parameters": schema}}
    is_valid_schema(whole)
    assert validate({"parameters": values}, whole) == []
    assert validate({"parameters": {"pretrain": {"steps": -1}}}, whole)
    assert validate({"parameters": {"pretrain": {"stepps": 1}}}, whole)


def test_the_few_that_people_change_first_stand_before_everything_else(values):
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools.validation import validate

    from flows.lifecycle import lifecycle

    drawn = parameter_schema(lifecycle.fn).model_dump()
    assert sorted(drawn["properties"], key=lambda name: drawn["properties"][name]["position"])[:2] == [
        "recipe",
        "common",
    ]
    assert max(drawn["properties"], key=lambda name: drawn["properties"][name]["position"]) == "parameters"
    few = form.common(values)
    assert tuple(few) == form.COMMON and few["pretrain.steps"] == 3600
    assert validate({"common": few}, drawn) == []
    assert validate({"common": {"pretrain.steps": -1}}, drawn) and validate({"common": {"pretrain.step": 1}}, drawn)
    assert form.all_changes(few, values, values) == {}
    assert form.all_changes({**few, "pretrain.steps": 5}, values, values) == {"pretrain.steps": 5}
    both = copy.deepcopy(values)
    both["pretrain"]["steps"] = 7
    with pytest.raises(InputProblem, match=r"pretrain.steps: 5 under common and 7 under parameters"):
        form.all_changes({"pretrain.steps": 5}, both, values)


def test_approval_is_not_offered_to_the_one_whose_run_it_is(schema, values):
    from prefect.utilities.schema_tools.validation import validate

    assert "approval" not in values["promotion"]
    whole = {"type": "object", "properties": {"parameters": schema}}
    assert validate({"parameters": {"promotion": {"approval": "none"}}}, whole)


def test_a_form_left_as_it_was_changes_nothing(values):
    assert form.changes(copy.deepcopy(values), values) == {}
    assert form.changes({}, values) == {}
    assert form.changes({"pretrain": {}}, values) == {}


def test_what_was_changed_is_an_override_of_the_smallest_part(values):
    filled = copy.deepcopy(values)
    filled["seed"] = 7
    filled["pretrain"].update(steps=None, epochs=2)
    filled["pretrain"]["architecture"]["hidden_size"] = 256
    filled["curate"]["sources"][0]["max_documents"] = 10
    filled["curate"]["quality"]["fineweb"] = None
    filled["curate"]["quality"]["gopher"]["max_top_ngram_characters"] = {"2": 0.5}
    filled["promotion"]["base"]["bits_per_byte"]["max"] = 2.5
    changed = form.changes(filled, values)
    assert changed == {
        "seed": 7,
        "pretrain.steps": None,
        "pretrain.epochs": 2,
        "pretrain.architecture.hidden_size": 256,
        "curate.sources": [{**values["curate"]["sources"][0], "max_documents": 10}],
        "curate.quality.fineweb": None,
        "curate.quality.gopher.max_top_ngram_characters": {2: 0.5},
        "promotion.base": {"bits_per_byte": {"min": None, "max": 2.5, "max_drop": 0.05}},
    }
    result = parameters_file.apply(parameters.load(ROOT), changed)
    assert parameters.problems_in(result) == []


def test_a_whole_number_is_the_same_as_its_decimal_and_true_is_not_one(values):
    filled = copy.deepcopy(values)
    filled["pretrain"]["max_grad_norm"] = 1
    assert form.changes(filled, values) == {}
    filled["pretrain"]["max_grad_norm"] = True
    assert form.changes(filled, values) == {"pretrain.max_grad_norm": True}


def test_a_part_that_was_off_is_switched_on_as_a_whole(values):
    registered = copy.deepcopy(values)
    registered["curate"]["quality"]["c4"] = None
    changed = form.changes(values, registered)
    assert changed == {"curate.quality.c4": values["curate"]["quality"]["c4"]}


def test_a_section_with_mistakes_is_shown_by_its_defaults(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    parameters_file.write(tmp_path / "params.yaml", {"pretrain.steps": "many", "tokenize.vocabulary_size": 500})
    shown = form.values(tmp_path)
    assert shown["pretrain"]["steps"] == 600 and shown["tokenize"]["vocabulary_size"] == 500


def test_what_set_gives_is_nested_as_the_form_is():
    given = {"pretrain.steps": 5, "pretrain.architecture.hidden_size": 64, "curate.sources.0.max_documents": 3}
    assert form.nested(given) == {
        "pretrain": {"steps": 5, "architecture": {"hidden_size": 64}},
        "curate": {"sources": {"0": {"max_documents": 3}}},
    }


def test_a_mistake_in_the_form_is_told_by_its_place_in_the_file():
    from core.workspace import Workspace
    from flows.pipeline.prepare import Request, check

    request = Request({"pretrain.steps": 0, "curate.shard_megabytes": 0}, from_form=True)
    with pytest.raises(InputProblem) as raised:
        check(Workspace(ROOT, ROOT / ".stemma"), request)
    problems = raised.value.problems
    assert len(problems) == 2 and all(problem.startswith("params.yaml: ") for problem in problems)


def test_a_form_is_compared_with_the_values_that_it_was_drawn_with(tmp_path, values):
    name = form.drawn(tmp_path, values)
    assert form.drawn(tmp_path, values) == name and len(list((tmp_path / "forms").iterdir())) == 1
    assert form.began_with(tmp_path, name) == values
    assert form.drawn(tmp_path, {**values, "seed": 2}) != name
    assert form.began_with(tmp_path, "0" * 16) is None and form.began_with(tmp_path, None) is None
    assert form.began_with(tmp_path, "../../secret") is None

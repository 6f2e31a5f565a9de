"""params.yaml as a whole: every mistake at once, every parameter explained."""

from __future__ import annotations

from pathlib import Path

import pytest

import components
from core.errors import InputProblem
from flows.pipeline import parameters

ROOT = Path(__file__).parents[3]


def test_the_repository_s_own_file_is_valid():
    assert parameters.problems_in(parameters.load(ROOT)) == []


def test_a_file_of_nothing_means_the_defaults():
    assert parameters.problems_in({}) == []


def test_every_mistake_of_every_section_is_told_at_once():
    values = {
        "sead": 1,
        "seed": -1,
        "pretrain": {"stepz": 5, "per_device_batch_size": "many"},
        "tokenize": {"vocabulary_size": -4},
        "promotion": {"assistant": {"accuracy": {"minimum": 0.5}}},
    }
    problems = parameters.problems_in(values)
    text = "\n".join(problems)
    assert "params.yaml: sead: unknown section; did you mean 'seed'?" in text
    assert "params.yaml: seed: must be a whole number" in text
    assert "params.yaml: pretrain.stepz: unknown parameter; did you mean 'steps'?" in text
    assert "params.yaml: pretrain.per_device_batch_size: " in text and "'many'" in text
    assert "params.yaml: tokenize.vocabulary_size: " in text
    assert "params.yaml: promotion.assistant.accuracy.minimum: unknown parameter" in text
    assert len(problems) == 6


def test_a_mistake_of_an_override_names_the_option():
    (problem,) = parameters.problems_in({"pretrain": {"steps": -5}}, {"pretrain.steps": -5})
    assert problem.startswith("--set pretrain.steps: ")


def test_duplicate_keys_are_told(tmp_path):
    (tmp_path / "params.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(InputProblem, match="duplicate key"):
        parameters.load(tmp_path)


def test_every_parameter_is_explained():
    lines = {line.path: line for line in parameters.explain()}
    for name in components.STAGES:
        for field in components.load(name).parameters.model_fields:
            assert lines[f"{name}.{field}"].help, f"{name}.{field} has no description"
            assert lines[f"{name}.{field}"].type
    assert "≥" in lines["pretrain.steps"].bounds
    assert lines["promotion.<name>.<name>.min"].type == "float | null"

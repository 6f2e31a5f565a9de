"""Recipes are overlays on params.yaml: each one here is valid, and an unknown one is refused with the known names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.planning import command
from components.planning.options import Options
from core import parameters_file
from core.errors import InputProblem
from flows.pipeline import parameters, recipes

ROOT = Path(__file__).resolve().parents[3]
NAMES = [recipe.name for recipe in recipes.recipes(ROOT)]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_over_the_parameters_and_says_what_for(name):
    values = parameters_file.apply(parameters.load(ROOT), recipes.overrides(ROOT, name))
    assert parameters.problems_in(values) == []
    (recipe,) = (recipe for recipe in recipes.recipes(ROOT) if recipe.name == name)
    text = " ".join(recipe.comments)
    assert recipe.summary and "For:" in text and "Machine:" in text and "Time:" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stage", "count"),
    [
        ("sft-lora-8b", "instruct_finetune", 1),
        ("qlora-70b", "instruct_finetune", 1),
        ("full-8b", "instruct_finetune", 8),
        ("continued-pretraining", "pretrain", 8),
    ],
)
def test_a_recipe_for_gpus_is_planned_before_anything_is_fetched(name, stage, count, tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    parameters_file.write(tmp_path / "params.yaml", recipes.overrides(ROOT, name))
    (tmp_path / "data/tokens").mkdir(parents=True)  # what an epoch of 100M tokens would be
    index = {"vocab_size": 128_256, "splits": {"train": {"tokens": 100_000_000}}}
    (tmp_path / "data/tokens/index.json").write_text(json.dumps(index))
    monkeypatch.chdir(tmp_path)
    (plan,) = command.plans(Options(device="h100"), [stage])["plans"]
    assert plan["device"]["count"] == count and plan["fits"], plan["memory"]
    assert 0 < plan["time"]["hours"] < 24


def test_a_mapping_is_laid_over_and_a_list_and_an_empty_mapping_replace(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.yaml").write_text("# Small.\na:\n  b: {c: 2}\n  list: [1]\nrules: {}\n")
    values = {"a": {"b": {"c": 1, "d": 1}, "list": [7, 8]}, "rules": {"x": 1}}
    changed = parameters_file.apply(values, recipes.overrides(tmp_path, "small"))
    assert changed == {"a": {"b": {"c": 2, "d": 1}, "list": [1]}, "rules": {}}


def test_an_unknown_recipe_is_refused_with_the_names_of_the_others():
    with pytest.raises(InputProblem, match=r"scratsh: no such recipe in recipes/; there are: adapt-smollm2, .*scratch"):
        recipes.overrides(ROOT, "scratsh")

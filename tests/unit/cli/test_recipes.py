"""Recipes are overlays on params.yaml: each one here is valid, and an unknown one is refused with the known names."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_a_mapping_is_laid_over_and_a_list_and_an_empty_mapping_replace(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.yaml").write_text("# Small.\na:\n  b: {c: 2}\n  list: [1]\nrules: {}\n")
    values = {"a": {"b": {"c": 1, "d": 1}, "list": [7, 8]}, "rules": {"x": 1}}
    changed = parameters_file.apply(values, recipes.overrides(tmp_path, "small"))
    assert changed == {"a": {"b": {"c": 2, "d": 1}, "list": [1]}, "rules": {}}


def test_an_unknown_recipe_is_refused_with_the_names_of_the_others():
    with pytest.raises(InputProblem, match="scratsh: no such recipe in recipes/; there are: own-data, scratch"):
        recipes.overrides(ROOT, "scratsh")

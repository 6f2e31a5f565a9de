"""Former names of parameters: the message says the present one, and the present one exists."""

from __future__ import annotations

import re

import pytest

import components
from components.harness.parameters import RENAMED, validate
from core.errors import InputProblem


def problems(section: str, values: dict) -> list[str]:
    with pytest.raises(InputProblem) as caught:
        validate({section: values}, section, components.load(section).parameters)
    return caught.value.problems


def is_parameter(section: str, names: list[str]) -> bool:
    model = components.load(section).parameters
    for name in names:
        if name not in getattr(model, "model_fields", {}):
            return False
        model = model.model_fields[name].annotation
    return True


@pytest.mark.parametrize("path", RENAMED)
def test_every_former_name_is_explained_by_a_present_one(path):
    section, *names = path.split(".")
    values: dict = {names[-1]: 1}
    for name in reversed(names[:-1]):
        values = {name: values}
    (line,) = problems(section, values)
    assert line == f"params.yaml: {path}: unknown parameter; it is now called {RENAMED[path]}"
    new = re.match(r"[\w.]+", RENAMED[path]).group().removeprefix(f"{section}.")
    assert is_parameter(section, new.split(".")) and not is_parameter(section, names)


def test_all_former_names_of_a_block_are_explained_at_once():
    lines = problems("instruct_finetune", {"training": {"batch_size": 8, "clip": 1.0}, "processes": 2})
    assert len(lines) == 3 and any("per_device_batch_size x gradient_accumulation_steps" in line for line in lines)

"""Overrides: reading them, and writing them without touching anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from core import parameters_file
from core.errors import InputProblem

FILE = """# why this file
seed: 1337

pretrain:
  steps: 100        # enough
  optimizer: muon
curate:
  sources:
    - {type: python_docs}   # the default
"""


def test_values_are_yaml():
    values, problems = parameters_file.parse(["a.b=200", "c=0.5", "d=true", "e=[1, x]", "f=text", "g=null", "h=a=b"])
    assert not problems
    assert values == {"a.b": 200, "c": 0.5, "d": True, "e": [1, "x"], "f": "text", "g": None, "h": "a=b"}


def test_every_text_that_is_no_assignment_is_told():
    values, problems = parameters_file.parse(["steps", "=3", "a..b=3", "ok=1", "x=[1"])
    assert values == {"ok": 1}
    assert len(problems) == 4
    assert "--set steps: write it as PATH=VALUE" in problems[0]


def test_apply_leaves_the_original_alone():
    values = {"pretrain": {"steps": 1}}
    assert parameters_file.apply(values, {"pretrain.steps": 2, "tokenize.size": 3}) == {
        "pretrain": {"steps": 2},
        "tokenize": {"size": 3},
    }
    assert values == {"pretrain": {"steps": 1}}


def test_entries_of_lists_are_counted_from_zero():
    assert parameters_file.apply({"a": [{"b": 1}]}, {"a.0.b": 2}) == {"a": [{"b": 2}]}
    with pytest.raises(InputProblem, match="no such entry"):
        parameters_file.apply({"a": [{"b": 1}]}, {"a.7.b": 2})


def test_a_path_through_a_plain_value_is_a_problem():
    with pytest.raises(InputProblem, match="goes through a value"):
        parameters_file.apply({"seed": 1}, {"seed.x": 2})


def test_writing_keeps_comments_order_and_everything_else(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(FILE)
    parameters_file.write(path, {"pretrain.steps": 200})
    assert path.read_text() == FILE.replace("steps: 100 ", "steps: 200 ")
    assert list(tmp_path.iterdir()) == [path]


def test_one_override_changes_one_line_of_the_repository_s_own_file(tmp_path):
    original = (Path(__file__).parents[3] / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(original)
    parameters_file.write(path, {"seed": 4242})
    before, after = original.splitlines(), path.read_text().splitlines()
    assert [new for old, new in zip(before, after, strict=True) if old != new] == ["seed: 4242"]


scalars = st.one_of(st.integers(-(2**40), 2**40), st.booleans(), st.none(), st.text(st.characters(codec="ascii")))


@given(st.sampled_from(["pretrain.steps", "new.section.key", "curate.sources.0.type"]), scalars)
@example("curate.sources.0.type", "0?")
def test_what_is_written_is_what_is_read(tmp_path_factory, path, value):
    file = tmp_path_factory.mktemp("written") / "params.yaml"
    file.write_text(FILE)
    parameters_file.write(file, {path: value})
    read = YAML(typ="safe").load(file.read_text())
    assert read == parameters_file.apply(YAML(typ="safe").load(FILE), {path: value})

"""Texts PATH=VALUES as choices and ranges."""

from __future__ import annotations

import pytest

from flows.sweeps import space
from flows.sweeps.space import Choices, Range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p.rate=0.001,0.003", Choices("p.rate", (0.001, 0.003))),
        ("p.rate=1e-3, 3e-3", Choices("p.rate", (0.001, 0.003))),
        ("p.kinds=[a, b],[c]", Choices("p.kinds", (["a", "b"], ["c"]))),
        ("p.on=true,false,null", Choices("p.on", (True, False, None))),
        ("p.names='a,b',c", Choices("p.names", ("a,b", "c"))),
        ("p.seed=1..3", Range("p.seed", 1, 3, 1)),
        ("p.width=16..64:16", Range("p.width", 16, 64, 16)),
        ("p.rate=1e-4..1e-2:log", Range("p.rate", 0.0001, 0.01, None, True)),
        ("p.rate=0.1..0.5:0.1", Range("p.rate", 0.1, 0.5, 0.1)),
        ("p.steps=20", Choices("p.steps", (20,))),
    ],
)
def test_choices_and_ranges(text, expected):
    assert space.parse([text]) == ([expected], [])


def test_every_mistake_is_named_at_once():
    texts = ["p.rate", "p.a=", ".b=1", "p.c=3..1", "p.d=0..1:log", "p.e=1..9:0.5", "p.f=1,1"]
    texts += ["p.g=1", "p.g=2", "p.h=[1", "q=1,2", "q.r=1,2"]
    found, problems = space.parse(texts)
    starts = [problem.partition(":")[0] for problem in problems]
    assert [start for start in starts[:3]] == ["--set p.rate", "--set p.a=", "--set .b=1"]
    assert "the range must begin below its end, and 3 is not below 1" in problems[3]
    assert "logarithms need numbers above 0" in problems[4]
    assert "the step 0.5 must be a whole number above 0" in problems[5]
    assert "--set p.f=1,1: 1 is given twice" in problems
    assert any("p.g is given twice" in problem for problem in problems)
    assert any(problem.startswith("--set p.h=[1: the values are not readable as YAML") for problem in problems)
    assert "--set q.r: lies within q, which is varied too" in problems
    assert [each.path for each in found] == ["p.g", "q", "q.r"]


def test_a_grid_counts_every_combination_the_last_one_fastest():
    dimensions, _ = space.parse(["p.rate=0.1,0.2", "p.seed=1..2", "p.share=0.1..0.3:0.1"])
    combinations = space.grid(dimensions)
    assert len(combinations) == 12
    assert combinations[0] == {"p.rate": 0.1, "p.seed": 1, "p.share": 0.1}
    assert [each["p.share"] for each in combinations[:3]] == [0.1, 0.2, 0.3]
    assert space.label(combinations[0], space.names(dimensions)) == "rate=0.1 seed=1 share=0.1"


def test_a_grid_of_too_many_or_uncountable_numbers_is_refused():
    dimensions, _ = space.parse(["p.rate=1e-4..1e-2:log"])
    with pytest.raises(ValueError, match="a grid needs numbers that can be counted"):
        space.grid(dimensions)
    dimensions, _ = space.parse(["p.a=1..100", "p.b=1..100"])
    with pytest.raises(ValueError, match="10,000 combinations, and at most 1,000"):
        space.grid(dimensions)


def test_names_that_would_be_the_same_are_whole_paths():
    dimensions, _ = space.parse(["pretrain.seed=1,2", "x.seed=1,2", "pretrain.steps=1,2"])
    assert list(space.names(dimensions).values()) == ["pretrain.seed", "x.seed", "steps"]


def test_each_value_is_validated_once():
    dimensions, _ = space.parse(["p.a=1,2,3", "p.b=0.1..0.2"])
    assert space.corners(dimensions) == [
        {"p.a": 1, "p.b": 0.1},
        {"p.a": 2, "p.b": 0.1},
        {"p.a": 3, "p.b": 0.1},
        {"p.a": 1, "p.b": 0.2},
    ]

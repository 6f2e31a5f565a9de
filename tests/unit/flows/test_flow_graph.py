"""The graph read from DVC: order, selection, and what is said about stages that do not exist."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputProblem
from core.layout import slug
from flows.pipeline.graph import Graph, parse

DOT = """strict digraph {
"data/raw.dvc";
"curate";
"pretrain";
"evaluate@base";
"evaluate@assistant";
"tune";
"data/raw.dvc" -> "curate";
"curate" -> "pretrain";
"pretrain" -> "evaluate@base";
"pretrain" -> "tune";
"tune" -> "evaluate@assistant";
}
"""


def test_parses_what_dvc_prints_and_leaves_tracked_files_out():
    graph = parse(DOT)
    assert graph.parents == {
        "curate": frozenset(),
        "pretrain": {"curate"},
        "evaluate@base": {"pretrain"},
        "tune": {"pretrain"},
        "evaluate@assistant": {"tune"},
    }


def test_the_longest_way_goes_first_among_equals():
    assert parse(DOT).order == ["curate", "pretrain", "tune", "evaluate@base", "evaluate@assistant"]


def test_until_keeps_what_a_stage_needs_and_from_what_needs_it():
    graph = parse(DOT)
    assert graph.select(until="tune") == ["curate", "pretrain", "tune"]
    assert graph.select(start="tune") == ["tune", "evaluate@assistant"]
    assert graph.select(until="tune", start="pretrain") == ["pretrain", "tune"]


def test_a_foreach_group_means_all_its_instances():
    assert parse(DOT).select(until="evaluate") == parse(DOT).order


def test_every_unknown_stage_is_told_at_once_with_what_is_near():
    with pytest.raises(InputProblem) as caught:
        parse(DOT).select(until="pretrian", start="zzz")
    until, start = caught.value.problems
    assert "--until: no stage called 'pretrian'; did you mean 'pretrain'?" in until
    assert "--from: no stage called 'zzz'; there are: curate, pretrain" in start


def test_nothing_between_two_stages_is_a_problem():
    with pytest.raises(InputProblem, match="does not descend from"):
        parse(DOT).select(until="evaluate@base", start="tune")


def test_slugs_are_file_names():
    assert slug("evaluate@base") == "evaluate-base"


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 12))
    parents = {}
    for child in range(size):
        above = draw(st.sets(st.integers(0, child - 1), max_size=child)) if child else set()
        parents[f"s{child}"] = frozenset(f"s{parent}" for parent in above)
    names = draw(st.permutations(list(parents)))
    return Graph({name: parents[name] for name in names})


@given(graphs())
def test_order_is_topological_and_complete(graph):
    assert sorted(graph.order) == sorted(graph.parents)
    for stage, parents in graph.parents.items():
        assert all(graph.order.index(parent) < graph.order.index(stage) for parent in parents)


@given(graphs(), st.data())
def test_a_selection_never_misses_a_parent(graph, data):
    until = data.draw(st.sampled_from(graph.order))
    chosen = set(graph.select(until=until))
    assert all(graph.parents[stage] <= chosen for stage in chosen)
    start = data.draw(st.sampled_from(graph.order))
    chosen = set(graph.select(start=start))
    assert all(graph.children[stage] <= chosen for stage in chosen)

"""No group and no pair of near-duplicates straddles a boundary; shares come out; nothing moves without cause."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.curate.documents import identifier
from components.curate.parameters import SplitParameters
from components.curate.splitting import Clusters, divide
from core.errors import InputProblem

PARAMETERS = SplitParameters(validation=0.1, test=0.1)


def identifiers(count: int) -> list[str]:
    return [identifier(str(number)) for number in range(count)]


@st.composite
def corpora(draw):
    count = draw(st.integers(3, 80))
    groups = draw(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count))
    number = st.integers(0, count - 1)
    links = draw(st.lists(st.tuples(number, number), max_size=10))
    return groups, sizes, links


@given(corpora(), st.integers(0, 5))
def test_no_group_and_no_link_straddles_a_boundary(corpus, seed):
    groups, sizes, links = corpus
    try:
        assignment = divide(identifiers(len(groups)), groups, sizes, links, PARAMETERS, seed)
    except InputProblem:
        clusters = Clusters(len(groups))
        for number, group in enumerate(groups):
            clusters.join(groups.index(group), number)
        for one, other in links:
            clusters.join(one, other)
        assert len({clusters.find(number) for number in range(len(groups))}) < 3
        return
    assert len(assignment.splits) == len(groups)
    assert set(assignment.splits) == {"train", "validation", "test"}
    for group in set(groups):
        assert len({split for split, name in zip(assignment.splits, groups, strict=True) if name == group}) == 1
    for one, other in links:
        assert assignment.splits[one] == assignment.splits[other]


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_come_out_for_many_small_groups(seed):
    count = 4000
    assignment = divide(identifiers(count), [str(n) for n in range(count)], [1] * count, [], PARAMETERS, seed)
    for split in ("validation", "test"):
        assert 0.07 < assignment.splits.count(split) / count < 0.13


def test_new_groups_move_no_old_one_and_the_seed_moves_many():
    old, new = 900, 1000
    one = divide(identifiers(old), [str(n) for n in range(old)], [1] * old, [], PARAMETERS, 1).splits
    more = divide(identifiers(new), [str(n) for n in range(new)], [1] * new, [], PARAMETERS, 1).splits
    assert more[:old] == one
    assert divide(identifiers(old), [str(n) for n in range(old)], [1] * old, [], PARAMETERS, 2).splits != one


def test_a_huge_cluster_goes_to_train_and_is_reported():
    groups = ["huge"] * 50 + [str(n) for n in range(100)]
    for seed in range(20):
        assignment = divide(identifiers(150), groups, [100] * 50 + [10] * 100, [], PARAMETERS, seed)
        assert assignment.splits[0] == "train"
        assert (assignment.largest_documents, assignment.largest_groups) == (50, ["huge"])
        assert assignment.largest_share == pytest.approx(5000 / 6000)
        assert assignment.outsized == 1


def test_no_held_out_share_means_no_held_out_document():
    no_shares = SplitParameters().model_copy(update={"validation": 0.0, "test": 0.0})
    assignment = divide(identifiers(3), ["a", "b", "c"], [1, 1, 1], [], no_shares, 1)
    assert assignment.splits == ["train"] * 3


def test_too_few_groups_are_a_problem_that_says_what_to_do():
    with pytest.raises(InputProblem, match="group_column"):
        divide(identifiers(9), ["one"] * 9, [1] * 9, [], PARAMETERS, 1)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_clusters_are_the_connected_components(pairs):
    assume(pairs)
    clusters = Clusters(20)
    sets = [{n} for n in range(20)]
    for one, other in pairs:
        clusters.join(one, other)
        joined = next(s for s in sets if one in s) | next(s for s in sets if other in s)
        sets = [s for s in sets if not s & joined] + [joined]
    for one in range(20):
        assert {n for n in range(20) if clusters.find(n) == clusters.find(one)} == next(s for s in sets if one in s)

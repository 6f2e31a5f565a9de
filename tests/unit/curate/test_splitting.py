"""No group and no pair of near-duplicates straddles a boundary; shares come out; nothing moves without cause."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.curate import splitting
from components.curate.deduplication.decisions import as_numbers
from components.curate.documents import identifier
from components.curate.parameters import SplitParameters
from components.curate.splitting import NONE, SPLITS, divide
from core.errors import InputProblem

PARAMETERS = SplitParameters(validation=0.1, test=0.1)


def divided(groups, sizes, links, parameters, seed, taking=None):
    """The assignment of documents that have these groups, and the name of each one's split."""
    first = {}
    with tempfile.TemporaryDirectory() as folder:
        found = divide(
            as_numbers(pa.array([identifier(str(number)) for number in range(len(groups))], pa.string())),
            np.array([first.setdefault(group, number) for number, group in enumerate(groups)], np.uint32),
            np.array(sizes, np.uint32),
            np.array(taking or [1] * len(groups), np.uint8),
            np.array(links, np.uint32).reshape(-1, 2),
            parameters,
            seed,
            Path(folder, "splits"),
        )
        return found, [None if split == NONE else SPLITS[split] for split in found.splits.tolist()]


def components(count, pairs):
    """Sets of the numbers that pairs join."""
    sets = [{number} for number in range(count)]
    for one, other in pairs:
        joined = next(s for s in sets if one in s) | next(s for s in sets if other in s)
        sets = [s for s in sets if not s & joined] + [joined]
    return sets


@st.composite
def corpora(draw):
    count = draw(st.integers(3, 80))
    groups = draw(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=count, max_size=count))
    sizes = draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count))
    number = st.integers(0, count - 1)
    links = draw(st.lists(st.tuples(number, number), max_size=10))
    return groups, sizes, links


@given(corpora(), st.integers(0, 5), st.data())
def test_no_group_and_no_link_straddles_a_boundary(corpus, seed, data):
    groups, sizes, links = corpus
    count = len(groups)
    taking = data.draw(st.one_of(st.none(), st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    part = [number for number in range(count) if not taking or taking[number]]
    pairs = [(one, other) for one, other in links if one in part and other in part]
    pairs += [(one, other) for one in part for other in part if groups[one] == groups[other]]
    clusters = [cluster for cluster in components(count, pairs) if cluster <= {*part}]
    try:
        assignment, splits = divided(groups, sizes, links, PARAMETERS, seed, taking)
    except InputProblem:
        assert len(clusters) < 3
        return
    assert assignment.clusters == len(clusters)
    assert [number for number, split in enumerate(splits) if split] == part
    assert not part or {splits[number] for number in part} == set(SPLITS)
    for cluster in clusters:
        assert len({splits[number] for number in cluster}) == 1
        assert {int(assignment.roots[number]) for number in cluster} == {min(cluster)}


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_come_out_for_many_small_groups(seed):
    count = 4000
    _, splits = divided(list(range(count)), [1] * count, [], PARAMETERS, seed)
    for split in ("validation", "test"):
        assert 0.07 < splits.count(split) / count < 0.13


def test_new_groups_move_no_old_one_and_the_seed_moves_many():
    old, new = 900, 1000
    _, one = divided(list(range(old)), [1] * old, [], PARAMETERS, 1)
    _, more = divided(list(range(new)), [1] * new, [], PARAMETERS, 1)
    assert more[:old] == one
    assert divided(list(range(old)), [1] * old, [], PARAMETERS, 2)[1] != one


def test_a_huge_cluster_goes_to_train_and_is_reported():
    groups = ["huge"] * 50 + [str(n) for n in range(100)]
    for seed in range(20):
        assignment, splits = divided(groups, [100] * 50 + [10] * 100, [], PARAMETERS, seed)
        assert splits[0] == "train"
        assert (assignment.largest_documents, assignment.largest) == (50, 0)
        assert assignment.largest_share == pytest.approx(5000 / 6000)
        assert assignment.outsized == 1


def test_no_held_out_share_means_no_held_out_document():
    no_shares = SplitParameters().model_copy(update={"validation": 0.0, "test": 0.0})
    assert divided(["a", "b", "c"], [1, 1, 1], [], no_shares, 1)[1] == ["train"] * 3


def test_too_few_groups_are_a_problem_that_says_what_to_do():
    with pytest.raises(InputProblem, match="group_column"):
        divided(["one"] * 9, [1] * 9, [], PARAMETERS, 1)


def test_compiled_code_in_small_blocks_divides_alike(monkeypatch):
    random = np.random.default_rng(3)
    given = (random.integers(0, 400, 900).tolist(), random.integers(1, 99, 900).tolist(),
             random.integers(0, 900, (60, 2)).tolist(), PARAMETERS, 4, random.integers(0, 2, 900).tolist())  # fmt: skip
    found, splits = divided(*given)
    monkeypatch.setattr(splitting, "WORTH_COMPILING", 0)
    monkeypatch.setattr(splitting, "_BLOCK", 64)
    again, splits_again = divided(*given)
    assert splits_again == splits
    assert (again.clusters, again.largest, again.largest_share) == (found.clusters, found.largest, found.largest_share)

"""Two corpora: what came, went, changed and moved, whatever the order and the number of buckets."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.corpora import difference as module
from components.corpora.changes import ADDED, REMOVED, SAME, changes
from components.corpora.difference import difference
from tests.unit.corpora.corpus import document, write


def test_every_document_is_the_same_came_went_changed_or_moved(tmp_path):
    stays = [document(f"stays {n}", f"s{n}") for n in range(4)]
    before = write(
        tmp_path / "a",
        {"train": [*stays, document("old text", "changes"), document("goes", "g"), document("moves", "m")]},
    )
    after = write(
        tmp_path / "b",
        {
            "train": [document("new text", "changes"), document("comes", "c", "web"), *stays[::-1]],
            "test": [document("moves", "m")],
        },
    )
    found = difference(before, after, 5)
    assert found.documents == (7, 7)
    assert (found.same, found.came, found.went, found.changed, found.moved) == (4, 1, 1, 1, 1)
    assert found.by_split == {"train": {"came": 1, "went": 1, "changed": 1}, "test": {"moved": 1}}
    assert found.by_source == {"web": {"came": 1}, "files": {"changed": 1, "moved": 1, "went": 1}}
    texts = {kind: [tuple(r and r["text"] for r in pair) for pair in pairs] for kind, pairs in found.samples.items()}
    assert texts == {
        "came": [(None, "comes")], "went": [("goes", None)], "changed": [("old text", "new text")],
        "moved": [("moves", "moves")],
    }  # fmt: skip


def test_a_text_that_is_there_several_times_is_counted_so_often(tmp_path):
    once, thrice = document("again", "x"), [document("again", f"x{n}") for n in range(3)]
    found = difference(write(tmp_path / "a", {"train": [once]}), write(tmp_path / "b", {"train": thrice}), 0)
    assert (found.same, found.came, found.went) == (1, 2, 0)
    assert found.samples["came"] == []


@pytest.mark.parametrize("most", [1, 7])
def test_the_result_is_that_of_sets_in_memory(tmp_path, monkeypatch, most):
    """Against counters of all documents, with buckets that hold a few documents each."""
    draw = random.Random(most)
    corpora = [[document(f"text {draw.randrange(40)}", f"o{draw.randrange(30)}") for _ in range(60)] for _ in range(2)]
    one, other = (write(tmp_path / str(n), {"train": rows}) for n, rows in enumerate(corpora))
    whole = difference(one, other, 60)
    monkeypatch.setattr(module, "IN_MEMORY", most)
    assert difference(one, other, 60) == whole
    counts = [Counter(row["id"] for row in rows) for rows in corpora]
    assert whole.same == (counts[0] & counts[1]).total()
    assert whole.changed + whole.went == (counts[0] - counts[1]).total()
    assert whole.changed + whole.came == (counts[1] - counts[0]).total()


@given(st.text("ab \n", max_size=60), st.text("ab \n", max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_parts_make_up_both_texts(before, after):
    parts = changes(before, after, around=1000)
    assert "".join(text for text, sign in parts if sign in (SAME, REMOVED)) == before
    assert "".join(text for text, sign in parts if sign in (SAME, ADDED)) == after


def test_equal_stretches_are_shortened():
    text = "word " * 200
    assert changes(f"{text}one {text}", f"{text}two {text}", around=10) == [
        (f" [...] {text[-10:]}", SAME), ("one", REMOVED), ("two", ADDED), (" word word [...] ", SAME),
    ]  # fmt: skip

"""Documents are counted by content: copies, other names, other orders and other containers are nothing new."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from core import bounded
from core.errors import InputProblem
from flows.retraining.documents import Content, unseen

ROWS = [{"text": f"row {number}"} for number in range(6)]


def lines(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def content(folder, name: str, body: bytes) -> Content:
    (folder / name).write_bytes(body)
    return Content(name, folder / name)


@pytest.fixture
def parquet(tmp_path):
    def write(name: str, rows) -> Content:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        return Content(name, tmp_path / name)

    return write


def test_rows_of_each_kind_of_file(tmp_path, parquet):
    kinds = [
        content(tmp_path, "a.jsonl", lines(ROWS) + b"\n\n"),
        content(tmp_path, "a.jsonl.gz", gzip.compress(lines(ROWS))),
        content(tmp_path, "a.jsonl.zst", zstandard.compress(lines(ROWS))),
        content(tmp_path, "a.csv", b'text,n\n"one\ntwo",1\nthree,2\nthree,2\n'),
        content(tmp_path, "a.json", json.dumps(ROWS).encode()),
        content(tmp_path, "a.txt", b"one\n\ntwo\n"),
        parquet("a.parquet", ROWS),
    ]
    assert [unseen([kind], []) for kind in kinds] == [6, 6, 6, 2, 6, 1, 6]
    assert [unseen([kind], [kind]) for kind in kinds] == [0] * 7


def test_only_rows_that_no_known_file_holds_count(tmp_path):
    known = [content(tmp_path, "old.jsonl", lines(ROWS[:3])), content(tmp_path, "older.jsonl", lines(ROWS[3:4]))]
    grown = content(tmp_path, "grown.jsonl", lines([*reversed(ROWS), ROWS[0]]))
    assert unseen([grown], known) == 2
    assert unseen([grown, content(tmp_path, "again.jsonl", lines(ROWS))], known) == 2
    assert unseen([content(tmp_path, "shuffled.jsonl.gz", gzip.compress(lines(ROWS[3::-1])))], known) == 0


@given(known=st.lists(st.integers(0, 30)), new=st.lists(st.integers(0, 30)))
def test_it_is_the_difference_of_sets(tmp_path_factory, known, new):
    folder = tmp_path_factory.mktemp("sets")
    here, there = (
        content(folder, name, lines({"n": n} for n in rows)) for name, rows in (("k.jsonl", known), ("n.jsonl", new))
    )
    assert unseen([there], [here]) == len(set(new) - set(known))


def test_every_file_that_cannot_be_read_is_told(tmp_path):
    broken = [
        content(tmp_path, "a.jsonl.gz", gzip.compress(lines(ROWS))[:-12]),
        content(tmp_path, "b.parquet", b"no parquet"),
        content(tmp_path, "c.json", b"{"),
        content(tmp_path, "d.jsonl.zst", b"no zstandard"),
    ]
    with pytest.raises(InputProblem) as problem:
        unseen(broken, [])
    assert [line.split(":")[0] for line in problem.value.problems] == [each.name for each in broken]


def test_a_parquet_file_made_to_fill_the_memory_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "ALWAYS_ALLOWED", 1 << 20)
    # One page of spaces, packed 20,000 to 1.
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": [" " * (2 << 20)]}), path, compression="zstd", use_dictionary=False)
    with pytest.raises(InputProblem, match=r"bomb\.parquet: .*pages unpack to more than"):
        unseen([Content(path.name, path)], [])

"""The corpus is encoded in parts: by any number of processes, and not again where a part is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import components
from components.tokenize import corpus, encoded
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.tokenize.stdlib_corpus import made_by_tokenize, write_parts

COMPONENT = components.load("tokenize")
MIXED = {"vocabulary_size": 400, "mixture": {"by": "kind", "epochs": {"docstring": 1.5}}}


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """A corpus of several parts."""
    monkeypatch.setattr(corpus, "PART_BYTES", 20_000)
    write_parts(tmp_path)
    return tmp_path


def test_the_same_bytes_with_one_process_and_with_two(workspace):
    run_component(COMPONENT, workspace, MIXED | {"engine": {"workers": 1}})
    expected = made_by_tokenize(workspace)
    run_component(COMPONENT, workspace, MIXED | {"engine": {"workers": 2}})
    assert made_by_tokenize(workspace) == expected


def test_a_stage_that_was_ended_goes_on_behind_the_finished_parts(workspace, monkeypatch):
    run_component(COMPONENT, workspace, MIXED)
    expected, encode, found = made_by_tokenize(workspace), encoded.encode, []

    def ended(orders, part):
        if len(list(orders.folder.glob("*.arrow"))) == 3:
            raise KeyboardInterrupt
        return encode(orders, part)

    def watched(orders, part):
        before = set(orders.folder.glob("*.arrow"))
        path = encode(orders, part)
        found.append(path in before)
        return path

    monkeypatch.setattr(encoded, "encode", ended)
    with pytest.raises(KeyboardInterrupt):
        run_component(COMPONENT, workspace, MIXED)
    monkeypatch.setattr(encoded, "encode", watched)
    run_component(COMPONENT, workspace, MIXED)
    assert found == [True] * 3 + [False] * (len(found) - 3) and len(found) > 4
    assert made_by_tokenize(workspace) == expected
    assert not list((workspace / "scratch/tokenize").iterdir())


def test_parts_cover_the_split_and_name_the_row_without_text(workspace):
    parts = list(corpus.parts(workspace / "data/corpus", "train"))
    read = [text for part in parts for batch in corpus.batches(part, 7) for text in batch["text"].to_pylist()]
    path = workspace / "data/corpus/train-00000-of-00001.parquet"
    assert len(parts) > 2 and read == pq.read_table(path)["text"].to_pylist()
    assert sum(part.documents for part in parts) == len(read)
    pq.write_table(pa.table({"text": [*read, None], "kind": ["file"] * (len(read) + 1)}), path, row_group_size=20)
    last = list(corpus.parts(workspace / "data/corpus", "train"))[-1]
    with pytest.raises(InputProblem, match=f"1 rows have no text, the first is row {len(read)}"):
        list(corpus.batches(last, 1024))


def test_another_machine_must_have_the_same_encoders(tmp_path):
    orders = encoded.EncodingOrders(
        tmp_path, "tokenizer.json", 0, True, "<u2", 1024, (), threads=False, elsewhere=True, versions="tokenizers 0.1"
    )
    part = corpus.CorpusPart("train", tmp_path / "train-00000.parquet", 0, 1, 1, 1)
    with pytest.raises(InputProblem, match=r"has tokenizers .*tokenizers 0\.1: install the same on all machines"):
        encoded.encode(orders, part)
    with pytest.raises(FileNotFoundError):
        encoded.encode(replace(orders, elsewhere=False), part)

"""Datasets by ``load_dataset``, streamed and not, from a local folder; what cannot be loaded is reported."""

import json

import pytest

from core.errors import InputProblem
from tests.unit.curate.test_curate_files import all_rows, put, report
from tests.unit.curate.workspace import curate, sentence


@pytest.fixture
def folder(tmp_path, monkeypatch) -> str:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"body": sentence(n), "page": n % 10} for n in range(40)]
    put(tmp_path, "books/train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return "data/raw/books"


@pytest.mark.parametrize("streaming", [True, False])
def test_a_local_folder_is_read(tmp_path, monkeypatch, folder, streaming):
    source = {"type": "huggingface", "id": folder, "streaming": streaming, "text_column": "body", "license": "MIT"}
    context = curate(tmp_path, [{**source, "group_column": "page"}], monkeypatch)
    rows = all_rows(context)
    assert sorted(row["text"] for row in rows) == sorted(sentence(n) for n in range(40))
    assert {row["license"] for row in rows} == {"MIT"}
    assert len({row["group"] for row in rows}) == 10
    assert f"huggingface {folder}" in report(context)["notes"]


def test_what_cannot_be_loaded_is_reported(tmp_path, monkeypatch, folder):
    sources = [
        {"type": "huggingface", "id": folder},
        {"type": "huggingface", "id": folder, "split": "nothere", "text_column": "body"},
    ]
    with pytest.raises(InputProblem) as caught:
        curate(tmp_path, sources, monkeypatch)
    assert len(caught.value.problems) == 2
    assert "has no column 'text'; it has 'body', 'page'" in caught.value.problems[0]
    assert "nothere" in caught.value.problems[1]
    with pytest.raises(InputProblem, match="no folder 'data/raw/missing'"):
        curate(tmp_path, [{"type": "huggingface", "id": "data/raw/missing"}], monkeypatch)

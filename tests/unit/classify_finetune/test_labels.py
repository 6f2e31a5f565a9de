"""Label files: every problem at once, each naming its file and row."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.classify_finetune.labels import SPLITS, read_labels
from core.errors import InputProblem

GOOD = [("a text", "x", "m1"), ("another text", "y", "m2")]


def write(folder, rows=None, names=("x", "y"), **splits):
    folder.mkdir(exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(list(names)))
    schema = pa.schema([(column, pa.string()) for column in ("text", "label", "group")])
    for split in SPLITS:
        found = splits.get(split, GOOD if rows is None else rows)
        columns = [dict(zip(schema.names, row, strict=True)) for row in found]
        pq.write_table(pa.Table.from_pylist(columns, schema=schema), folder / f"{split}.parquet")
    return folder


def problems(folder):
    with pytest.raises(InputProblem) as caught:
        read_labels(folder)
    return caught.value.problems


def test_labels_become_places_in_the_list_of_names(tmp_path):
    data = read_labels(write(tmp_path / "labels", names=("y", "x")))
    assert data.names == ["y", "x"]
    assert data.train.labels.tolist() == [1, 0]
    assert data.test.groups == ["m1", "m2"]
    assert data.untaught() == []


def test_a_label_without_training_texts_is_told(tmp_path):
    data = read_labels(write(tmp_path / "labels", names=("x", "y", "z"), test=[*GOOD, ("third", "z", "m3")]))
    assert data.untaught() == ["z"]


def test_one_class_cannot_be_learnt(tmp_path):
    (problem,) = problems(write(tmp_path / "labels", train=[("a", "x", "m"), ("b", "x", "m")]))
    assert "one class only ('x')" in problem and "train.parquet" in problem


def test_no_labels_at_all_says_what_to_do(tmp_path):
    (problem,) = problems(write(tmp_path / "labels", rows=[], names=()))
    assert "curate.labels" in problem


def test_every_problem_is_named_at_once(tmp_path):
    folder = write(
        tmp_path / "labels",
        train=[(" ", "x", "m"), ("text", "unlisted", "m"), ("text", "x", None)],
        validation=[(None, "x", "m")] * 8,
    )
    (folder / "test.parquet").write_bytes(b"no parquet")
    found = problems(folder)
    assert any("train.parquet: row 1 has no text" in problem for problem in found)
    assert any("train.parquet: row 2 has the label 'unlisted'" in problem for problem in found)
    assert any("train.parquet: row 3 has no group" in problem for problem in found)
    assert any("validation.parquet: ... and 3 more" in problem for problem in found)
    assert any("test.parquet is missing or no parquet file" in problem for problem in found)


def test_missing_columns_and_empty_splits(tmp_path):
    folder = write(tmp_path / "labels", validation=[])
    assert any("validation.parquet has no rows" in problem for problem in problems(folder))
    pq.write_table(pa.table({"content": ["a"]}), folder / "train.parquet")
    assert any("lacks the columns text, label, group; it has content" in problem for problem in problems(folder))


def test_unreadable_list_of_labels(tmp_path):
    folder = write(tmp_path / "labels")
    (folder / "labels.json").write_text('["x", "x"]')
    assert any("different label names" in problem for problem in problems(folder))
    (folder / "labels.json").unlink()
    assert any("labels.json cannot be read" in problem for problem in problems(folder))

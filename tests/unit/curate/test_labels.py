"""Labelled texts: topics split by module, the user's files split by text."""

from __future__ import annotations

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.curate.parameters import LabelsParameters
from components.curate.supervised.labels import build
from components.tasks.topics import FAMILIES, deal, topic_of
from core.errors import InputProblem

SPLITS = ("train", "validation", "test")


def silent(message: str) -> None:
    """For tests that are not about warnings."""


def corpus(modules: int = 12, texts: int = 15) -> list[dict]:
    """Docstrings of ``modules`` submodules in each of three topics."""
    return [
        {
            "kind": "docstring",
            "group": f"{package}.m{m}",
            "text": f"What {package} part {m} does in its step {t}, told at length.",
        }
        for package in ("asyncio", "email", "tkinter")
        for m in range(modules)
        for t in range(texts)
    ]


def tables(folder) -> dict[str, list[dict]]:
    return {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in SPLITS}


def test_topics_are_split_by_module(tmp_path):
    noise = [
        {"kind": "comment", "group": "asyncio.m1", "text": "a comment of enough characters to be taken for one"},
        {"kind": "docstring", "group": "asyncio.m1", "text": "short"},
        {"kind": "docstring", "group": "ctypes.util", "text": "a docstring of a module that belongs to no topic"},
        corpus()[0],
    ]
    report = build(LabelsParameters(), corpus() + noise, 5, tmp_path, tmp_path, silent)
    found = tables(tmp_path)
    assert json.loads((tmp_path / "labels.json").read_text()) == ["concurrency", "gui", "network and mail"]
    assert sum(map(len, found.values())) == len(corpus())
    home: dict[str, str] = {}
    for split in SPLITS:
        assert {row["label"] for row in found[split]} == set(report["labels"])
        for row in found[split]:
            assert home.setdefault(row["group"], split) == split
            assert topic_of(row["group"]) == row["label"]
    assert 0.15 <= len(found["test"]) / len(corpus()) <= 0.25
    assert report["left_out"] == {
        "module of no topic": 1, "same text seen before": 1, "shorter than min_characters": 1,
    }  # fmt: skip
    assert report["modules_of_no_topic"] == {"ctypes": 1}


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        build(LabelsParameters(), corpus(), seed, tmp_path / name, tmp_path, silent)
    a, b, c = ((tmp_path / name / "test.parquet").read_bytes() for name in "abc")
    assert a == b != c


def test_a_topic_with_too_few_modules_is_left_out_and_reported(tmp_path):
    few = [
        {"kind": "docstring", "group": "turtle", "text": f"the only module of its topic, its docstring number {n}"}
        for n in range(90)
    ]
    documents = [row for row in corpus() if not row["group"].startswith("tkinter")] + few
    report = build(LabelsParameters(), documents, 1, tmp_path, tmp_path, silent)
    assert report["topics_left_out"] == ["gui"] and "gui" not in report["labels"]
    assert report["left_out"]["topic with too few texts or modules"] == 90


def test_a_corpus_without_topics_is_a_problem_and_none_is_not(tmp_path):
    with pytest.raises(InputProblem, match="fewer than two topics"):
        build(LabelsParameters(), [], 1, tmp_path, tmp_path, silent)
    report = build(LabelsParameters(source="none"), corpus(), 1, tmp_path, tmp_path, silent)
    assert report["labels"] == [] and not any(tables(tmp_path).values())


@given(
    st.dictionaries(st.text(max_size=5), st.integers(1, 400), min_size=1, max_size=30),
    st.integers(0, 50),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
)
def test_no_held_out_split_is_overfilled(sizes, seed, validation, test):
    shares = {"validation": validation, "test": test}
    split_of = deal(sizes, shares, seed)
    assert set(split_of) == set(sizes)
    for split, share in shares.items():
        held_out = sum(n for module, n in sizes.items() if split_of[module] == split)
        assert held_out <= 1.25 * share * sum(sizes.values()) + 1e-6


def test_a_module_has_one_topic():
    listed = Counter(module for modules in FAMILIES.values() for module in modules)
    assert not [module for module, times in listed.items() if times > 1]


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    return tmp_path / "data" / "raw"


def files(**values) -> LabelsParameters:
    return LabelsParameters(source="files", **{"files": ["data/raw/*"], **values})


def test_labels_of_the_users_files(raw, tmp_path):
    (raw / "a.csv").write_text("body,class\n" + "".join(f"text {n},{'good' if n % 2 else 'bad'}\n" for n in range(200)))
    rows = [{"body": f"text {n}", "class": "good" if n % 2 else "bad"} for n in range(100, 300)]
    pq.write_table(pa.Table.from_pylist(rows), raw / "b.parquet")
    (raw / "c.jsonl").write_text("".join(json.dumps({"body": f"more {n}", "class": n % 2}) + "\n" for n in range(150)))
    report = build(files(text_column="body", label_column="class"), [], 1, tmp_path, tmp_path, silent)
    found = tables(tmp_path)
    assert report["labels"] == ["0", "1", "bad", "good"] and sum(map(len, found.values())) == 550
    home: dict[str, str] = {}
    for split in SPLITS:
        for row in found[split]:
            assert home.setdefault(row["text"], split) == split
    assert set(report["files"]) == {"data/raw/a.csv", "data/raw/b.parquet", "data/raw/c.jsonl"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n" + "a,x\n" * 50, "has the label 'x': a classifier needs two or more classes"),
        ("text,label\na,x\nb,y\n,y\nc\nd,\n", "3 of 5 rows.*line 4: 'text' is empty.*line 5: has 1 fields"),
        ("body,label\na,x\nb,y\n", "has no column 'text'; it has 'body', 'label': name one of them in curate.labels"),
        ("text,label\na,x\nb,y\n", "no training rows of|leave none for"),
        ("text,label\n", "no rows"),
    ],
)
def test_label_files_that_cannot_be_used(raw, tmp_path, content, message):
    (raw / "labels.csv").write_text(content)
    with pytest.raises(InputProblem, match=message):
        build(files(), [], 1, tmp_path, tmp_path, silent)
    assert not list(tmp_path.glob("*.parquet"))


def test_label_file_problems_come_together(raw, tmp_path):
    (raw / "a.jsonl").write_text("nonsense\n")
    (raw / "b.txt").write_text("x")
    with pytest.raises(InputProblem) as caught:
        build(files(files=["data/raw/*", "data/raw/../x.csv"]), [], 1, tmp_path, tmp_path, silent)
    assert len(caught.value.problems) == 3


def test_few_broken_label_rows_are_tolerated(raw, tmp_path):
    rows = [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(300)] + [{"text": "t", "label": 1.5}]
    (raw / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = build(files(), [], 1, tmp_path, tmp_path, silent)
    (example,) = report["files"]["data/raw/a.jsonl"]["examples"]
    assert example == "line 301: 'label' must be text or a whole number, not 1.5"


def warnings_of(raw, tmp_path, rows: list[dict], **values) -> list[str]:
    (raw / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    warnings: list[str] = []
    build(files(**values), [], 1, tmp_path, tmp_path, warnings.append)
    return warnings


def test_whole_numbers_that_a_data_frame_made_floats_are_class_numbers(raw, tmp_path):
    assert warnings_of(raw, tmp_path, [{"text": f"t{n}", "label": float(n % 2)} for n in range(300)]) == []
    assert json.loads((tmp_path / "labels.json").read_text()) == ["0", "1"]


def test_what_misleads_is_warned_of(raw, tmp_path):
    rows = [{"text": f"t{n}", "label": "ab"[n % 2], "body": "some words of text"} for n in range(300)]
    rows += [{"text": "t0", "label": "b"}, {"text": "r", "label": "rare"}, {"label": "a"}]
    assert warnings_of(raw, tmp_path, rows) == [
        "data/raw/a.jsonl: 1 of 303 rows could not be used; examples are in the report",
        "data/raw/a.jsonl: not used, though it looks like data: column 'body'",
        "curate.labels: 1 of 301 texts have more than one label, such as 't0' ('a', 'b'): no classifier can learn "
        "both; keep one",
        *(
            f"curate.labels: the {split} split has no row of 1 of 3 classes ('rare'): its metrics say nothing about "
            "them; add rows of these classes"
            for split in ("validation", "test")
        ),
    ]


def test_hidden_files_are_left_out(raw, tmp_path):
    (raw / "._a.jsonl").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    rows = [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(300)]
    assert warnings_of(raw, tmp_path, rows, files=["data/raw/*.jsonl"]) == []


def test_parameters_must_name_files():
    with pytest.raises(ValidationError, match="give at least one glob"):
        LabelsParameters(source="files")

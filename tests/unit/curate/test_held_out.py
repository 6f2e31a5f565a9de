"""A held-out set that stays: new data neither changes it nor brings anything like it into training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.errors import InputProblem
from tests.unit.curate.workspace import curate, sentence

SOURCES = [{"type": "files", "paths": ["data/raw/texts/*.jsonl"]}]
# A share of text that many documents are in, so that growth moves the places by which they are divided.
SPLIT = {"validation": 0.1, "test": 0.2}


def write(workspace: Path, name: str, texts: list[str]) -> None:
    folder = workspace / "data/raw/texts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def corpus(context, split: str) -> list[dict]:
    files = sorted(context.outputs["corpus"].glob(f"{split}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def near(text: str) -> str:
    """The text with some words more: alike, yet no copy."""
    return text.replace("are described", "have often been described and explained by others")


@pytest.fixture
def grown(tmp_path, monkeypatch):
    """(first corpus, its test texts, a workspace with its test split kept and new data beside)."""
    write(tmp_path, "m.jsonl", [sentence(number) for number in range(200)])
    first = curate(tmp_path, SOURCES, monkeypatch, split=SPLIT)
    held = [row["text"] for row in corpus(first, "test")]
    shutil.copytree(first.outputs["corpus"], tmp_path / "before")
    folder = tmp_path / "data/raw/held_out"
    folder.mkdir()
    for file in first.outputs["corpus"].glob("test-*.parquet"):
        shutil.copy(file, folder)
    # Read before the old file: so the old documents are the later copies of what resembles them.
    write(tmp_path, "a.jsonl", [near(text) for text in held] + [sentence(number) for number in range(1000, 1300)])
    return held, tmp_path


def test_the_split_stays_to_the_byte_and_nothing_like_it_is_trained_on(grown, monkeypatch):
    held, workspace = grown
    kept = {**SPLIT, "held_out": ["data/raw/held_out/test-*.parquet"]}
    after = curate(workspace, SOURCES, monkeypatch, split=kept)
    (before,) = (workspace / "before").glob("test-*.parquet")
    assert (after.outputs["corpus"] / before.name).read_bytes() == before.read_bytes()
    learnt = {row["text"] for split in ("train", "validation") for row in corpus(after, split)}
    assert not learnt & {*held, *map(near, held)}
    assert {sentence(number) for number in range(1000, 1300)} <= learnt
    assert not {row["text"] for row in corpus(after, "test")} - set(held)
    rules = {row["rule"]: row["dropped"] for row in _report(after)["rules"]}
    assert rules.get("held_out_relative", 0) + rules.get("near_duplicate", 0) == len(held)


def test_without_it_documents_move_which_is_why_it_is_there(grown, monkeypatch):
    held, workspace = grown
    after = curate(workspace, SOURCES, monkeypatch, split=SPLIT)
    learnt = {row["text"] for split in ("train", "validation") for row in corpus(after, split)}
    assert learnt & {*held, *map(near, held)}


def test_siblings_of_a_held_out_document_stay_out_and_rows_in_its_old_place_do_not(tmp_path, monkeypatch):
    folder = tmp_path / "data/raw/texts"
    folder.mkdir(parents=True)
    rows = [{"text": sentence(number), "author": f"author {number // 2}"} for number in range(100)]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [{**SOURCES[0], "group_column": "author"}]
    first = curate(tmp_path, sources, monkeypatch, split=SPLIT)
    held = corpus(first, "test")
    (tmp_path / "data/raw/held_out").mkdir()
    for file in first.outputs["corpus"].glob("test-*.parquet"):
        shutil.copy(file, tmp_path / "data/raw/held_out")
    author = held[0]["group"].removeprefix("author=")
    more = [{"text": sentence(500), "author": author}, {"text": sentence(501), "author": "somebody new"}]
    (folder / "n.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    kept = {**SPLIT, "held_out": ["data/raw/held_out/*.parquet"]}
    after = curate(tmp_path, sources, monkeypatch, split=kept)
    everywhere = {row["text"] for split in ("train", "validation", "test") for row in corpus(after, split)}
    assert sentence(500) not in everywhere and sentence(501) in everywhere


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("elsewhere/*.parquet", "is not under data/raw/"),
        ("data/raw/held_out/*.parquet", "no file matches"),
        ("data/raw/texts/m.jsonl", "unknown kind of file; supported are parquet"),
    ],
)
def test_what_is_no_shard_is_refused(tmp_path, monkeypatch, pattern, problem):
    write(tmp_path, "m.jsonl", [sentence(number) for number in range(50)])
    with pytest.raises(InputProblem, match=problem):
        curate(tmp_path, SOURCES, monkeypatch, split={**SPLIT, "held_out": [pattern]})


def _report(context) -> dict:
    return json.loads((context.outputs["report"] / "report.json").read_text())


def test_what_repeats_an_earlier_corpus_is_left_out_and_that_corpus_too(tmp_path, monkeypatch):
    write(tmp_path, "m.jsonl", [sentence(number) for number in range(100)])
    first = curate(tmp_path, SOURCES, monkeypatch, split=SPLIT)
    shutil.copytree(first.outputs["corpus"], tmp_path / "data/raw/earlier")
    again = [sentence(number) for number in range(20)] + [near(sentence(number)) for number in range(20, 30)]
    write(tmp_path, "m.jsonl", again + [sentence(number) for number in range(1000, 1100)])
    against = {"against": ["data/raw/earlier/*.parquet"], "threshold": 0.6}
    after = curate(tmp_path, SOURCES, monkeypatch, split=SPLIT, deduplication=against)
    found = [row["text"] for split in ("train", "validation", "test") for row in corpus(after, split)]
    assert sorted(found) == sorted(sentence(number) for number in range(1000, 1100))
    report = _report(after)
    assert report["notes"]["deduplication.against"] == {"documents": 100, "repeated by new ones": 30}
    assert report["metrics"]["documents_read"] == 130
    assert {row["rule"]: row["dropped"] for row in report["rules"]} == {"exact_duplicate": 20, "near_duplicate": 10}
    assert all("of the earlier corpus" in each["reason"] for row in report["rules"] for each in row["examples"])


def test_against_must_name_shards(tmp_path, monkeypatch):
    write(tmp_path, "m.jsonl", [sentence(number) for number in range(50)])
    with pytest.raises(InputProblem, match=r"curate\.deduplication\.against: .*no file matches"):
        curate(tmp_path, SOURCES, monkeypatch, deduplication={"against": ["data/raw/earlier/*.parquet"]})

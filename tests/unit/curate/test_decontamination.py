"""Curated training texts against evaluation sets: removed, refused or reported, never silent."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import components.pages.curate
from core.errors import InputProblem
from tests.unit.curate.test_curate_files import all_rows, put, report
from tests.unit.curate.workspace import curate, sentence


def other(number: int) -> str:
    """A text of thirty words that no document has."""
    return " ".join(f"other{number}word{place}" for place in range(30))


BENCHMARK = [{"question": sentence(3), "choices": ["no", "yes"]}, {"question": other(0), "choices": ["x", "y"]}]


@pytest.fixture
def asked(tmp_path) -> dict:
    """Sixty documents, one of which a benchmark asks about, and an instruction that quotes another."""
    texts = [{"text": sentence(n)} for n in range(60)]
    path = put(tmp_path, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in texts))
    put(tmp_path, "bench.jsonl", "".join(json.dumps(row) + "\n" for row in BENCHMARK))
    return {"sources": [{"type": "files", "paths": [path]}], "against": ["data/raw/bench.jsonl"]}


def run(tmp_path: Path, monkeypatch, asked: dict, action: str):
    decontamination = {"action": action, "against": asked["against"]}
    return curate(tmp_path, asked["sources"], monkeypatch, decontamination=decontamination)


def written(context, name: str) -> list[dict]:
    text = (context.outputs["report"] / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)


def pair(context, training: str, evaluation: str) -> dict:
    pairs = written(context, "contamination.json")["pairs"]
    return next(each for each in pairs if (each["training"], each["evaluation"]) == (training, evaluation))


def test_reported_texts_stay_and_removed_ones_are_listed(tmp_path, monkeypatch, asked):
    before = run(tmp_path / "none", monkeypatch, prepared(tmp_path, "none", asked), "none")
    reported = run(tmp_path / "report", monkeypatch, prepared(tmp_path, "report", asked), "report")
    removed = run(tmp_path / "remove", monkeypatch, prepared(tmp_path, "remove", asked), "remove")

    assert all_rows(before) == all_rows(reported)
    assert not (before.outputs["report"] / "contamination.json").exists()
    found = pair(reported, "corpus/train", "data/raw/bench.jsonl")
    assert (found["items"], found["overlapping"], found["documents"], found["left"]) == (2, 1, 1, 1)
    assert any("data/raw/bench.jsonl overlap with corpus/train" in warning for warning in reported.warnings)

    (line,) = written(removed, "contamination.jsonl")
    assert (line["document"], line["item"]) == ("data/raw/rows.jsonl#4", "data/raw/bench.jsonl, line 1")
    assert line["rule"] == "exact" and line["removed"] and line["passage"] in sentence(3).lower().replace(".", "")
    assert {row["text"] for row in all_rows(before)} - {row["text"] for row in all_rows(removed)} == {sentence(3)}
    assert pair(removed, "corpus/train", "data/raw/bench.jsonl")["left"] == 0
    assert removed.warnings == []
    card = report(removed)
    (rule,) = [rule for rule in card["rules"] if rule["rule"] == "contaminated"]
    assert (rule["in"], rule["dropped"], rule["out"]) == (60, 1, 59)
    assert rule["examples"][0]["reason"] == "overlaps with data/raw/bench.jsonl (data/raw/bench.jsonl, line 1)"
    assert card["metrics"]["documents_kept"] == card["rules"][-1]["out"] == len(all_rows(removed))
    assert card["splits"]["train"]["documents"] == report(reported)["splits"]["train"]["documents"] - 1
    metrics = {metric.name: metric.value for metric in removed.metrics}
    assert (metrics["contamination"], metrics["contaminated_documents"]) == (0, 1)
    assert {metric.name: metric.value for metric in reported.metrics}["contamination"] == 0.5
    assert "data/raw/bench.jsonl" in components.pages.curate.render(removed.outputs["report"]).html()


def prepared(tmp_path: Path, name: str, asked: dict) -> dict:
    raw = tmp_path / name / "data/raw"
    raw.mkdir(parents=True)
    for path in (tmp_path / "data/raw").glob("*.jsonl"):
        (raw / path.name).write_bytes(path.read_bytes())
    return asked


def test_refused(tmp_path, monkeypatch, asked):
    with pytest.raises(InputProblem) as refused:
        run(tmp_path, monkeypatch, asked, "refuse")
    assert refused.value.problems[0].startswith(
        "corpus/train: data/raw/rows.jsonl#4 overlaps with data/raw/bench.jsonl (data/raw/bench.jsonl, line 1; exact): "
    )
    assert "curate.decontamination" in refused.value.problems[-1]


def test_rows_of_instructions_and_labels_are_removed(tmp_path, monkeypatch, asked):
    texts = [{"prompt": f"Which chapter has number {n}?", "completion": f"chapter {n}"} for n in range(200)]
    texts += [{"prompt": f"Repeat: {other(0)}", "completion": "done"}]
    labels = [{"text": other(n), "label": "ab"[n % 2]} for n in range(200)]
    put(tmp_path, "asks.jsonl", "".join(json.dumps(row) + "\n" for row in texts))
    put(tmp_path, "labels.jsonl", "".join(json.dumps(row) + "\n" for row in labels))
    put(tmp_path, "bench.txt", f"{other(4)}\n\n{other(5)}\n{other(6)}\n")
    context = curate(
        tmp_path,
        asked["sources"],
        monkeypatch,
        instructions={"source": "files", "files": {"instruct": ["data/raw/asks.jsonl"]}},
        labels={"source": "files", "files": ["data/raw/labels.jsonl"], "validation_share": 0.1, "test_share": 0.1},
        decontamination={"action": "remove", "against": ["data/raw/bench.*"]},
    )
    gone = {(line["training"].partition("/")[0], line["item"]) for line in written(context, "contamination.jsonl")}
    assert gone >= {("corpus", "data/raw/bench.jsonl, line 1"), ("labels", "data/raw/bench.txt, line 3")}
    left = "".join(path.read_text() for path in context.outputs["instructions"].glob("*.jsonl"))
    assert left.count(other(0)) == sum(
        path.read_text().count(other(0))
        for path in context.outputs["instructions"].glob("*.jsonl")
        if path.stem in ("development", "test")
    )
    train = pq.read_table(context.outputs["labels"] / "train.parquet")["text"].to_pylist()
    assert train and not {other(4), other(5), other(6)} & set(train)


def test_a_set_must_keep_something(tmp_path, monkeypatch, asked):
    put(tmp_path, "bench.jsonl", "".join(json.dumps({"text": sentence(n)}) + "\n" for n in range(60)))
    with pytest.raises(InputProblem, match="nothing of corpus/train is left"):
        run(tmp_path, monkeypatch, asked, "remove")


def test_evaluation_files_are_checked_before_anything_is_read(tmp_path, monkeypatch, asked):
    with pytest.raises(InputProblem, match=r"curate.decontamination.against: there is no file 'data/raw/none.jsonl'"):
        run(tmp_path, monkeypatch, {**asked, "against": ["data/raw/none.jsonl"]}, "report")
    put(tmp_path, "bench.jsonl", "no json\n")
    with pytest.raises(InputProblem, match=r"bench.jsonl, line 1: is not JSON"):
        run(tmp_path, monkeypatch, asked, "report")

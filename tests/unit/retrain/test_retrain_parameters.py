"""The sections `retrain` and `notifications` of params.yaml: every mistake told with its path, no address repeated."""

from __future__ import annotations

import pytest

from core.errors import InputProblem
from flows.pipeline import parameters
from flows.retraining.new_data import reads, unread
from flows.retraining.rules import load

ADDRESS = "https://hooks.example.org/services/T0/B0/very-secret"


def problems(**sections) -> list[str]:
    return parameters.problems_in(sections)


def test_every_mistake_is_told():
    found = problems(
        retrain={
            "cron": "every night",
            "timezone": "Mars/Olympus",
            "minimum_documents": 0,
            "sources": [{"path": "/a", "into": "../b"}, {"path": "/c", "into": "held_out"}],
            "start": "best",
            "crn": 1,
        },
        notifications={"block": "team"},
    )
    paths = {line.split(": ")[1] for line in found}
    assert paths == {
        "retrain.cron", "retrain.timezone", "retrain.minimum_documents", "retrain.sources.0.into",
        "retrain.sources.1.into", "retrain.start", "retrain.crn", "notifications.block",
    }  # fmt: skip


def test_two_sources_into_one_folder_and_parameters_of_no_stage():
    two = [{"path": "/a", "into": "x"}, {"path": "/b", "into": "x"}]
    (line,) = problems(retrain={"sources": two})
    assert "two sources go into x" in line
    (line,) = problems(retrain={"parameters": {"promotion.base.accuracy.min": 0}})
    assert "only parameters of stages" in line


def test_an_address_is_refused_without_being_repeated():
    (line,) = problems(notifications={"webhook_variable": ADDRESS})
    assert "must be the name of an environment variable" in line
    assert "secret" not in line and "hooks.example.org" not in line


def test_a_run_s_parameters_are_checked_with_the_rest(tmp_path):
    (tmp_path / "params.yaml").write_text("retrain: {parameters: {pretrain.steps: none, pretrain.stps: 1}}\n")
    with pytest.raises(InputProblem) as problem:
        load(tmp_path)
    assert all(line.startswith("with retrain.parameters: ") for line in problem.value.problems)
    assert len(problem.value.problems) == 2


def test_what_curate_reads():
    values = {
        "curate": {
            "sources": [
                {"type": "python_docs"},
                {"type": "files", "paths": ["data/raw/*.jsonl"]},
                {"type": "huggingface", "id": "data/raw/set"},
                {"type": "huggingface", "id": "owner/name"},
            ],
            "instructions": {"files": {"instruct": ["data/raw/i.jsonl"], "max_broken_share": 0.1}},
            "labels": {"files": ["data/raw/l.csv"]},
            "classifiers": [{"model": "data/raw/c.safetensors"}],
            "quality": {"perplexity": {"model": "data/raw/p.safetensors"}},
            "ner": {"model": "data/raw/ner/x"},
        }
    }
    models = ["data/raw/c.safetensors", "data/raw/p.safetensors", "data/raw/ner/x/**/*"]
    files = ["data/raw/*.jsonl", "data/raw/set/**/*", "data/raw/i.jsonl", "data/raw/l.csv"]
    assert list(reads(values)) == [*files, *models]
    assert unread(values, ["data/raw/a.jsonl", "data/raw/set/x/y.parquet"]) == []
    assert "data/raw/a.txt" in unread(values, ["data/raw/a.txt"])[0]

"""Classifiers in the curate stage: what they drop, what they only score, and what is known of them afterwards."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from components.curate import component
from components.curate.parameters import CurateParameters
from components.text_classifier.model import TextClassifier
from components.text_classifier.training import train
from core.errors import InputProblem
from tests.unit.curate.workspace import curate
from tests.unit.text_classifier.examples import texts

NAME = "data/raw/classifiers/quality.safetensors"
SOURCE = {"type": "files", "paths": ["data/raw/texts.jsonl"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "quality.safetensors"
    train(texts("good", 300), texts("bad", 300), 0.9, 1337).save(path, {"name": "quality"})
    return path


@pytest.fixture
def workspace(tmp_path, model):
    (tmp_path / NAME).parent.mkdir(parents=True)
    shutil.copyfile(model, tmp_path / NAME)
    rows = [*texts("good", 40, seed=5), *texts("bad", 40, seed=5), "no"]
    (tmp_path / "data/raw/texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    return tmp_path


def corpus(context) -> dict[str, dict]:
    tables = [pq.read_table(path) for path in sorted(context.outputs["corpus"].glob("*.parquet"))]
    return {row["text"]: row for table in tables for row in table.to_pylist()}


def test_documents_under_the_threshold_go_and_the_report_says_what_was_done(workspace, model, monkeypatch):
    context = curate(workspace, [SOURCE], monkeypatch, classifiers=[{"name": "quality", "model": NAME}])
    kept, classifier = corpus(context), TextClassifier.read(model, "model")
    assert 30 < len(kept) < 50
    for text, row in kept.items():
        assert row["quality"] == pytest.approx(classifier.scores([text])[0], abs=1e-6)
        assert row["quality"] >= classifier.threshold - 1e-6
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    (found,) = report["classifiers"]
    assert found["digest"] == classifier.digest and found["threshold"] == classifier.threshold
    assert found["scored"] == sum(found["histogram"]) == 80  # and not the one that another rule had dropped
    assert found["metrics"]["n"] > 50 and found["metrics"]["precision"] > 0.8
    rules = {rule["rule"]: rule for rule in report["rules"]}
    assert rules["classifier_quality"]["dropped"] == found["dropped"] == 80 - len(kept)
    assert list(rules).index("gopher_min_words") < list(rules).index("classifier_quality")
    assert "score 0." in rules["classifier_quality"]["examples"][0]["reason"]
    samples = json.loads((context.outputs["report"] / "samples.json").read_text())["splits"]
    shown = [row for rows in samples.values() for row in rows]
    assert {row["text"]: row["scores"]["quality"] for row in shown} == {
        text: round(row["quality"], 3) for text, row in kept.items()
    }


def test_above_drops_the_others_and_none_drops_nothing(workspace, monkeypatch):
    asked = [{"name": "spam", "model": NAME, "drop": "above"}, {"name": "score_only", "model": NAME, "drop": "none"}]
    context = curate(workspace, [SOURCE], monkeypatch, classifiers=asked)
    kept = corpus(context)
    assert 30 < len(kept) < 50 and all(row["spam"] == row["score_only"] for row in kept.values())
    report = json.loads((context.outputs["report"] / "report.json").read_text())
    spam, score_only = report["classifiers"]
    assert spam["dropped"] == 80 - len(kept) and score_only["dropped"] == 0
    assert spam["histogram"] == score_only["histogram"]
    assert all(row["spam"] < spam["threshold"] for row in kept.values())


def test_two_processes_write_the_same_bytes_as_one_and_another_model_judges_anew(workspace, monkeypatch):
    asked = {"classifiers": [{"name": "quality", "model": NAME}], "decontamination": {"action": "remove"}}
    written = []
    for workers in (1, 2):
        context = curate(workspace, [SOURCE], monkeypatch, engine={"workers": workers}, **asked)
        written.append({path.name: path.read_bytes() for path in context.outputs["corpus"].iterdir()})
    assert written[0] == written[1]
    train(texts("bad", 300), texts("good", 300), 0.9, 1337).save(workspace / NAME, {"name": "quality"})
    kept, other = corpus(curate(workspace, [SOURCE], monkeypatch, **asked)), TextClassifier.read(workspace / NAME, "m")
    for text, row in kept.items():
        assert row["quality"] == pytest.approx(other.scores([text])[0], abs=1e-6)


def test_a_model_that_is_none_is_refused_before_anything_runs(workspace):
    (workspace / "data/raw/classifiers/spam.safetensors").write_bytes(b"\x80\x04pickle")
    asked = [
        {"name": "spam", "model": "data/raw/classifiers/spam.safetensors"},
        {"name": "gone", "model": "data/raw/gone.safetensors"},
    ]
    parameters = CurateParameters.model_validate(
        {"sources": [SOURCE], "classifiers": asked, "labels": {"source": "none"}, "instructions": {"source": "none"}}
    )
    assert [line.partition(" (")[0] for line in component.check(parameters, workspace, {})] == [
        "curate.classifiers: data/raw/classifiers/spam.safetensors: is no classifier that `stemma data "
        "train-classifier` has written",
        "curate.classifiers: data/raw/gone.safetensors: cannot be read",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        [{"name": "text", "model": NAME}],
        [{"name": "a", "model": NAME}, {"name": "a", "model": NAME}],
        [{"name": "Bad name", "model": NAME}],
        [{"name": "a", "model": "models/quality.safetensors"}],
        [{"name": "a", "model": "data/raw/../quality.safetensors"}],
        [{"name": "a", "model": "data/raw/quality.pkl"}],
        [{"name": "a", "model": NAME, "threshold": 1.5}],
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match="classifiers"):
        CurateParameters.model_validate({"classifiers": wrong})


def test_a_worker_with_another_file_stops(workspace, monkeypatch):
    from components.curate import judging

    parameters = CurateParameters.model_validate({"classifiers": [{"name": "quality", "model": NAME}]})
    orders = judging.Orders(parameters, 1, workspace, workspace, workspace, "", models=("0" * 64,))
    with pytest.raises(InputProblem, match=r"quality.safetensors: is another file on"):
        judging._models(orders)

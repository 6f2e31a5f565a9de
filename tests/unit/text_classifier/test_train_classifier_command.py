"""`stemma data train-classifier`: from files to a classifier that curation takes; bad input changes nothing."""

import json
import subprocess

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.text_classifier.model import TextClassifier
from core.errors import InputProblem
from tests.unit.text_classifier.examples import texts

MODEL = "data/raw/classifiers/quality.safetensors"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("seed: 7\ncurate: {redact: [email]}\n")
    (tmp_path / "data/raw").mkdir(parents=True)
    good = [*texts("good", 150), "Write to ada@example.org for the evidence, please."]
    (tmp_path / "data/raw/good.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in good))
    (tmp_path / "data/raw/bad.csv").write_text("body\n" + "\n".join(texts("bad", 150)) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: str):
    return CliRunner().invoke(app, ["data", "train-classifier", *arguments])


def test_the_file_says_what_it_was_made_of_and_the_screen_how_well_it_does(workspace):
    asked = ("--good", "data/raw/good.jsonl", "--bad", "data/raw/*.csv", "--name", "quality", "--text-column", "body")
    result = command(*asked)
    assert result.exit_code == 0, result.output
    assert f"{MODEL}: trained on " in result.output and "by length alone" in result.output
    assert "threshold 0." in result.output and f"model: {MODEL}, drop: below" in result.output
    manifest = TextClassifier.read(workspace / MODEL, MODEL).manifest
    assert list(manifest["files"]["good"]) == ["data/raw/good.jsonl"] and manifest["parameters"]["seed"] == 7
    assert manifest["text"] == {"column": "body", "unicode_form": "NFC", "redact": ["email"]}
    assert "ada@" not in (workspace / MODEL).read_bytes().decode("latin-1")
    body = json.loads(command(*asked, "--json").output)
    assert body["path"] == MODEL and body["metrics"] == manifest["metrics"]


def test_every_problem_is_named_and_nothing_written(workspace):
    result = command("--good", "good.jsonl", "--bad", "data/raw/bad.csv", "--name", "Not a name")
    assert isinstance(result.exception, InputProblem)
    assert [line.partition(": ")[0] for line in result.exception.problems] == [
        "--name Not a name",
        "--good",
        "data/raw/bad.csv",
    ]
    assert "name one of them in --text-column" in result.exception.problems[2]
    assert not (workspace / "data/raw/classifiers").exists()

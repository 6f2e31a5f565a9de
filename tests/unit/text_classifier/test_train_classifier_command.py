"""`stemma data train-classifier`: from files to a classifier that curation takes; bad input changes nothing."""

import json
import subprocess

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.evaluate.judge.client import JudgeFailed
from components.text_classifier.model import TextClassifier
from core.errors import InputProblem
from tests.unit.evaluate.judging_server import judging_server
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


@pytest.fixture
def server():
    with judging_server() as state:
        state.answer = lambda text: (
            "It teaches. [[4]]" if " g" in text.partition("<extract>")[2] else "It sells. [[1.0]]"
        )
        yield state


def rated(server, *more: str):
    where = ("--rate", "data/raw/*", "--endpoint", server.url, "--model", "judge", "--text-column", "body")
    return command("--name", "education", *where, *more)


def test_a_language_model_makes_the_examples_and_is_asked_for_each_once(workspace, server):
    result = rated(server)
    assert result.exit_code == 0, result.output
    assert "ratings by judge: 151 texts with 1, 150 texts with 4" in result.output and len(server.asked) == 301
    assert "[EMAIL]" in json.dumps(server.asked) and "ada@" not in json.dumps(server.asked)
    path = workspace / "data/raw/classifiers/education.safetensors"
    about = TextClassifier.read(path, "education").manifest["ratings"]
    assert about["ratings"] == {"1": 151, "4": 150} and about["answered_as"] == ["judge-2026"]
    before = path.read_bytes()
    assert rated(server).exit_code == 0 and len(server.asked) == 301 and path.read_bytes() == before
    refused = rated(server, "--good-from", "5")
    assert "good texts: there are 0 distinct ones" in str(refused.exception) and path.read_bytes() == before


def test_answers_without_points_are_counted_and_too_many_of_them_are_said(workspace, server):
    answer = server.answer
    server.answer = lambda text: "I like it." if text.partition("<extract>\n")[2][0] in "abc" else answer(text)
    result = rated(server)
    assert isinstance(result.exception, InputProblem) and not (workspace / "data/raw/classifiers").exists()
    assert "of 301 texts" in str(result.exception) and "in double brackets. Use another model" in str(result.exception)


def test_a_server_that_is_gone_or_refuses_is_named(workspace, server):
    server.always = "401"
    assert isinstance(rated(server).exception, JudgeFailed) and not server.asked
    wrong = command("--name", "x", "--rate", "data/raw/*.csv", "--text-column", "body", "--model", "m", "--good", "a")
    assert [line.partition(":")[0] for line in wrong.exception.problems] == ["--rate", "--endpoint"]


def test_a_prompt_must_ask_for_points(workspace, server):
    (workspace / "prompt.txt").write_text("Rate {text} of {author}.")
    problems = rated(server, "--prompt", "prompt.txt").exception.problems
    assert len(problems) == 2 and "{text}" in problems[0] and "[[3]]" in problems[1] and not server.asked

"""What the command says and leaves behind when something is wrong."""

from __future__ import annotations

import dataclasses
import json
import re


def test_every_problem_is_told_at_once_and_nothing_is_changed(workspace):
    before = workspace.tree()
    text = workspace.stemma(
        *("run", "--set", "pretrain.stepz=3", "--set", "nonsense", "--set", "seed=-1", "--until", "pretrian"),
        *("--name", "../elsewhere"),
        code=2,
    )
    assert "5 problems; nothing was changed:" in text
    assert "--name ../elsewhere: use at most 100 letters" in text
    assert "--set nonsense: write it as PATH=VALUE" in text
    assert "--set pretrain.stepz: unknown parameter; did you mean 'steps'?" in text
    assert "--set seed: must be a whole number" in text
    assert "--until: no stage called 'pretrian'; did you mean 'pretrain'?" in text
    assert workspace.tree() == before


def test_problems_of_a_stage_are_shown_as_it_told_them(workspace):
    workspace.told("pretrain", "problem", "data/raw/x.jsonl:3: not JSON; fix the line")
    text = workspace.stemma("run", "--set", "pretrain.steps=11", code=2)
    assert "  data/raw/x.jsonl:3: not JSON; fix the line" in text
    assert "Traceback" not in text


def test_a_stage_that_breaks_is_told_with_its_last_words_and_its_log(unjudged):
    workspace = unjudged
    workspace.told("preference_tune", "fail")
    text = workspace.stemma("run", "--set", "pretrain.steps=12", code=1)
    assert "stage preference_tune failed" in text
    assert "RuntimeError: the toy broke as it was told to" in text
    kept = workspace.run_shell("git", "for-each-ref", "--format=%(refname)", "--sort=creatordate", "refs/stemma/runs")
    kept = kept.split()[-1]
    assert json.loads(workspace.run_shell("git", "show", f"{kept}:receipts/pretrain.json"))["run"] in kept
    log = next(word for word in text.split() if word.endswith("preference_tune.log"))
    assert "the toy broke" in open(log).read()

    # What was finished stays: the next run only does the rest.
    (workspace.behave / "preference_tune.fail").unlink()
    text = workspace.stemma("run")
    assert re.search(r"^pretrain +cached", text, re.MULTILINE)
    assert re.search(r"^preference_tune +run", text, re.MULTILINE)


def test_outside_a_workspace_and_without_git_it_says_what_to_do(workspace, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    assert "go into a Stemma workspace" in workspace.stemma("status", code=2, cwd=tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "dvc.yaml").write_text("stages: {}\n")
    assert "run `git init`" in workspace.stemma("status", code=2, cwd=tmp_path / "elsewhere")
    assert "No such file" in workspace.stemma("-C", str(tmp_path / "nowhere"), "status", code=2)


def test_an_unknown_model_lists_the_known_ones(workspace):
    assert "known: assistant, base" in workspace.stemma("trace", "asistant@champion", code=2)


def test_a_prefect_server_that_is_down_is_told_before_anything_runs(workspace):
    lost = dataclasses.replace(workspace, api_url="http://ada:hunter2x@127.0.0.1:9/api")
    process = lost.start("run", "--set", "pretrain.steps=15")
    text = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "PREFECT_API_URL: http://127.0.0.1:9 does not answer" in text and "unset PREFECT_API_URL" in text
    assert "hunter2x" not in text
    assert "hunter2x" not in "".join(lost.start("doctor", "--json").communicate(timeout=60))


def test_a_place_for_checkpoints_that_cannot_be_written_is_said_before_the_first_stage(workspace):
    before = workspace.tree()
    text = workspace.stemma("run", "--set", "pretrain.checkpoints=file:///proc/nowhere", code=2)
    assert "--set pretrain.checkpoints: file:///proc/nowhere cannot be used (FileNotFoundError" in text
    assert workspace.tree() == before

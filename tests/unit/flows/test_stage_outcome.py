"""What is read from DVC's words, the harness' files and DVC's status."""

from __future__ import annotations

import json
import time

import pytest

from core import dvc
from core.numbers import duration
from flows.pipeline.graph import moved_code, parse, staleness
from flows.pipeline.progress import EventTail
from flows.pipeline.report import receipt, rows
from flows.pipeline.run_state import RunState
from flows.pipeline.stage_process import outcome_of, read_problems

RAN = "Running stage 'a':\n> python s.py\nUpdating lock file 'dvc.lock'\n"
RESTORED = "Stage 'b' is cached - skipping run, checking out outputs\nUpdating lock file 'dvc.lock'\n"
CACHED = "Stage 'b' didn't change, skipping\nData and pipelines are up to date.\n"


@pytest.mark.parametrize(("text", "outcome"), [(RAN, "ran"), (RESTORED, "restored"), (CACHED, "cached")])
def test_outcomes_are_read_from_dvc_s_words(text, outcome):
    assert outcome_of(text) == outcome


@pytest.mark.parametrize(
    "text",
    [
        "ERROR: Unable to acquire lock. Most likely another DVC process is running or was terminated abruptly.",
        "ERROR: '/w/models/base' is busy, it is being blocked by:\n  (PID 12): dvc repro",
    ],
)
def test_a_busy_dvc_is_recognised(text):
    assert dvc.BUSY.search(text)


def test_dvc_s_message_is_its_error():
    text = "WARNING: something\nERROR: './dvc.yaml' is invalid.\n\nline 3: bad"
    assert dvc.message_of(text) == "'./dvc.yaml' is invalid.\nline 3: bad"


def test_problems_of_a_stage_are_read_verbatim(tmp_path):
    path = tmp_path / "a.problems.json"
    assert read_problems(path) == []
    path.write_text(json.dumps(["data/raw/x.jsonl:3: not JSON"]))
    assert read_problems(path) == ["data/raw/x.jsonl:3: not JSON"]
    path.write_text('["torn')
    assert read_problems(path) == []


def _event(**body):
    return json.dumps({"kind": "progress", "time": time.time() + 1, "unit": "steps", "fields": {}, **body}) + "\n"


def test_events_are_followed_over_torn_lines_and_earlier_attempts(tmp_path):
    pointer, events = tmp_path / "a.events", tmp_path / "events.jsonl"
    tail = EventTail(pointer)
    assert not tail.poll()  # the stage has not started
    pointer.write_text(json.dumps(str(events)))
    assert not tail.poll()  # nor written anything
    early = json.dumps({"kind": "progress", "time": 1.0, "description": "old", "done": 9, "total": 10}) + "\n"
    line = _event(description="train", done=5, total=10, fields={"loss": 1.5})
    events.write_text(early + "{torn\n" + line[:20])
    assert not tail.poll()
    with open(events, "a") as file:
        file.write(line[20:])
    assert tail.poll()
    assert tail.progress.percent == 50
    assert str(tail.progress) == "train  5/10 steps  loss 1.5"
    with open(events, "a") as file:
        file.write(json.dumps({"kind": "warning", "time": time.time() + 1, "message": "3 rows left out"}) + "\n")
    assert tail.poll() and tail.progress.warnings == ["3 rows left out"]
    assert not tail.poll()


def test_staleness_in_words():
    graph = parse('"a";"b";"c";'.replace(";", ";\n") + '"a" -> "b";\n"b" -> "c";\n"x";\n"y";\n')
    changed = {
        "a": [{"changed deps": {"components/a": "modified", "params.yaml": {"a.x": "modified"}}}, "changed command"],
        "y": [{"changed deps": {f"components/y/{file}.py": "modified" for file in range(9)} | {"data/y": "deleted"}}],
        "x": [{"changed deps": {"params.yaml": "new"}}, {"changed outs": {"out": "deleted"}}],
    }
    lines = {line.stage: line for line in staleness(graph, changed)}
    assert lines["a"].reasons == [
        "code components/a changed",
        "parameter a.x changed",
        "its command in dvc.yaml changed",
    ]
    assert lines["y"].reasons == [
        "code components/y/0.py, components/y/1.py, components/y/2.py and 6 more changed",
        "input data/y is missing",
    ]
    assert (lines["b"].state, lines["c"].state) == ("follows", "follows")
    assert lines["x"].reasons == ["it has not run yet"]


def test_a_workspace_of_an_earlier_layout_gets_one_message(tmp_path):
    assert moved_code(tmp_path) is None
    lock = "schema: '2.0'\nstages:\n  pretrain:\n    cmd: x\n    deps:\n    - {path: %s, hash: md5, md5: '1'}\n"
    (tmp_path / "components" / "pretrain").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(lock % "components/pretrain")
    assert moved_code(tmp_path) is None
    (tmp_path / "dvc.lock").write_text(lock % "components/alignment/training.py")
    assert "docs/upgrade.md" in moved_code(tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(4.21, "4.2 s"), (187, "3 min 07 s"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_table_shows_the_metric_beside_its_baselines(tmp_path):
    metric = {"name": "accuracy", "value": 0.7312, "stderr": 0.0153, "baselines": {"majority": 0.26, "rules": 0.45}}
    (tmp_path / "receipts").mkdir()
    body = {"headline": "accuracy", "metrics": [{"name": "loss", "value": 1.0}, metric], "seconds": 61.0}
    (tmp_path / "receipts" / "evaluate-base.json").write_text(json.dumps(body))
    run_state = RunState("run", ["evaluate@base", "tune"])
    run_state.finish("evaluate@base", "cached")
    cached, waiting = rows(tmp_path, run_state)
    shown = ("evaluate@base", "cached", "(1 min 01 s)", "accuracy 0.7312 ± 0.015", "majority 0.26, rules 0.45")
    assert cached[:5] == shown
    assert waiting[:5] == ("tune", "waiting", "0.0 s", "", "")
    assert receipt(tmp_path, "nothing") is None

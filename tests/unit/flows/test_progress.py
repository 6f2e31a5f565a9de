"""A stage's progress in a line: how far, how fast, how good, how long still."""

from __future__ import annotations

import json
import time

from flows.pipeline.progress import EventTail


def _tail(tmp_path, *events):
    path = tmp_path / "events.jsonl"
    now = time.time()
    lines = [{"kind": "progress", "total": 1000, "unit": "tokens", **event} for event in events]
    tail = EventTail(tmp_path / "pointer")
    for line in lines:
        line["time"] = now + line.pop("at")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "pointer").write_text(json.dumps(str(path)))
    assert tail.poll()
    return tail.progress


def test_time_left_is_taken_from_the_pace_of_this_attempt(tmp_path):
    fields = {"step": 40, "loss": 2.5, "tokens_per_second": 20.0}
    progress = _tail(
        tmp_path,
        {"description": "pretrain", "done": 400, "at": 1},  # an earlier attempt had come so far
        {"description": "pretrain", "done": 600, "at": 11, "fields": fields},
    )
    assert progress.seconds_left == 20.0
    assert str(progress) == "pretrain  600/1,000 tokens  step 40  loss 2.5  tokens_per_second 20  20.0 s left"


def test_another_work_has_its_own_pace(tmp_path):
    progress = _tail(
        tmp_path,
        {"description": "pretrain", "done": 900, "at": 1},
        {"description": "evaluate", "done": 100, "at": 5},
    )
    assert progress.seconds_left is None

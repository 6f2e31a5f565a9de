import json
import os

import pytest

from components.harness.scratch import Scratch, prepare, publish, staging_of
from core.files import read_json, write_json


def test_outputs_appear_whole_or_not_at_all(tmp_path):
    model, report = tmp_path / "models" / "base", tmp_path / "reports" / "base"
    model.mkdir(parents=True)
    (model / "old").write_text("old")
    prepare([model, report])
    (staging_of(model) / "new").write_text("new")
    with pytest.raises(RuntimeError, match="base"):
        publish([model, report])
    assert [path.name for path in model.iterdir()] == ["old"], "nothing is published while an output is missing"
    (staging_of(report) / "page").write_text("page")
    publish([model, report])
    assert [path.name for path in model.iterdir()] == ["new"] and (report / "page").exists()
    assert not staging_of(model).exists()


def test_published_files_are_readable_as_the_umask_says(tmp_path):
    output = tmp_path / "models" / "base"
    prepare([output])
    (staging_of(output) / "model.safetensors").touch(mode=0o600)
    before = os.umask(0o027)
    try:
        publish([output])
    finally:
        os.umask(before)
    assert (output / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_what_an_interrupted_attempt_staged_is_not_taken_over(tmp_path):
    output = tmp_path / "models" / "base"
    prepare([output])
    (staging_of(output) / "half").write_text("half")
    prepare([output])
    assert list(staging_of(output).iterdir()) == []


def test_json_is_replaced_whole(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_json(path, {"x": 1})
    write_json(path, {"x": 2})
    assert read_json(path, None) == {"x": 2} and [each.name for each in path.parent.iterdir()] == ["b.json"]
    assert read_json(tmp_path / "missing.json", "default") == "default"


def test_a_killed_attempt_ends_with_its_last_event(tmp_path):
    scratch = Scratch.of(tmp_path, "stage", "abc")
    scratch.begin_attempt(100.0)
    scratch.events.write_text("")
    later = scratch.begin_attempt(scratch.events.stat().st_mtime + 500)
    assert later[0]["ended"] == pytest.approx(scratch.events.stat().st_mtime)
    assert later[1]["ended"] is None


def test_an_attempt_killed_before_its_first_event_does_not_stop_the_next(tmp_path):
    scratch = Scratch.of(tmp_path, "stage", "abc")
    scratch.begin_attempt(100.0)
    assert scratch.begin_attempt(200.0)[0]["ended"] == 100.0


def test_only_old_finished_and_replayed_work_is_forgotten(tmp_path):
    for number in range(6):
        other = Scratch.of(tmp_path, "stage", f"finished-{number}")
        other.events.write_text("{}\n")
        write_json(other.tracking / "cursor.json", {"offset": 0 if number == 0 else 3})
        write_json(other.receipt, {})
    Scratch.of(tmp_path, "stage", "unfinished")
    current = Scratch.of(tmp_path, "stage", "current")
    current.forget_older()
    left = {folder.name for folder in (tmp_path / "scratch" / "stage").iterdir()}
    assert left == {"finished-0", "finished-3", "finished-4", "finished-5", "unfinished", "current"}


def test_clearing_keeps_the_lock_that_is_held(tmp_path):
    scratch = Scratch.of(tmp_path, "stage", "abc")
    with scratch.lock():
        (scratch.folder / "checkpoint").mkdir()
        scratch.events.write_text(json.dumps({}))
        scratch.clear()
        assert [path.name for path in scratch.tracking.iterdir()] == ["lock"]
        assert not (scratch.folder / "checkpoint").exists()


def test_clearing_keeps_a_spool_that_mlflow_lacks(tmp_path):
    scratch = Scratch.of(tmp_path, "stage", "abc")
    with scratch.lock():
        scratch.events.write_text("sent\nwaits\n")
        write_json(scratch.tracking / "cursor.json", {"offset": 5})
        scratch.clear()
    [aside] = [folder for folder in scratch.folder.parent.iterdir() if folder != scratch.folder]
    assert (aside / "tracking" / "events.jsonl").read_text() == "sent\nwaits\n"
    assert read_json(aside / "tracking" / "cursor.json", {}) == {"offset": 5}


def test_what_another_process_holds_or_a_kill_left_behind_is_no_obstacle(tmp_path):
    for number in range(5):
        other = Scratch.of(tmp_path, "stage", f"finished-{number}")
        write_json(other.receipt, {})
        os.utime(other.receipt, (number, number))
    current = Scratch.of(tmp_path, "stage", "current")
    (tmp_path / "scratch" / "stage" / "old.removed").mkdir()
    with Scratch(tmp_path / "scratch" / "stage" / "finished-0").lock():
        current.forget_older()
    left = {folder.name for folder in (tmp_path / "scratch" / "stage").iterdir()}
    assert left == {"finished-0", "finished-2", "finished-3", "finished-4", "current"}

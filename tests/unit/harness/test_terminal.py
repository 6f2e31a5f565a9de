"""What a stage shows where its output goes to a file: a line when something is known, and none before."""

from components.harness import terminal
from components.harness.terminal import Terminal
from core import events


def _lines(tmp_path, monkeypatch, capsys, *shown):
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0)
    log = tmp_path / "events.jsonl"
    log.write_text("")
    with Terminal("pretrain", log) as screen:
        for event in shown:
            events.append(
                log, event.pop("kind", "progress"), **{"unit": "tokens", "fields": {}, "total": 1000, **event}
            )
            screen.update()
    return capsys.readouterr().err.splitlines()


def test_nothing_is_said_before_anything_moves_and_nothing_twice(tmp_path, monkeypatch, capsys):
    lines = _lines(
        tmp_path, monkeypatch, capsys,
        {"description": "pretrain", "done": 0},
        {"description": "pretrain", "done": 0},
        {"description": "pretrain", "done": 2},
        {"description": "pretrain", "done": 500, "fields": {"loss": 2.5}},
        {"description": "pretrain", "done": 500, "fields": {"loss": 2.5}},
        {"description": "samples", "done": 0, "total": 0},
        {"description": "samples", "done": 3, "total": 0, "unit": "texts"},
    )  # fmt: skip
    assert lines == ["pretrain: pretrain 2 tokens", "pretrain: pretrain 50%  loss 2.5", "pretrain: samples 3 texts"]


def test_warnings_are_shown_at_once(tmp_path, monkeypatch, capsys):
    assert _lines(tmp_path, monkeypatch, capsys, {"kind": "warning", "message": "3 rows left out"}) == [
        "pretrain: 3 rows left out"
    ]

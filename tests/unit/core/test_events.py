"""The log of events: whole lines are read once and in order, torn ones never."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from core import events


def test_events_are_read_from_an_offset_on(tmp_path):
    log = tmp_path / "events.jsonl"
    assert events.read(log) == ([], 0)
    for step in range(3):
        events.append(log, "point", step=step)
    first, offset = events.read(log, limit=2)
    assert [event["step"] for event in first] == [0, 1]
    rest, end = events.read(log, offset)
    assert [event["step"] for event in rest] == [2] and end == log.stat().st_size
    assert events.read(log, end) == ([], end)


def test_what_is_not_an_event_is_passed_over(tmp_path):
    log = tmp_path / "events.jsonl"
    log.write_bytes(b"[1]\nnot json\n\xff\xfe\n")
    events.append(log, "point", step=1)
    found, end = events.read(log)
    assert [event["step"] for event in found] == [1] and end == log.stat().st_size


@given(cut=st.integers(0, 200), steps=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_a_log_cut_anywhere_gives_whole_events_and_goes_on(cut, steps):
    with TemporaryDirectory() as folder:
        log = Path(folder) / "events.jsonl"
        for step in range(steps):
            events.append(log, "point", step=step)
        content = log.read_bytes()[:cut]
        log.write_bytes(content)
        whole = content.count(b"\n")
        found, offset = events.read(log)
        assert [event["step"] for event in found] == list(range(whole))
        events.end_torn_line(log)
        events.append(log, "point", step=99)
        after, _ = events.read(log, offset)
        assert [event["step"] for event in after] in ([99], [*range(whole, whole + 1), 99])

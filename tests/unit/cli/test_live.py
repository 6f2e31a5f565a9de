"""What a run prints where its output goes to a file."""

import io
import time

from rich.console import Console

from cli.screens import live
from flows.pipeline.run_state import RunState


def test_progress_is_a_line_once_something_moved_and_no_line_is_printed_twice(monkeypatch):
    monkeypatch.setattr(live, "LINE_SECONDS", 0.0)
    output = io.StringIO()
    state = RunState("some-run", ["curate"])
    with live.Live(state, Console(file=output, width=200)):
        state.start("curate")
        time.sleep(0.7)  # three looks at a stage of which nothing is known
        progress = state.lines["curate"].progress
        progress.total, progress.unit, progress.description, progress.done = 4, "files", "reading", 1.0
        time.sleep(0.7)
        state.finish("curate", "ran")
    lines = output.getvalue().splitlines()
    assert lines[:3] == ["Run some-run", "curate: running", "curate: 25 %  reading  1/4 files"]
    assert len(lines) == 4 and lines[3].startswith("curate: run in ")

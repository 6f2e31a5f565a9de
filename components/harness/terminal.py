"""Shows a running stage: a bar on a terminal, a line now and then where the output goes to a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from core import events

LINE_SECONDS = 15


class Terminal:
    """Follows an event log from its present end and shows progress and warnings."""

    def __init__(self, stage: str, log: Path):
        self.stage, self.log = stage, log
        self._offset = log.stat().st_size
        self._bar: Any = None
        self._task: Any = None
        self._description: str | None = None
        self._line = ""
        self._last_line = time.monotonic()

    def __enter__(self) -> Terminal:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[shown]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self) -> None:
        """Show what was appended since the last call."""
        found, self._offset = events.read(self.log, self._offset)
        latest = None
        for event in found:
            if event["kind"] == "warning":
                print(f"{self.stage}: {event['message']}", file=sys.stderr)
            elif event["kind"] == "progress":
                latest = event
        if latest is not None:
            self._show(latest)

    def _show(self, event: dict[str, Any]) -> None:
        shown = "  ".join(f"{name} {value:,.4g}" for name, value in event["fields"].items())
        if self._bar is not None:
            if event["description"] != self._description:
                self._description = event["description"]
                self._task = self._bar.add_task(f"{self.stage}: {self._description}", total=event["total"], shown="")
            self._bar.update(self._task, completed=event["done"], shown=shown)
        elif time.monotonic() - self._last_line >= LINE_SECONDS and (line := _line(event, shown)) not in (
            "",
            self._line,
        ):
            self._line, self._last_line = line, time.monotonic()
            print(f"{self.stage}: {line}", file=sys.stderr, flush=True)


def _line(event: dict[str, Any], shown: str) -> str:
    """How far the work is, in a line; empty while nothing is known of it."""
    share = f"{event['done'] / event['total']:.0%}" if event["total"] else ""
    if share in ("", "0%") and not shown:
        share = f"{event['done']:,.0f} {event['unit']}" if event["done"] else ""
    return "  ".join(part for part in (f"{event['description']} {share}".strip(), shown) if part) if share else ""

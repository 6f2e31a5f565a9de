"""Shows a running stage: a bar on a terminal, a line now and then where the output goes to a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

LINE_SECONDS = 15


class Terminal:
    """Follows a spool of events from its present end and shows progress and warnings."""

    def __init__(self, stage: str, events: Path):
        self.stage = stage
        self._file = open(events, "rb")
        self._file.seek(0, 2)
        self._bar: Any = None
        self._task: Any = None
        self._description: str | None = None
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
        self._file.close()

    def update(self) -> None:
        """Show what was appended since the last call."""
        latest = None
        while line := self._file.readline():
            if not line.endswith(b"\n"):
                self._file.seek(-len(line), 1)
                break
            event = json.loads(line)
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
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            share = event["done"] / event["total"] if event["total"] else 0
            print(f"{self.stage}: {event['description']} {share:.0%}  {shown}", file=sys.stderr, flush=True)

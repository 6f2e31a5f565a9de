"""How far a running stage is, from its event log."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import events
from core.numbers import duration, figure


@dataclass
class StageProgress:
    """The latest state of a running stage.

    Attributes:
        description: what it does now (``pretrain``, ``sampling answers``).
        done, total: how far, in ``unit``; ``total`` may be 0 where the end is not known.
        fields: values beside the bar, such as loss and tokens per second.
        warnings: the stage's warnings so far.
        seconds_left: at the pace so far; ``None`` where there is none to go by.
    """

    description: str = ""
    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    fields: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds_left: float | None = None

    @property
    def percent(self) -> float:
        """0 to 100; 0 where the total is not known."""
        return min(100.0, 100.0 * self.done / self.total) if self.total else 0.0

    def __str__(self) -> str:
        values = "  ".join(f"{name} {figure(value)}" for name, value in self.fields.items())
        amount = f"{self.done:,.0f}/{self.total:,.0f} {self.unit}" if self.total else ""
        left = f"{duration(self.seconds_left)} left" if self.seconds_left else ""
        return "  ".join(part for part in (self.description, amount, values, left) if part)


class EventTail:
    """Follows a stage's event log. The harness writes the log's path into ``pointer`` when it starts."""

    def __init__(self, pointer: Path):
        self.pointer = pointer
        self.progress = StageProgress()
        self._log: Path | None = None
        self._offset = 0
        self._first: tuple[str, float, float] | None = None  # description, done and time where the pace is taken from
        self._began = time.time()

    @property
    def started(self) -> bool:
        """True once the stage itself runs: DVC has found no result of this work."""
        return self._log is not None

    def poll(self) -> bool:
        """Read what is new; True if the progress changed."""
        if self._log is None:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                self._log = Path(json.loads(self.pointer.read_text(encoding="utf-8")))
        if self._log is None:
            return False
        found, self._offset = events.read(self._log, self._offset)
        return any([self._take(event) for event in found])

    def _take(self, event: dict[str, Any]) -> bool:
        if event.get("time", self._began) < self._began:
            return False  # of an earlier attempt at the same work: the file is appended to
        if event.get("kind") == "warning":
            self.progress.warnings.append(event["message"])
            return True
        if event.get("kind") != "progress":
            return False
        for name in ("description", "done", "total", "unit", "fields"):
            setattr(self.progress, name, event.get(name) or getattr(StageProgress(), name))
        self._pace(event.get("time", time.time()))
        return True

    def _pace(self, now: float) -> None:
        """Time left, from the first event of this work on: what an earlier attempt had done took no time now."""
        progress = self.progress
        if self._first is None or self._first[0] != progress.description or self._first[1] > progress.done:
            self._first = (progress.description, progress.done, now)
        _, done, began = self._first
        gained = progress.done - done
        progress.seconds_left = (progress.total - progress.done) * (now - began) / gained if gained > 0 else None

"""What a pipeline run is doing right now, for what shows it: the terminal, the report, the last screen."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Literal

from flows.pipeline.progress import StageProgress

State = Literal["waiting", "running", "cached", "restored", "ran", "failed", "stopped", "not reached"]
DONE: tuple[State, ...] = ("cached", "restored", "ran")


@dataclass
class StageState:
    """One stage of the run; ``seconds`` is what this run spent on it, ``plan`` what it was expected to take,
    ``skipped`` why there was nothing to do."""

    stage: str
    state: State = "waiting"
    started: float | None = None
    seconds: float = 0.0
    progress: StageProgress = field(default_factory=StageProgress)
    plan: str = ""
    planned_seconds: float | None = None
    skipped: str | None = None

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.started if self.state == "running" and self.started else self.seconds


class RunState:
    """The lines of a run, upstream first. Written by the flow's threads, read by the one that draws."""

    def __init__(self, run: str, stages: list[str]):
        self.run = run
        self.lines = {stage: StageState(stage) for stage in stages}
        self.notes: list[str] = []
        self._lock = threading.Lock()

    @classmethod
    def cached(cls, run: str, stages: list[str]) -> RunState:
        """The state of a run in which nothing changed."""
        run_state = cls(run, stages)
        for stage in stages:
            run_state.finish(stage, "cached")
        return run_state

    def start(self, stage: str) -> None:
        """The stage's process is about to start."""
        with self._lock:
            self.lines[stage].state, self.lines[stage].started = "running", time.monotonic()

    def finish(self, stage: str, state: State) -> None:
        """The stage ended, or needed nothing."""
        with self._lock:
            line = self.lines[stage]
            line.seconds = time.monotonic() - line.started if line.started else 0.0
            line.state = state

    def note(self, message: str) -> None:
        """Something the user should read besides."""
        with self._lock:
            self.notes.append(message)

    @property
    def all_cached(self) -> bool:
        """True when no stage was run or restored."""
        return all(line.state == "cached" for line in self.lines.values())

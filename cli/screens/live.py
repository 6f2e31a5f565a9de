"""The running stages on a terminal; on anything else a line when a stage starts or ends, and now and then between.

On both, the plan of a training stage as soon as it starts.
"""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.screens.following import Following
from core.numbers import duration
from flows.pipeline.report import STATES
from flows.pipeline.run_state import RunState, StageState

LINE_SECONDS = 15.0
STYLES = {"cached": "dim", "restored": "cyan", "ran": "green", "failed": "bold red", "stopped": "yellow"}


class Live(Following):
    """Shows a run's state while the block lasts."""

    def __init__(self, run_state: RunState, console: Console):
        self.run_state = run_state
        self._spinner = Spinner("dots")
        self._planned: set[str] = set()
        drawing = RichLive(get_renderable=self._draw, console=console, refresh_per_second=6, transient=True)
        super().__init__(console, drawing)
        console.print(f"Run {run_state.run}", highlight=False)

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for line in self.run_state.lines.values():
            table.add_row(*self._cells(line))
        idle = all(line.state in ("waiting", "cached") for line in self.run_state.lines.values())
        return Group(table, Text("starting the Prefect server" if idle else "", style="dim"))

    def _cells(self, line: StageState) -> tuple:
        if line.state != "running":
            state = "" if line.state == "waiting" else _state(line)
            took = duration(line.seconds) if line.state in ("ran", "failed", "stopped") else ""
            took += _beside_plan(line)
            style = STYLES.get(line.state, "dim")
            return Text("✓" if line.state in STATES else " "), Text(line.stage, style=style), Text(state), Text(took)
        bar = ProgressBar(total=100, completed=line.progress.percent, width=24, pulse=not line.progress.total)
        return (
            self._spinner,
            Text(line.stage, style="bold"),
            bar,
            Text(duration(line.elapsed)),
            Text(str(line.progress)),
        )

    def _follow(self) -> None:
        printed: dict[str, str] = {}  # the last state of each stage
        shown: dict[str, str] = {}  # the last line of progress of each stage
        last = time.monotonic()
        while True:
            ending = self._stop.wait(0.2)
            periodic = time.monotonic() - last >= LINE_SECONDS
            last = time.monotonic() if periodic else last
            for line in list(self.run_state.lines.values()):
                if line.plan and line.stage not in self._planned:
                    self._planned.add(line.stage)
                    self.console.print(f"{line.stage} plan: {line.plan}", highlight=False, markup=False)
                if self.console.is_terminal:
                    continue
                if printed.get(line.stage, "waiting") != line.state:
                    printed[line.stage] = line.state
                    took = f" in {duration(line.seconds)}" if line.state in ("ran", "restored", "failed") else ""
                    took += _beside_plan(line)
                    state = _state(line)
                    took = "" if line.skipped else took
                    self.console.print(f"{line.stage}: {state}{took}", highlight=False, markup=False)
                elif (
                    periodic
                    and line.state == "running"
                    and (text := _progress(line)) not in ("", shown.get(line.stage))
                ):
                    shown[line.stage] = text
                    self.console.print(text, highlight=False, markup=False)
            if ending:
                return


def _state(line: StageState) -> str:
    return f"skipped: {line.skipped}" if line.skipped else STATES.get(line.state, line.state)


def _progress(line: StageState) -> str:
    """How far a running stage is, in a line; empty while nothing has moved."""
    progress = line.progress
    if line.state != "running" or not (progress.done or progress.fields):
        return ""
    share = f"{progress.percent:.0f} %  " if progress.total else ""
    return f"{line.stage}: {share}{progress}"


def _beside_plan(line: StageState) -> str:
    """How long the training of a stage that ran was expected to take; the stage also starts up and measures."""
    if line.state != "ran" or line.planned_seconds is None:
        return ""
    return f" (training planned at {duration(line.planned_seconds)})"

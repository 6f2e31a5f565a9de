"""A run in words and tables: the markdown report that stays with the flow run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flows import receipts
from flows.board import Board

if TYPE_CHECKING:
    from flows.completion import Finished

MADE = {"cached": "cached", "restored": "cached (restored)", "ran": "run"}


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 07 s`` or ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Row(NamedTuple):
    """One stage of a run's table: each cell as it is shown."""

    stage: str
    state: str
    time: str
    metric: str
    baselines: str


def rows(root: Path, board: Board) -> list[Row]:
    """The table of a run, upstream first; in brackets what a cached stage took when it was made."""
    table = []
    for stage, line in board.lines.items():
        receipt = receipts.read(root, stage) if line.state in MADE else None
        headline = receipts.headline(receipt)
        made = (receipt or {}).get("seconds")
        took = duration(line.seconds) if line.state not in ("cached", "restored", "not reached") else ""
        if line.state in ("cached", "restored") and made:
            took = f"({duration(made)})"
        beside = headline.beside if headline else ""
        table.append(Row(stage, MADE.get(line.state, line.state), took, str(headline or ""), beside))
    return table


def markdown(board: Board, finished: Finished) -> str:
    """The report of a finished run."""
    lines = [f"# Run {board.run}", "", "| stage | state | time | key metric | baselines |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in finished.rows]
    lines += ["", "Times in brackets are those of the execution that made a cached stage's outputs.", ""]
    if finished.sync.versions:
        lines += ["## New model versions", "", *(f"- {version}" for version in finished.sync.versions), ""]
    for title, items in (
        ("Promoted", finished.promoted),
        ("Not promoted", finished.refused),
        ("Notes", [*board.notes, *finished.notes]),
    ):
        if items:
            lines += [f"## {title}", "", *(f"- {item}" for item in items), ""]
    lines += [f"Snapshot of the exact tree of {run}: `{sha}`\n" for run, sha in finished.sync.snapshots.items()]
    return "\n".join(lines)

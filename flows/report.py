"""A run in words and tables: the markdown report that stays with the flow run."""

from __future__ import annotations

from pathlib import Path

from flows import receipts
from flows.board import Board
from flows.completion import Finished
from flows.preparation import Prepared

MADE = {"cached": "cached", "restored": "cached (restored)", "ran": "run"}


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 07 s`` or ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def rows(root: Path, board: Board) -> list[tuple[str, str, str, str, str]]:
    """(stage, cached or run, time, key metric, its baselines) for each stage, upstream first.

    The time of a cached stage is what its execution took when it was made, in brackets.
    """
    table = []
    for stage, line in board.lines.items():
        receipt = receipts.read(root, stage) if line.state in MADE else None
        headline = receipts.headline(receipt)
        made = (receipt or {}).get("seconds")
        took = duration(line.seconds) if line.state not in ("cached", "restored", "not reached") else ""
        if line.state in ("cached", "restored") and made:
            took = f"({duration(made)})"
        table.append(
            (stage, MADE.get(line.state, line.state), took, str(headline or ""), headline.beside if headline else "")
        )
    return table


def markdown(prepared: Prepared, finished: Finished) -> str:
    """The report of a finished run."""
    lines = [f"# Run {prepared.run}", "", "| stage | state | time | key metric | baselines |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in _rows(prepared)]
    lines += ["", "Times in brackets are those of the execution that made a cached stage's outputs.", ""]
    if finished.sync.versions:
        lines += ["## New model versions", "", *(f"- {version}" for version in finished.sync.versions), ""]
    for title, items in (
        ("Promoted", finished.promoted),
        ("Not promoted", finished.refused),
        ("Notes", [*prepared.board.notes, *finished.notes]),
    ):
        if items:
            lines += [f"## {title}", "", *(f"- {item}" for item in items), ""]
    if finished.sync.snapshot:
        lines += [f"Snapshot of the exact tree: `{finished.sync.snapshot}`", ""]
    return "\n".join(lines)


def _rows(prepared: Prepared) -> list[tuple[str, ...]]:
    return rows(prepared.root, prepared.board)

"""A run in words and tables: the markdown report that stays with the flow run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.numbers import duration
from flows.pipeline import links, receipts
from flows.pipeline.run_state import Board

if TYPE_CHECKING:
    from flows.pipeline.finalize import Finished
    from registry.promotion.gate import Verdict

MADE = {"cached": "cached", "restored": "cached (restored)", "ran": "run"}


class Row(NamedTuple):
    """One stage of a run's table: each cell as it is shown; ``made_by`` names the runs that made it, in markdown."""

    stage: str
    state: str
    time: str
    metric: str
    baselines: str
    made_by: str = ""


def rows(root: Path, board: Board, mlflow_uri: str = "") -> list[Row]:
    """The table of a run, upstream first; in brackets what a cached stage took when it was made.

    Args:
        mlflow_uri: where MLflow is; the table links to its pages where it is a server.
    """
    table = []
    for stage, line in board.lines.items():
        receipt = receipts.read(root, stage) if line.state in MADE else None
        headline = receipts.headline(receipt)
        made = (receipt or {}).get("seconds")
        took = duration(line.seconds) if line.state not in ("cached", "restored", "not reached") else ""
        if line.state in ("cached", "restored") and made:
            took = f"({duration(made)})"
        beside = headline.beside if headline else ""
        made_by = links.made_by(mlflow_uri, receipt, within=board.run)
        table.append(Row(stage, MADE.get(line.state, line.state), took, str(headline or ""), beside, made_by))
    return table


def markdown(board: Board, finished: Finished) -> str:
    """The report of a finished run."""
    lines = [f"# Run {board.run}", "", "| stage | state | time | key metric | baselines | made by |", "|" + "---|" * 6]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in finished.rows]
    lines += ["", "Times in brackets are those of the execution that made a cached stage's outputs.", ""]
    if finished.sync.versions:
        lines += ["## New model versions", "", *(f"- {version}" for version in finished.sync.versions), ""]
    for title, items in (
        ("Promoted", finished.promoted),
        ("Awaits approval", finished.awaiting),
        ("Not promoted", finished.refused),
        ("Notes", [*board.notes, *finished.notes]),
    ):
        if items:
            lines += [f"## {title}", "", *(f"- {item}" for item in items), ""]
    for outcome in finished.outcomes:
        if outcome.verdict is not None:
            lines += [*verdict(outcome.verdict), ""]
    lines += [f"Snapshot of the exact tree of {run}: `{sha}`\n" for run, sha in finished.sync.snapshots.items()]
    return "\n".join(lines)


def verdict(judged: Verdict) -> list[str]:
    """The gate's verdict as markdown: every check, passed or not."""
    against = f" against version {judged.champion}" if judged.champion else ""
    lines = [f"## Gate: {judged.model}:{judged.version} for `{judged.alias}`{against}: "
             f"{'passed' if judged.passed else 'refused'}"]  # fmt: skip
    lines += ["", "| | check | what was seen |", "|---|---|---|"]
    for check in judged.checks:
        cells = ("✓" if check.passed else "✗", check.name, check.detail)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines

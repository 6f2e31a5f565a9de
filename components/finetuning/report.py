"""What the reports of the fine-tuning stages share: the training curve, and which answers they show."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.contract import Context
from components.finetuning.records import Record
from components.finetuning.training import Curve
from components.tasks import has_verifier, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 24  # questions of which a report shows the answers


def chosen_by_rule(context: Context) -> dict[str, dict[str, str]]:
    """For a report: what was chosen where the parameters say ``auto``, with the reason; empty where they do not."""
    names = ("seq_length", "optimizer", "learning_rate", "muon_learning_rate")
    found = {name: context.environment[name] for name in names if name in context.environment}
    return {"chosen": found} if found else {}


def write_curve(curve: Curve, path: Path) -> None:
    """One row a logged step; a metric that a step lacks is left empty."""
    names = ["step", *sorted({name for point in curve for name in point} - {"step"})]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for point in curve:
            writer.writerow({name: f"{value:.6g}" for name, value in point.items()})


def plot_curve(curve: Curve, panels: dict[str, str]) -> Figure:
    """One panel a curve; ``panels`` maps its name to the axis' label."""
    from matplotlib.figure import Figure

    shown = {name: label for name, label in panels.items() if any(name in point for point in curve)}
    figure = Figure(figsize=(4.2 * max(1, len(shown)), 3.1), layout="constrained")
    grid = figure.subplots(1, max(1, len(shown)), squeeze=False)[0]
    for axes, (name, label) in zip(grid, shown.items(), strict=False):
        points = [(point["step"], point[name]) for point in curve if name in point]
        axes.plot(*zip(*points, strict=True), linewidth=1.4)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
    return figure


def shown(records: Sequence[Record]) -> list[int]:
    """Places of the records whose answers a report shows: the first of each kind in turn."""
    seen: Counter[str] = Counter()
    turns = []
    for place, record in enumerate(records):
        turns.append((seen[record["kind"]], place))
        seen[record["kind"]] += 1
    return [place for _, place in sorted(turns)[:_SHOWN]]


def verdict(record: Record, answer: str) -> str:
    """How a report names the judgement of an answer; empty where nothing can judge it."""
    return ("wrong", "right, chatty", "right, terse")[judge(record, answer).rank] if has_verifier(record) else ""

"""Training curves as a table for DVC's plots and a figure for the report."""

from __future__ import annotations

import csv
from pathlib import Path

from components.finetuning.training import Curve


def write_curve(curve: Curve, path: Path) -> None:
    """One row a logged step; a figure missing at a step is left empty."""
    names = ["step", *sorted({name for point in curve for name in point} - {"step"})]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for point in curve:
            writer.writerow({name: f"{value:.6g}" for name, value in point.items()})


def curve_figure(curve: Curve, panels: dict[str, str]):
    """A figure with one panel a curve; ``panels`` maps its name to the axis' label."""
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

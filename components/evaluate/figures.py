"""Figures of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from components.evaluate.answers import Score

_MODEL, _BASELINES = "#2f5d8a", ("#b7c4d1", "#8f9ba8", "#d7dde5")


def bits_per_byte(model: str, value: float, stderr: float | None, baselines: Mapping[str, float]) -> Figure:
    """The model's bits per byte beside the baselines'; shorter is better."""
    from matplotlib.figure import Figure

    names, values = [model, *baselines], [value, *baselines.values()]
    figure = Figure(figsize=(6.5, 0.6 + 0.45 * len(names)))
    axes = figure.subplots()
    bars = axes.barh(
        names, values, xerr=[stderr or 0.0] + [0.0] * len(baselines), color=[_MODEL, *[_BASELINES[0]] * len(baselines)]
    )
    axes.bar_label(bars, fmt="%.3f", padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.15)
    axes.set_xlabel("bits per byte on held-out documents (lower is better)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def accuracy_by_kind(model: str, scores: Mapping[str, Score], baselines: Mapping[str, Mapping[str, Score]]) -> Figure:
    """Accuracy of each kind of question with one standard error either way, beside the baselines'."""
    from matplotlib.figure import Figure

    kinds = list(scores)
    shown = {model: scores, **baselines}
    height = 0.8 / len(shown)
    figure = Figure(figsize=(7.5, 1.0 + 0.55 * len(kinds)))
    axes = figure.subplots()
    for place, (name, of_kind) in enumerate(shown.items()):
        axes.barh(
            [row + place * height - 0.4 + height / 2 for row in range(len(kinds))],
            [of_kind[kind].value for kind in kinds],
            height=height,
            xerr=[of_kind[kind].stderr or 0.0 for kind in kinds] if place == 0 else None,
            label=name,
            color=_MODEL if place == 0 else _BASELINES[(place - 1) % len(_BASELINES)],
        )
    axes.set_yticks(range(len(kinds)), [f"{kind} (n={scores[kind].n})" for kind in kinds])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of questions answered correctly")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure

"""The report page of reward_model."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.contract import Context
from components.finetuning.curves import curve_figure, write_curve
from components.finetuning.pairs import Pair
from components.finetuning.training import Curve
from components.reporting import Page
from components.reward_model.baselines import FEATURES

_SHOWN = 20


def write_report(
    context: Context,
    curve: Curve,
    training: Sequence[Pair],
    held_out: Sequence[Pair],
    verdicts: dict[str, NDArray[np.float64]],
    margins: NDArray[np.float64],
    prompts: int,
) -> None:
    """Write ``report.html``, ``report.json``, ``curve.csv`` and the figures.

    ``margins`` are rewards of the chosen less those of the rejected answers of ``held_out``.
    """
    folder = context.outputs["report"]
    write_curve(curve, folder / "curve.csv")
    curves = context.figure("training", curve_figure(curve, {"loss": "loss", "accuracy": "pairs in the right order"}))
    spread = context.figure("margins", _margins(margins, held_out))
    rows = []
    for name, chosen in (
        ("all pairs", np.ones(len(held_out), bool)),
        ("both answers worded alike", np.array([p.same_style is True for p in held_out])),
        ("worded differently", np.array([p.same_style is False for p in held_out])),
    ):
        if chosen.any():
            rows.append([name, int(chosen.sum()), *(float(verdict[chosen].mean()) for verdict in verdicts.values())])
    page = Page(
        "Reward model",
        f"{prompts:,} prompts gave {len(training):,} pairs to train on and {len(held_out):,} of other groups to "
        "measure on.",
    )
    page.heading("Held-out pairs in the right order").table(["pairs", "n", *verdicts], rows)
    page.text(
        "Where both answers are worded alike, length and surface say little, and what is left is knowing which one is "
        f"right. The surface baseline is a logistic regression on {', '.join(FEATURES)}."
    )
    page.figure(spread, "Differences of reward between chosen and rejected answers")
    page.heading("Training").figure(curves, "Loss and accuracy over training")
    page.heading("Held-out pairs, the worst judged first")
    order = np.argsort(margins, kind="stable")
    picked = [*order[: _SHOWN // 2], *order[-_SHOWN // 2 :]]
    page.table(
        ["question", "better", "worse", "reward difference"],
        [[p.record["prompt"], p.chosen.strip(), p.rejected.strip(), float(margins[i])]
         for i, p in ((i, held_out[i]) for i in dict.fromkeys(int(i) for i in picked))],
    )  # fmt: skip
    page.write(folder / "report.html")
    body = {
        "prompts": prompts,
        "training_pairs": len(training),
        "held_out_pairs": len(held_out),
        "accuracy": {row[0]: dict(zip(["n", *verdicts], row[1:], strict=True)) for row in rows},
        "warnings": context.warnings,
    }
    (folder / "report.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _margins(margins: NDArray[np.float64], pairs: Sequence[Pair]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.1), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(min(margins.min(), -1), max(margins.max(), 1), 40)
    alike = np.array([pair.same_style is True for pair in pairs])
    shown = [(margins[alike], "worded alike"), (margins[~alike], "worded differently" if alike.any() else "pairs")]
    axes.hist([v for v, _ in shown if len(v)], bins=bins, stacked=True, label=[name for v, name in shown if len(v)])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("reward of the better answer less that of the worse")
    axes.set_ylabel("held-out pairs")
    axes.legend()
    return figure

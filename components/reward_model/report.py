"""The report of reward_model: the curve, pictures and what the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.contract import Context
from components.finetuning.pairs import Pair
from components.finetuning.report import chosen_by_rule, plot_curve, write_curve
from components.finetuning.training import Curve
from components.reward_model.baselines import FEATURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    """Write ``report.json``, ``curve.csv`` and the pictures.

    ``margins`` are rewards of the chosen less those of the rejected answers of ``held_out``.
    """
    write_curve(curve, context.outputs["report"] / "curve.csv")
    context.figure("training", plot_curve(curve, {"loss": "loss", "accuracy": "pairs in the right order"}))
    context.figure("margins", _plot_margins(margins, held_out))
    accuracy = {}
    for name, chosen in (
        ("all pairs", np.ones(len(held_out), bool)),
        ("both answers worded alike", np.array([p.same_style is True for p in held_out])),
        ("worded differently", np.array([p.same_style is False for p in held_out])),
    ):
        if chosen.any():
            shares = {system: float(verdict[chosen].mean()) for system, verdict in verdicts.items()}
            accuracy[name] = {"n": int(chosen.sum()), **shares}
    order = np.argsort(margins, kind="stable")
    picked = dict.fromkeys(int(place) for place in (*order[: _SHOWN // 2], *order[-_SHOWN // 2 :]))
    context.report({
        "prompts": prompts,
        "training_pairs": len(training),
        "held_out_pairs": len(held_out),
        "accuracy": accuracy,
        "surface_features": list(FEATURES),
        "pairs": [
            {"question": held_out[i].record["prompt"], "better": held_out[i].chosen.strip(),
             "worse": held_out[i].rejected.strip(), "reward_difference": float(margins[i])}
            for i in picked
        ],
        "warnings": context.warnings,
        **chosen_by_rule(context),
    })  # fmt: skip


def _plot_margins(margins: NDArray[np.float64], pairs: Sequence[Pair]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.1), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(min(margins.min(), -1), max(margins.max(), 1), 40).tolist()
    alike = np.array([pair.same_style is True for pair in pairs])
    shown = [(margins[alike], "worded alike"), (margins[~alike], "worded differently" if alike.any() else "pairs")]
    axes.hist([v for v, _ in shown if len(v)], bins=bins, stacked=True, label=[name for v, name in shown if len(v)])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("reward of the better answer less that of the worse")
    axes.set_ylabel("held-out pairs")
    axes.legend()
    return figure

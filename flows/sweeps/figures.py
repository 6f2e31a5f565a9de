"""Optuna's figures of a sweep: the best so far, parallel coordinates, importance, curves of the trials."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from core.errors import StemmaError
from flows.sweeps.study import Study

LEAST_FOR_IMPORTANCE = 4  # trials; a forest of fewer says nothing


def draw(study: Study, folder: Path) -> list[Path]:
    """The figures that the trials suffice for, as PNG files in ``folder``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as figures

    ended = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    metric = study.sweep.metric.name
    varied = len(study.sweep.dimensions)
    wanted: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []
    if ended:
        wanted.append(("best_so_far", figures.plot_optimization_history, {"target_name": metric}))
    if len(ended) > 1:
        wanted.append(("parallel_coordinates", figures.plot_parallel_coordinate, {"target_name": metric}))
    if len(ended) >= LEAST_FOR_IMPORTANCE and varied > 1 and len({trial.value for trial in ended}) > 1:
        wanted.append(("importance", figures.plot_param_importances, {"target_name": metric}))
    if any(trial.intermediate_values for trial in study.trials):
        wanted.append(("curves", figures.plot_intermediate_values, {}))
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna says of each that it is experimental
        for name, plot, options in wanted:
            try:
                axes = plot(study.optuna, **options)
                path = folder / f"{name}.png"
                (axes if hasattr(axes, "figure") else axes[0]).figure.savefig(path, dpi=110, bbox_inches="tight")
                made.append(path)
            except (ValueError, RuntimeError, StemmaError) as error:  # of values that all trials have, or none
                logging.getLogger(__name__).info("%s: %s", name, error)
            finally:
                plt.close("all")
    return made

"""The flow `sweep`: trials of several values of parameters, shown in Prefect as a task run each."""

from __future__ import annotations

from typing import Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, State

from flows.deployments import flow_run, form
from flows.deployments.notifications import notify_of_failure
from flows.sweeps import task_runs
from flows.sweeps.definition import Asked, define
from flows.sweeps.study import Study
from flows.sweeps.winner import settings, winner


@flow(
    name="sweep",
    description="Tries several values of parameters, each in a run of its own, and compares a metric.",
    validate_parameters=False,  # done by `define`, which names every problem at once
    on_failure=[notify_of_failure],
    on_crashed=[notify_of_failure],
)
def sweep(
    values: list[str],
    metric: str,
    until: form.StageName = None,
    sampler: Literal["grid", "random", "tpe"] = "grid",
    trials: int | None = None,
    prune: bool = False,
    parallel: int = 1,
    name: str | None = None,
    workspace: str | None = None,
) -> State:
    """Run a sweep, or go on with it.

    Args:
        values: What to try, a parameter a line, such as pretrain.learning_rate=0.001,0.003 or pretrain.seed=1..3.
        metric: What is compared, by its name, or as STAGE:NAME.
        until: Last stage of a trial; the one that makes the metric when left out.
        sampler: The grid runs every combination; the others draw as many as trials says.
        trials: How many, for samplers other than the grid.
        prune: End trials that are worse than the median of the others so far.
        parallel: Trials at once, on the one device that the run holds.
        name: Name of the sweep; made from what it varies when left out.
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    asked = Asked(tuple(values), metric, until or None, sampler, trials, prune, parallel, name or None)
    defined = define(place, asked)
    study = task_runs.run(place, defined, parallel, logger)
    create_markdown_artifact(_markdown(study), key="sweep-report", description=f"Sweep {defined.name}")
    best = winner(study)
    words = f"{defined.label(best.values)}: {defined.metric} {best.shown}" if best else "no setting has all its values"
    return Completed(message=words, data=best.as_dict() if best else None)


def _markdown(study: Study) -> str:
    sweep = study.sweep
    lines = [f"# {sweep.name}", "", f"| setting | {sweep.metric} | trials |", "|---|---|---|"]
    lines += [f"| {sweep.label(each.values)} | {each.shown} | {len(each.trials)} |" for each in settings(study)]
    return "\n".join([*lines, "", f"`stemma sweep apply {sweep.name}` writes the best into `params.yaml`."])

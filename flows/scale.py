"""The flow `scale`: a ladder of small trainings, the scaling law fitted to them, and the best use of a budget."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, State

from core import layout
from core.errors import InputProblem
from core.numbers import count, figure
from flows.deployments import flow_run
from flows.deployments.notifications import notify_of_failure
from flows.scaling import result
from flows.scaling.ladder import Rung, ladder, rungs
from flows.sweeps import task_runs


@flow(
    name="scale",
    description="Trains a ladder of small models, fits a scaling law to their losses, and says how to spend a budget.",
    validate_parameters=False,  # done by `ladder`, which names every problem at once
    on_failure=[notify_of_failure],
    on_crashed=[notify_of_failure],
)
def scale(
    sizes: list[str],
    tokens: list[str],
    seeds: int = 1,
    settings: list[str] | None = None,
    flops: float | None = None,
    hours: float | None = None,
    devices: int = 1,
    parallel: int = 1,
    name: str | None = None,
    workspace: str | None = None,
) -> State:
    """Train the ladder, or go on with it.

    Args:
        sizes: Presets, three or more, such as depth-2, depth-3 and depth-4.
        tokens: Training tokens, three or more, such as 500k, 1M and 2M. Every size is trained on every number.
        seeds: Trainings of each size and length.
        settings: What holds for all trainings, a parameter a line, such as pretrain.learning_rate=0.003.
        flops: Budget in FLOP, counted as 6ND.
        hours: Budget in hours, at the ladder's speed, in place of flops.
        devices: Devices of the budget in hours.
        parallel: Trainings at once, on the one device that the run holds.
        name: Name of the ladder; made up when left out.
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
    """
    place, logger = flow_run.begin(workspace), get_run_logger()
    if flops is not None and hours is not None:
        raise InputProblem("flops and hours: give one budget")
    asked = ladder(place, sizes, tokens, seeds=seeds, assignments=settings or (), parallel=parallel, name=name or None)
    study = task_runs.run(place, asked, parallel, logger)
    trained = rungs(study)
    law = result.law_of(trained)
    if hours is not None:
        flops = result.flops_of_hours(trained, hours, devices)
    spent = result.best(law, trained, flops, devices) if flops is not None else None
    result.write_page(layout.sweep(place.home, asked.name), asked.name, trained, law, spent)
    text = _markdown(asked.name, trained, law, spent)
    create_markdown_artifact(text, key="scale-report", description=f"Scaling law {asked.name}")
    body = result.as_dict(asked.name, trained, law, spent)
    words = result.sentences(spent)[0] if spent is not None else f"a law of {len(trained)} trainings"
    return Completed(message=words, data=body)


def _markdown(name: str, trained: list[Rung], law: result.ScalingLaw, spent: result.Best | None) -> str:
    lines = [f"# {name}", "", "| L = E + A / N^alpha + B / D^beta | value (95 % interval) |", "|---|---|"]
    lines += [f"| {constant} | {value} |" for constant, value in result.constants(law)]
    lines += ["", *(result.sentences(spent) if spent is not None else [])]
    lines += ["", "| size | parameters | tokens | loss | by the law |", "|---|---|---|---|---|"]
    for rung in trained:
        one = rung.training
        by_law = figure(law.loss.loss(one.parameters, one.tokens))
        lines.append(f"| {rung.size} | {count(one.parameters)} | {count(one.tokens)} | {figure(one.loss)} | {by_law} |")
    return "\n".join([*lines, "", f"`stemma scale show {name} --flops N` says it for another budget."])

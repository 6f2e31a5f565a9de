"""The flow `lifecycle`: one run of the graph, shown in Prefect as a flow run with a task run for each stage."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.task_runners import ThreadPoolTaskRunner

from flows.deployments import flow_run, form
from flows.deployments.notifications import notify_of_failure
from flows.pipeline import recipes, report
from flows.pipeline.execute import PARALLEL_STAGES, execute
from flows.pipeline.finalize import Finished
from flows.pipeline.prepare import Prepared, Request, prepare
from flows.task_runs import TaskRuns
from registry.store.run_locks import alone_in

_as_flow = flow(
    name="lifecycle",
    description="Brings every stage of dvc.yaml up to date, then syncs the registry and promotes through the gate.",
    task_runner=ThreadPoolTaskRunner(max_workers=PARALLEL_STAGES),
    validate_parameters=False,  # done by `prepare`, which names every problem by its place in params.yaml
    on_failure=[notify_of_failure],
    on_crashed=[notify_of_failure],
)


@_as_flow
def lifecycle(
    recipe: form.RecipeName = None,
    common: form.Common = None,
    until: form.StageName = None,
    from_stage: form.StageName = None,
    skip: form.StageNames = None,
    isolated: bool = True,
    run: str | None = None,
    workspace: str | None = None,
    drawn: str | None = None,
    parameters: form.Parameters = None,
) -> dict[str, Any]:
    """Run the lifecycle.

    Args:
        recipe: A file of recipes/, laid over params.yaml for this run; what you change below holds over it.
        common: The parameters that are changed most, by their place in params.yaml.
        until: Last stage wanted; empty: all of them.
        from_stage: First stage wanted; what stands above it is taken as it is.
        skip: Stages to leave out; what cannot run without them is left out too.
        isolated: Run in a git worktree of its own, so that no other run and no open file is touched.
        run: Name of the run; made up when left out.
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
        drawn: Which state of params.yaml this form shows, so that only your own changes count. Leave it.
        parameters: All of params.yaml, stage by stage. What you change holds for this run; what you leave is as the
            file has it.

    Returns:
        The run's name, what became of each stage, and the versions promoted.
    """
    with contextlib.ExitStack() as stack:
        place = flow_run.begin(workspace)
        began_with = form.began_with(place.home, drawn) or flow_run.registered("parameters")
        changes = recipes.overrides(place.root, recipe) if recipe else {}
        changes |= form.all_changes(common or {}, parameters or {}, began_with)
        request = Request(
            changes,
            until or None,
            from_stage or None,
            isolated,
            run or None,
            downloads=recipes.downloads(place.root, recipe) if recipe else (),
            skip=tuple(skip or ()),
            from_form=True,
        )
        if not isolated:
            stack.enter_context(alone_in(place.root, "a run from Prefect's UI"))
        prepared = prepare(place, request, get_run_logger().info)
        flow_run.remember(prepared)
        finished = _execute(prepared)
    return {
        "run": prepared.run,
        "stages": {stage: line.state for stage, line in prepared.run_state.lines.items()},
        "promoted": finished.promoted,
    }


def run_as_flow(prepared: Prepared, overrides: Mapping[str, Any], options: Mapping[str, Any]) -> Finished:
    """A run that this process has made ready, as a flow run (or, within a flow, as a flow run below that one).

    Args:
        overrides: the parameters that the run changes, by dotted path; ``options``: the request's other
            parts. Both are in effect already and only shown as the flow run's parameters.
    """
    done: list[Finished] = []  # not the flow's own result, which Prefect would walk through and copy

    @_as_flow
    def lifecycle(run: str, workspace: str, overrides: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        done.append(_execute(prepared))
        return {"run": run, "promoted": done[0].promoted}

    lifecycle(prepared.run, str(prepared.workspace.root), dict(overrides), dict(options))
    return done[0]


def _execute(prepared: Prepared) -> Finished:
    finished = execute(prepared, TaskRuns(prepared))
    create_markdown_artifact(
        report.markdown(prepared.run_state, finished), key="lifecycle-report", description=f"Run {prepared.run}"
    )
    return finished

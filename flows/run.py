"""``stemma run``: one run of the graph in this process, shown in Prefect where anything has to be done."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from core.processes import signals_as_exceptions
from core.workspace import Workspace
from flows.deployments import notifications
from flows.pipeline import report, unchanged
from flows.pipeline.execute import Observer, execute
from flows.pipeline.finalize import Finished
from flows.pipeline.prepare import Prepared, Request, prepare
from flows.pipeline.report import Summary
from flows.pipeline.run_state import RunState
from flows.prefect_server import prefect_server
from registry.promotion.promote import PromotionOutcome
from registry.store.run_locks import alone_in


class _WithoutFlow(Observer):
    """Nothing has to run, so no flow run is made; a candidate may still wait for a person."""

    def approval_page(self, outcome: PromotionOutcome, reason: str) -> str | None:
        return notifications.approval_page(outcome, reason)


def run(
    workspace: Workspace,
    request: Request,
    say: Callable[[str], None],
    show: Callable[[Prepared], contextlib.AbstractContextManager],
) -> Summary:
    """Bring the workspace up to date. Where nothing changed, neither a Prefect server nor a flow run is started.

    Args:
        say: called with a line for each change in the user's tree, and where Prefect's server is started again.
        show: opened around the work, to show the run's state while it lasts.

    Raises:
        InUse: another run works in the tree.
        InputProblem, StageFailed, StageStopped, RegistryError, DvcError, WorktreeFailed, ServerFailed: see there.
    """
    with contextlib.nullcontext() if request.isolated else alone_in(workspace.root, "`stemma run`"):
        prepared = prepare(workspace, request, say)
        if prepared.up_to_date:
            finished = execute(prepared, _WithoutFlow())
        else:
            with signals_as_exceptions(), show(prepared), prefect_server(workspace, say):
                finished = _run_as_flow(prepared, request)
        summary = report.summary(prepared, finished)
        if set(prepared.stages) == set(prepared.graph.order) and not request.isolated:
            rows = report.rows(prepared.root, RunState.cached(prepared.run, prepared.stages), workspace.mlflow_uri)
            unchanged.remember(workspace, replace(summary, rows=rows))
        return summary


def _run_as_flow(prepared: Prepared, request: Request) -> Finished:
    from prefect import tags

    from flows.lifecycle import run_as_flow

    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    options: dict[str, object] = {
        "until": request.until,
        "from_stage": request.from_stage,
        "isolated": request.isolated,
    }
    options |= {"skip": list(request.skip)} if request.skip else {}
    with tags("stemma"):  # as runs of the deployments have it
        return run_as_flow(prepared, request.overrides, options)

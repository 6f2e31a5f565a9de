"""``stemma run``: the lifecycle in this process, with a Prefect server of its own where there is none."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.environment import quiet_prefect
from core.processes import signals_as_exceptions
from core.workspace import Workspace
from deploy.stack import state
from flows.pipeline.finalize import Finished, finish
from flows.pipeline.prepare import Prepared, Request, prepare
from flows.prefect_server import ServerFailed, local_server
from registry.promotion.mirror import unreachable
from registry.store.run_locks import alone_in


@dataclass(frozen=True)
class Result:
    """A finished run."""

    prepared: Prepared
    finished: Finished


def run(
    workspace: Workspace,
    request: Request,
    say: Callable[[str], None],
    show: Callable[[Prepared], contextlib.AbstractContextManager],
) -> Result:
    """Bring the workspace up to date. When nothing changed, that is said without starting a flow.

    Args:
        say: told what is changed in the user's tree, and what is waited for.
        show: opened around the work, to show the run's board while it lasts.

    Raises:
        InUse: another run works in the tree.
        InputProblem, StageFailed, StageStopped, RegistryError, DvcError, WorktreeFailed, ServerFailed: see there.
    """
    alone = contextlib.nullcontext() if request.isolated else alone_in(workspace.root, "`stemma run`")
    with alone:
        return _run(workspace, request, say, show)


def _run(
    workspace: Workspace,
    request: Request,
    say: Callable[[str], None],
    show: Callable[[Prepared], contextlib.AbstractContextManager],
) -> Result:
    prepared = prepare(workspace, request, say)
    if prepared.up_to_date:
        for stage in prepared.stages:
            prepared.board.finish(stage, "cached")
        result = Result(prepared, finish(prepared))
        if prepared.worktree is not None:
            prepared.worktree.remove()
        return result
    with signals_as_exceptions(), show(prepared), prefect_server(workspace):
        return Result(prepared, _run_flow(prepared, request))


def _run_flow(prepared: Prepared, request: Request) -> Finished:
    from prefect import tags

    from flows import lifecycle as flow
    from flows.deployments import form

    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    outcome: list[Finished] = []
    token = flow.prepared_run.set(prepared)
    listener = flow.finished_run.set(outcome)
    try:
        with tags("stemma"):  # as runs of the deployments have it
            flow.lifecycle(
                parameters=form.nested(request.overrides),
                until=request.until,
                from_stage=request.start,
                isolated=request.isolated,
                run=prepared.run,
                workspace=str(prepared.workspace.root),
            )
    finally:
        flow.prepared_run.reset(token)
        flow.finished_run.reset(listener)
    return outcome[0]


@contextlib.contextmanager
def prefect_server(workspace: Workspace) -> Iterator[None]:
    """Prefect's client, set up against the user's server or one of our own."""
    home = workspace.home / "prefect"
    if url := os.environ.get("PREFECT_API_URL"):
        if why := unreachable(url):
            stack = state.read(workspace.home)
            hint = "start that server, or unset PREFECT_API_URL"
            if stack is not None and url == stack.prefect_api_url:
                hint = "it is the stack's; try again when `stemma status` shows it healthy"
            raise ServerFailed(f"PREFECT_API_URL: {why}; {hint}")
        quiet_prefect(home, None)
        yield
        return
    with local_server(home) as server:
        quiet_prefect(home, server.url)
        import prefect  # noqa: F401  (takes seconds, while the server starts)

        server.wait()
        try:
            yield
        finally:
            os.environ.pop("PREFECT_API_URL", None)

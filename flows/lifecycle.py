"""The flow: DVC's graph, walked upstream first, one Prefect task a stage."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ThreadPoolTaskRunner

from flows import stage_task
from flows.deployments import flow_run, form
from flows.deployments.device_slot import DeviceSlot, lease_note
from flows.deployments.notifications import tell_failure
from flows.pipeline import finalize, report
from flows.pipeline.prepare import Prepared, Request, prepare
from flows.pipeline.stage_process import GRACE_SECONDS, StageProcess, StageStopped
from registry.store.run_locks import alone_in, running

# Independent stages side by side; each brings its own threads, so more does not help on few cores.
PARALLEL_STAGES = max(1, int(os.environ.get("STEMMA_PARALLEL_STAGES", "2")))

#: The run that the command has already made ready in this process; a deployment's run makes itself ready.
prepared_run: ContextVar[Prepared | None] = ContextVar("prepared_run", default=None)
#: Where that command is given what came of it.
finished_run: ContextVar[list[finalize.Finished] | None] = ContextVar("finished_run", default=None)


@flow(
    name="lifecycle",
    description="Brings every stage of dvc.yaml up to date, then syncs the registry and promotes through the gate.",
    task_runner=ThreadPoolTaskRunner(max_workers=PARALLEL_STAGES),
    validate_parameters=False,  # done by `prepare`, which tells every problem with its place in params.yaml
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def lifecycle(
    parameters: form.Parameters = None,
    until: form.StageName = None,
    from_stage: form.StageName = None,
    isolated: bool = True,
    run: str | None = None,
    workspace: str | None = None,
    drawn: str | None = None,
) -> dict[str, Any]:
    """Run the lifecycle.

    Args:
        parameters: params.yaml. What you change holds for this run; what you leave is as the file has it.
        until: Last stage wanted; empty: all of them.
        from_stage: First stage wanted; what stands above it is taken as it is.
        isolated: Run in a git worktree of its own, so that no other run and no open file is touched.
        run: Name of the run; made up when left out.
        workspace: Folder of the workspace; the one that the deployments are served from when left out.
        drawn: Which state of params.yaml this form shows, so that your changes can be told from later ones. Leave it.

    Returns:
        The run's name, what became of each stage, and the versions promoted.
    """
    with contextlib.ExitStack() as stack:
        prepared = prepared_run.get()
        if prepared is None:
            place = flow_run.begin(workspace)
            began_with = form.began_with(place.home, drawn) or flow_run.registered("parameters")
            changes = form.changes(parameters or {}, began_with)
            request = Request(changes, until or None, from_stage or None, isolated, run or None, from_form=True)
            if not isolated:
                stack.enter_context(alone_in(place.root, "a run from Prefect's UI"))
            prepared = prepare(place, request, get_run_logger().info)
            flow_run.remember(prepared)
        finished = stack.enter_context(_worked_out(prepared))
        if (listener := finished_run.get()) is not None:
            listener.append(finished)
        create_markdown_artifact(
            report.markdown(prepared.board, finished), key="lifecycle-report", description=f"Run {prepared.run}"
        )
    return {
        "run": prepared.run,
        "stages": {stage: line.state for stage, line in prepared.board.lines.items()},
        "promoted": finished.promoted,
    }


@contextlib.contextmanager
def _worked_out(prepared: Prepared) -> Iterator[finalize.Finished]:
    """The run's stages and what follows them. Its tree is taken away, unless it failed and may be looked at."""
    try:
        with running(prepared.home):
            walk(prepared)
            finished = _finish(prepared)
        yield finished
    except BaseException as error:
        finalize.keep(prepared)
        if prepared.worktree is not None:
            if not isinstance(error, Exception) or isinstance(error, StageStopped):
                prepared.worktree.remove()  # checkpoints lie elsewhere: a retry makes its tree anew
                raise
            folder = prepared.worktree.folder
            error.add_note(f"The run's own tree is kept for a look; `git worktree remove --force {folder}` removes it")
        raise
    if prepared.worktree is not None:
        prepared.worktree.remove()


def walk(prepared: Prepared) -> None:
    """Bring the wanted stages up to date; the stage with the longest way behind it is started first.

    Raises:
        Exception: that of the first stage that failed; stages that run beside it are finished, none is started.
    """
    board, wanted, device = prepared.board, set(prepared.stages), DeviceSlot(lease_note(prepared.home, prepared.run))
    waiting, futures = list(prepared.stages), {}
    settled: set[str] = set()
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    running: dict[str, StageProcess] = {}
    error: BaseException | None = None
    try:
        while waiting or running:
            for stage in list(waiting):
                parents = prepared.graph.parents[stage] & wanted
                if error is not None or not parents <= settled:
                    continue
                above = [futures[parent] for parent in parents]
                if stage not in prepared.changed and all(board.lines[parent].state == "cached" for parent in parents):
                    board.finish(stage, "cached")  # DVC said so, and nothing above it has changed since
                    settled.add(stage)
                    waiting.remove(stage)
                    futures[stage] = stage_task.submit_cached(stage, prepared, above)
                elif len(running) < PARALLEL_STAGES:
                    waiting.remove(stage)
                    running[stage] = StageProcess(prepared.root, prepared.home, prepared.run, stage)
                    futures[stage] = stage_task.submit(running[stage], prepared, device, above)
                    futures[stage].add_done_callback(lambda _, stage=stage: ended.put(stage))
            if not running:
                if error is not None:
                    break
                continue
            stage = ended.get()
            del running[stage]
            result = futures[stage].result(raise_on_failure=False)
            if isinstance(result, BaseException):
                error = error or result
            else:
                settled.add(stage)
    except BaseException:
        _stop(running, futures)
        raise
    finally:
        for stage in waiting:
            board.finish(stage, "not reached")
    if error is not None:
        raise error
    wait(list(futures.values()))  # those that are only shown read the run's tree too


def _stop(running: dict[str, StageProcess], futures: dict[str, PrefectFuture]) -> None:
    """Tell the stages that run to save their checkpoints and end, and wait for it."""
    for process in running.values():
        process.stop()
    for stage in running:
        with contextlib.suppress(Exception):
            futures[stage].wait(GRACE_SECONDS)


def _finish(prepared: Prepared) -> finalize.Finished:
    @task(
        name="sync, snapshot, promote",
        task_run_name="sync, snapshot, promote",
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def finish() -> None:
        result.append(finalize.finish(prepared))

    result: list[finalize.Finished] = []
    finish()
    return result[0]

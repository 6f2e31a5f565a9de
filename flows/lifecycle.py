"""The flow: DVC's graph, walked upstream first, one Prefect task a stage."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows import completion, report
from flows.board import Board
from flows.graph import slug
from flows.planning import TRAINING_STAGES, StagePlan, sentence
from flows.preparation import Prepared, Request, prepare
from flows.progress import EventTail
from flows.stage_process import StageProcess, StageStopped
from registry.in_use import running
from registry.workspace import Workspace

ARTIFACT_SECONDS = 2.0
PLAN_SECONDS = 8.0  # how long a training stage waits for its plan
# Independent stages side by side; each brings its own threads, so more does not help on few cores.
PARALLEL_STAGES = max(1, int(os.environ.get("STEMMA_PARALLEL_STAGES", "2")))

#: The run that the command has already made ready in this process; a deployment's run makes itself ready.
prepared_run: ContextVar[Prepared | None] = ContextVar("prepared_run", default=None)
#: Where that command is given what came of it.
finished_run: ContextVar[list[completion.Finished] | None] = ContextVar("finished_run", default=None)


@flow(
    name="lifecycle",
    description="Brings every stage of dvc.yaml up to date, then syncs the registry and promotes through the gate.",
    task_runner=ThreadPoolTaskRunner(max_workers=PARALLEL_STAGES),
    validate_parameters=True,
)
def lifecycle(
    overrides: dict[str, Any] | None = None,
    until: str | None = None,
    from_stage: str | None = None,
    isolated: bool = True,
    run: str | None = None,
    workspace: str | None = None,
) -> dict[str, Any]:
    """Run the lifecycle.

    Args:
        overrides: parameter values by path, such as ``{"pretrain.steps": 200}``; `stemma params` lists them all.
        until: last stage wanted.
        from_stage: first stage wanted; what stands above it is taken as it is.
        isolated: run in a git worktree of its own, so that no other run and no open file is touched.
        run: name of the run; made up when left out.
        workspace: folder of the workspace; the current folder when left out.

    Returns:
        The run's name, what became of each stage, and the versions promoted.
    """
    logger = get_run_logger()
    prepared = prepared_run.get()
    if prepared is None:
        request = Request(overrides or {}, until, from_stage, isolated, run)
        prepared = prepare(Workspace.find(Path(workspace) if workspace else None), request, logger.info)
    try:
        with running(prepared.home):
            walk(prepared)
            finished = _finish(prepared)
        if (listener := finished_run.get()) is not None:
            listener.append(finished)
        create_markdown_artifact(
            report.markdown(prepared.board, finished), key="lifecycle-report", description=f"Run {prepared.run}"
        )
    except BaseException as error:
        completion.keep(prepared)
        if prepared.worktree is not None:
            folder = prepared.worktree.folder
            error.add_note(f"The run's own tree is kept for a look; `git worktree remove --force {folder}` removes it")
        raise
    if prepared.worktree is not None:
        prepared.worktree.remove()
    return {
        "run": prepared.run,
        "stages": {stage: line.state for stage, line in prepared.board.lines.items()},
        "promoted": finished.promoted,
    }


def walk(prepared: Prepared) -> None:
    """Bring the wanted stages up to date; the stage with the longest way behind it is started first.

    Raises:
        Exception: that of the first stage that failed; stages that run beside it are finished, none is started.
    """
    board, wanted = prepared.board, set(prepared.stages)
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
                if stage not in prepared.changed and all(board.lines[parent].state == "cached" for parent in parents):
                    board.finish(stage, "cached")  # DVC said so, and nothing above it has changed since
                    settled.add(stage)
                    waiting.remove(stage)
                elif len(running) < PARALLEL_STAGES:
                    waiting.remove(stage)
                    running[stage] = StageProcess(prepared.root, prepared.home, prepared.run, stage)
                    futures[stage] = _submit(running[stage], prepared, [futures[p] for p in parents if p in futures])
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
        for process in list(running.values()):
            process.stop()
        raise
    finally:
        for stage in waiting:
            board.finish(stage, "not reached")
    if error is not None:
        raise error


def _submit(process: StageProcess, prepared: Prepared, parents: list[PrefectFuture]) -> PrefectFuture:
    # A task without parameters: Prefect would walk through everything it is given and copy it.
    @task(name=process.stage, task_run_name=process.stage, cache_policy=NO_CACHE, persist_result=False, tags=["stage"])
    def reproduce() -> str:
        return _reproduce(process, prepared.board)

    return reproduce.submit(wait_for=parents)


def _reproduce(process: StageProcess, board: Board) -> str:
    """Bring one stage up to date; what DVC did: cached, restored or ran."""
    logger = get_run_logger()
    process.environment.update(_prefect_ids())
    tail = EventTail(process.events_pointer)
    artifact = _ProgressArtifact(process.stage)
    board.start(process.stage)
    line = board.lines[process.stage]
    line.progress = tail.progress
    plan = StagePlan(process.root, process.stage) if process.stage in TRAINING_STAGES else None
    # The plan is there before the training begins; one that takes longer follows while the stage starts.
    if plan is not None:
        plan.wait(PLAN_SECONDS, lambda: process.stopping)

    def poll() -> None:
        if tail.poll():
            artifact.update(tail)
        # Shown of a stage that DVC really runs, and of no other.
        if plan is not None and not line.plan and tail.started and (made := plan.ready()) is not None:
            line.planned_seconds, line.plan = made["time"]["seconds"], sentence(made)
            logger.info("%s plan: %s", process.stage, line.plan)

    try:
        outcome = process.reproduce(poll)
    except BaseException as error:
        board.finish(process.stage, "stopped" if isinstance(error, StageStopped) else "failed")
        logger.error("%s", error)
        raise
    finally:
        if plan is not None:
            plan.close()
    for warning in tail.progress.warnings:
        board.note(f"{process.stage}: {warning}")
    board.finish(process.stage, outcome)
    artifact.finish(outcome)
    logger.info("%s: %s in %.1f s", process.stage, outcome, line.seconds)
    return outcome


def _finish(prepared: Prepared) -> completion.Finished:
    @task(name="sync, snapshot, promote", cache_policy=NO_CACHE, persist_result=False)
    def finish() -> None:
        result.append(completion.finish(prepared))

    result: list[completion.Finished] = []
    finish()
    return result[0]


class _ProgressArtifact:
    """A stage's progress in Prefect's UI. A server that cannot be told never stops a stage."""

    def __init__(self, stage: str):
        self.stage, self.id, self._last = stage, None, 0.0

    def update(self, tail: EventTail) -> None:
        if time.monotonic() - self._last < ARTIFACT_SECONDS:
            return
        self._last = time.monotonic()
        self._tell(tail.progress.percent, str(tail.progress))

    def finish(self, outcome: str) -> None:
        self._tell(100.0, f"{self.stage}: {outcome}")

    def _tell(self, percent: float, description: str) -> None:
        with contextlib.suppress(Exception):
            if self.id is None:
                key = f"progress-{slug(self.stage).replace('_', '-')}".lower()
                self.id = create_progress_artifact(percent, key=key, description=description)
            else:
                update_progress_artifact(self.id, percent, description=description)


def _prefect_ids() -> Mapping[str, str]:
    ids = {
        "STEMMA_PREFECT_FLOW_RUN_ID": runtime.flow_run.id or runtime.task_run.flow_run_id,
        "STEMMA_PREFECT_TASK_RUN_ID": runtime.task_run.id,
    }
    return {name: str(value) for name, value in ids.items() if value}

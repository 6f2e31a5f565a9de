"""One stage as a Prefect task: brought up to date by DVC, shown with its progress, or shown as cached."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefect import get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed, State

from core.numbers import duration
from flows.deployments.device_slot import DeviceSlot, NotTaken
from flows.pipeline import links, receipts
from flows.pipeline.graph import slug
from flows.pipeline.planning import TRAINING_DATA, StagePlan, sentence
from flows.pipeline.progress import EventTail
from flows.pipeline.stage_process import StageProcess, StageStopped

if TYPE_CHECKING:
    from flows.pipeline.prepare import Prepared

ARTIFACT_SECONDS = 2.0
PLAN_SECONDS = 8.0  # how long a training stage waits for its plan


def submit(
    process: StageProcess, prepared: Prepared, device: DeviceSlot, parents: list[PrefectFuture]
) -> PrefectFuture:
    """Bring the stage up to date beside the flow, after ``parents``."""

    # A task without parameters: Prefect would walk through everything it is given and copy it.
    @task(name=process.stage, task_run_name=process.stage, cache_policy=NO_CACHE, persist_result=False, tags=["stage"])
    def reproduce() -> State:
        outcome = _reproduce(process, prepared, device)
        if outcome != "ran":
            return _cached(prepared, process.stage, outcome)
        return Completed(message=f"ran in {duration(prepared.board.lines[process.stage].seconds)}", data=outcome)

    return reproduce.submit(wait_for=parents)


def submit_cached(stage: str, prepared: Prepared, parents: list[PrefectFuture]) -> PrefectFuture:
    """Show a stage of which DVC said that nothing changed."""

    @task(name=stage, task_run_name=stage, cache_policy=NO_CACHE, persist_result=False, tags=["stage"])
    def cached() -> State:
        return _cached(prepared, stage, "cached")

    return cached.submit(wait_for=parents)


def _cached(prepared: Prepared, stage: str, outcome: str) -> State:
    receipt = receipts.read(prepared.root, stage)
    made_by = links.made_by(prepared.workspace.mlflow_uri, receipt)
    if made_by:
        with contextlib.suppress(Exception):  # a server that cannot be told never stops a stage
            headline = receipts.headline(receipt)
            text = f"**{stage}** is cached. Its outputs were made by {made_by}." + (
                f"\n\n{headline}" if headline else ""
            )
            create_markdown_artifact(text, key=_key("made-by", stage), description=f"Who made {stage}")
    run = ((receipt or {}).get("mlflow") or {}).get("run_id")
    return Completed(name="Cached", message=f"made by MLflow run {run}" if run else "nothing changed", data=outcome)


def _reproduce(process: StageProcess, prepared: Prepared, device: DeviceSlot) -> str:
    """Bring one stage up to date; what DVC did: cached, restored or ran."""
    logger, board = get_run_logger(), prepared.board
    process.environment.update(_prefect_ids())
    board.start(process.stage)
    trains = process.stage in TRAINING_DATA

    def waiting() -> None:
        board.lines[process.stage].progress.description = "waits: another run trains on this device"
        logger.info("%s waits: another run holds the concurrency limit `train`", process.stage)

    try:
        with device.held(lambda: process.stopping, waiting) if trains else contextlib.nullcontext():
            outcome, warnings = _work(process, prepared, trains)
    except BaseException as error:
        stopped = isinstance(error, StageStopped | NotTaken)
        board.finish(process.stage, "stopped" if stopped else "failed")
        logger.error("%s", error)
        raise
    for warning in warnings:
        board.note(f"{process.stage}: {warning}")
    board.finish(process.stage, outcome)
    logger.info("%s: %s in %s", process.stage, outcome, duration(board.lines[process.stage].seconds))
    return outcome


def _work(process: StageProcess, prepared: Prepared, trains: bool) -> tuple[str, list[str]]:
    """(what DVC did, what the stage warned of), with the plan and the progress shown meanwhile."""
    logger = get_run_logger()
    tail = EventTail(process.events_pointer)
    artifact = _ProgressArtifact(process.stage)
    line = prepared.board.lines[process.stage]
    line.progress = tail.progress
    # A pipeline of one's own may keep its data elsewhere; that nothing can be planned would take seconds to find out.
    planned = trains and (process.root / TRAINING_DATA[process.stage]).is_dir()
    plan = StagePlan(process.root, process.stage) if planned else None
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
    finally:
        if plan is not None:
            plan.close()
    artifact.finish(outcome)
    return outcome, tail.progress.warnings


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
        if self.id is not None:  # what needed no work had none
            self._tell(100.0, f"{self.stage}: {outcome}")

    def _tell(self, percent: float, description: str) -> None:
        with contextlib.suppress(Exception):
            if self.id is None:
                self.id = create_progress_artifact(percent, key=_key("progress", self.stage), description=description)
            else:
                update_progress_artifact(self.id, percent, description=description)


def _key(kind: str, stage: str) -> str:
    """An artifact's key: letters, digits and dashes only."""
    return f"{kind}-{slug(stage).replace('_', '-')}".lower()


def _prefect_ids() -> Mapping[str, str]:
    ids = {
        "STEMMA_PREFECT_FLOW_RUN_ID": runtime.flow_run.id or runtime.task_run.flow_run_id,
        "STEMMA_PREFECT_TASK_RUN_ID": runtime.task_run.id,
    }
    return {name: str(value) for name, value in ids.items() if value}

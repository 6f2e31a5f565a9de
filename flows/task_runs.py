"""A run of the graph as Prefect shows it: a task run for each stage, with its progress, its log and who made it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from uuid import UUID

from prefect import get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.futures import wait as wait_for_futures
from prefect.states import Completed, State

from core.layout import slug
from core.numbers import duration
from flows.deployments import notifications
from flows.deployments.device_slot import DeviceSlot, lease_note
from flows.pipeline import report
from flows.pipeline.execute import Observer, StageObserver, StageRun
from flows.pipeline.finalize import Finished
from flows.pipeline.prepare import Prepared
from flows.pipeline.progress import EventTail
from flows.pipeline.stage_process import Outcome
from registry.promotion.promote import PromotionOutcome

ARTIFACT_SECONDS = 2.0


class TaskRuns(Observer):
    """Does the work of a run in task runs of the flow run that it is made in."""

    def __init__(self, prepared: Prepared):
        super().__init__()
        self.prepared = prepared
        self.slot = DeviceSlot(lease_note(prepared.home, prepared.run))
        self._futures: dict[str, PrefectFuture] = {}

    def begin(self, stage: StageRun, after: Collection[str]) -> PrefectFuture:
        def reproduce() -> State:
            outcome = stage.bring_up_to_date(_TaskRun(stage.name, self.slot))
            if reason := report.skipped(self.prepared.root, stage.name):
                return self._skipped(stage.name, reason, outcome)
            if outcome != "ran":
                return self._cached(stage.name, outcome)
            took = duration(self.prepared.run_state.lines[stage.name].seconds)
            return Completed(message=f"{stage.name} ran in {took}", data=outcome)

        return self._submit(stage.name, reproduce, after)

    def error_of(self, stage: str) -> BaseException | None:
        result = self._futures[stage].result(raise_on_failure=False)
        return result if isinstance(result, BaseException) else None

    def cached(self, stage: str, after: Collection[str]) -> None:
        reason = report.skipped(self.prepared.root, stage)
        shown = self._cached if reason is None else partial(self._skipped, reason=reason)
        self._submit(stage, lambda: shown(stage, outcome="cached"), after)

    def wait(self, stages: Collection[str], seconds: float | None = None) -> None:
        wait_for_futures([self._futures[stage] for stage in stages if stage in self._futures], timeout=seconds)

    def finish(self, work: Callable[[], Finished]) -> Finished:
        result: list[Finished] = []  # not the task's own result, which Prefect would walk through and copy
        name = "sync, snapshot, promote"
        task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(
            lambda: result.append(work())
        )()
        return result[0]

    def approval_page(self, outcome: PromotionOutcome, reason: str) -> str | None:
        return notifications.approval_page(outcome, reason)

    def _submit(self, stage: str, work: Callable[[], State], after: Collection[str]) -> PrefectFuture:
        # A task without parameters: Prefect would walk through everything it is given and copy it.
        made = task(name=stage, task_run_name=stage, cache_policy=NO_CACHE, persist_result=False, tags=["stage"])(work)
        self._futures[stage] = made.submit(wait_for=[self._futures[parent] for parent in after])
        return self._futures[stage]

    def _skipped(self, stage: str, reason: str, outcome: Outcome) -> State:
        return Completed(name="Skipped", message=f"{stage}: skipped: {reason}", data=outcome)

    def _cached(self, stage: str, outcome: Outcome) -> State:
        receipt = report.receipt(self.prepared.root, stage)
        if made_by := report.made_by(self.prepared.workspace.mlflow_uri, receipt):
            with contextlib.suppress(Exception):  # a server that does not answer never stops a stage
                headline = report.headline(receipt)
                text = f"**{stage}** is cached. Its outputs were made by {made_by}."
                text += f"\n\n{headline}" if headline else ""
                create_markdown_artifact(text, key=_key("made-by", stage), description=f"Who made {stage}")
        run = ((receipt or {}).get("mlflow") or {}).get("run_id")
        message = f"{stage}: made by MLflow run {run}" if run else f"{stage}: nothing changed"
        return Completed(name="Cached", message=message, data=outcome)


class _TaskRun(StageObserver):
    """What one stage's task run shows; made and used in its thread."""

    def __init__(self, stage: str, slot: DeviceSlot):
        self.stage, self.slot = stage, slot
        self._artifact: UUID | None = None
        self._last = 0.0

    def environment(self) -> Mapping[str, str]:
        ids = {
            "STEMMA_PREFECT_FLOW_RUN_ID": runtime.flow_run.id or runtime.task_run.flow_run_id,
            "STEMMA_PREFECT_FLOW_RUN_NAME": runtime.flow_run.name,
            "STEMMA_PREFECT_TASK_RUN_ID": runtime.task_run.id,
        }
        return {name: str(value) for name, value in ids.items() if value}

    def device(self, stopping: Callable[[], bool], waiting: Callable[[], None]) -> contextlib.AbstractContextManager:
        return self.slot.held(stopping, waiting)

    def progressed(self, tail: EventTail) -> None:
        if time.monotonic() - self._last >= ARTIFACT_SECONDS:
            self._last = time.monotonic()
            self._show(tail.progress.percent, str(tail.progress))

    def ended(self, outcome: Outcome) -> None:
        if self._artifact is not None:  # what needed no work had none
            self._show(100.0, f"{self.stage}: {outcome}")

    def say(self, message: str, *, error: bool = False) -> None:
        (get_run_logger().error if error else get_run_logger().info)("%s", message)

    def _show(self, percent: float, description: str) -> None:
        with contextlib.suppress(Exception):  # a server that does not answer never stops a stage
            if self._artifact is None:
                key = _key("progress", self.stage)
                self._artifact = create_progress_artifact(percent, key=key, description=description)
            else:
                update_progress_artifact(self._artifact, percent, description=description)


def _key(kind: str, stage: str) -> str:
    """An artifact's key: letters, digits and dashes only."""
    return f"{kind}-{slug(stage).replace('_', '-')}".lower()

"""One trial of a sweep: an isolated run of the sweep's tree with the trial's values, watched while it trains."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from core import events
from core.errors import StemmaError
from core.workspace import Workspace
from flows.pipeline import report
from flows.pipeline.execute import Observer, StageObserver, StageRun, execute
from flows.pipeline.finalize import Finished
from flows.pipeline.prepare import Prepared, Request, prepare
from flows.pipeline.progress import EventTail
from flows.pipeline.stage_process import Outcome, StageStopped
from flows.sweeps.metrics import TrialMetric
from registry.store import worktrees

#: Takes a point of the metric's curve (step, value); True where the trial is to end.
Watch = Callable[[int, float], bool]
#: Held while a stage trains: the device of a run from Prefect.
Device = Callable[[Callable[[], bool], Callable[[], None]], AbstractContextManager]


class NoMetric(StemmaError):
    """The stage ended well and did not make the sweep's metric, or it is no number."""


class Pruned(Exception):
    """The trial was ended early, since others were better by then."""


class SameWork:
    """Lets work that several trials have in common be done once: the second finds it in DVC's run cache."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def alone(self, work: Hashable) -> threading.Lock:
        """Held by the one trial that does this work."""
        with self._lock:
            return self._locks.setdefault(work, threading.Lock())


class TrialRun(Observer):
    """The run of one trial; it may be stopped from any thread.

    Args:
        workspace: the sweep's tree.
        values: by path, what the trial tries; ``fixed`` holds for all trials.
        watch: sees the metric's curve while the stage trains.
        same_work: shared by all trials.
        identity: of a stage in this trial: equal where the stage does the same work in another one.
        device: held while a stage trains.
    """

    def __init__(
        self,
        workspace: Workspace,
        run: str,
        values: Mapping[str, Any],
        until: str,
        metric: TrialMetric,
        *,
        watch: Watch = lambda step, value: False,
        same_work: SameWork | None = None,
        identity: Callable[[str], Hashable] = lambda stage: stage,
        device: Device = lambda stopping, waiting: nullcontext(),
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        super().__init__()
        self.workspace, self.run, self.values, self.until, self.metric = workspace, run, dict(values), until, metric
        self.watch, self.same_work, self.identity = watch, same_work or SameWork(), identity
        self.device, self.say = device, say
        self.prepared: Prepared | None = None
        self._stages: list[StageRun] = []
        self._stopping = threading.Event()
        self.pruned = False
        self._receipt: dict[str, Any] | None = None

    def work(self) -> tuple[float, float | None]:
        """Run it: the metric's value and its standard error.

        Raises:
            Pruned: ``watch`` said so; the stage saved its checkpoint.
            NoMetric: the metric was not made.
            StageStopped: :meth:`stop` was called.
            StageFailed, InputProblem, DvcError, RegistryError, WorktreeFailed: as of any run.
        """
        forget_tree(self.workspace, self.run)  # of an attempt that was killed; its checkpoints lie elsewhere
        self.prepared = prepare(
            self.workspace, Request(self.values, self.until, isolated=True, run=self.run), lambda message: None
        )
        try:
            execute(replace(self.prepared, trial=True), self)
        except StageStopped:
            if self.pruned:
                raise Pruned from None
            raise
        for metric in (self._receipt or {}).get("metrics", []):
            if metric.get("name") == self.metric.name:
                if not math.isfinite(metric["value"]):
                    raise NoMetric(f"{self.metric} is {metric['value']}: the training diverged")
                return float(metric["value"]), metric.get("stderr")
        skipped = (self._receipt or {}).get("skipped")
        why = f": it was skipped, {skipped}" if skipped else ""
        raise NoMetric(f"{self.metric.stage} did not make the metric {self.metric.name}{why}")

    @property
    def measured(self) -> dict[str, Any]:
        """Of the metric's stage, by its receipt: ``metrics``, ``tokens``, ``seconds`` and ``processes``."""
        receipt = self._receipt or {}
        return {name: receipt[name] for name in ("metrics", "tokens", "seconds", "processes") if name in receipt}

    def stop(self) -> None:
        """Have its stages save their checkpoints and end."""
        self._stopping.set()
        for stage in list(self._stages):
            stage.stop()

    def begin(self, stage: StageRun, after: Collection[str]) -> Future[Outcome]:
        self._stages.append(stage)
        if self._stopping.is_set():
            stage.stop()
        self._work[stage.name] = self._pool.submit(self._bring_up_to_date, stage)
        return self._work[stage.name]

    def finish(self, work: Callable[[], Finished]) -> Finished:
        assert self.prepared is not None
        finished = work()
        self._receipt = report.receipt(self.prepared.root, self.metric.stage)
        return finished

    def prune(self) -> None:
        """As :meth:`stop`, since others are better."""
        self.pruned = True
        self.stop()

    def _bring_up_to_date(self, stage: StageRun) -> Outcome:
        with self.same_work.alone((stage.name, self.identity(stage.name))):
            return stage.bring_up_to_date(_Watching(self, stage.name))


class OnDevice(Observer):
    """Runs what all trials have in common; what trains, on the sweep's device."""

    def __init__(self, device: Device, say: Callable[[str], None]):
        super().__init__()
        self.device, self.say = device, say

    def begin(self, stage: StageRun, after: Collection[str]) -> Future[Outcome]:
        self._work[stage.name] = self._pool.submit(stage.bring_up_to_date, _StageOnDevice(self.device, self.say))
        return self._work[stage.name]


class _StageOnDevice(StageObserver):
    def __init__(self, device: Device, say: Callable[[str], None]):
        self._device, self._say = device, say

    def device(self, stopping: Callable[[], bool], waiting: Callable[[], None]) -> AbstractContextManager:
        return self._device(stopping, waiting)

    def say(self, message: str, *, error: bool = False) -> None:
        if not error:  # an error reaches the one who asked for the sweep
            self._say(message)


class _Watching(_StageOnDevice):
    """Sees one stage of a trial."""

    def __init__(self, trial: TrialRun, stage: str):
        super().__init__(trial.device, trial.say)
        self.trial, self.stage = trial, stage
        self._curve: Curve | None = None

    def progressed(self, tail: EventTail) -> None:
        if self.trial.pruned or self.stage != self.trial.metric.stage or not self.trial.metric.curve:
            return  # a stage that is asked to end may make more points until it does
        self._curve = self._curve or Curve(tail.pointer, self.trial.metric.name)
        for step, value in self._curve.poll():
            if self.trial.watch(step, value):
                self.trial.prune()
                return


class Curve:
    """Follows the points of one metric in a stage's event log, whose path the harness writes into ``pointer``.

    Points of an earlier attempt at the same work are among them: a training that is resumed does not repeat them.
    """

    def __init__(self, pointer: Path, metric: str):
        self._pointer, self._metric = pointer, metric
        self._offset = 0

    def poll(self) -> list[tuple[int, float]]:
        """The points that are new, as (step, value)."""
        with suppress(FileNotFoundError, json.JSONDecodeError):
            log = Path(json.loads(self._pointer.read_text(encoding="utf-8")))
            found, self._offset = events.read(log, self._offset)
            return [
                (int(event["step"]), float(event["metrics"][self._metric]))
                for event in found
                if event.get("kind") == "point" and self._metric in event["metrics"]
            ]
        return []


def forget_tree(workspace: Workspace, run: str) -> None:
    """Remove the tree that a killed attempt at a run left, where no process holds it."""
    for leftover in worktrees.leftovers(workspace.home):
        if leftover.folder.name == run:
            worktrees.remove(workspace.root, leftover.folder)

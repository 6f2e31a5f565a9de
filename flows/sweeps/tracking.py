"""A sweep in MLflow: a parent run with the figures, a child for each trial, and the runs of its stages below that.

MLflow is a mirror of Optuna's record: what could not be sent while it was down is sent with the next trial.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from components.harness import tracking as harness
from core import files, layout
from core.errors import redacted
from core.workspace import Workspace
from flows.sweeps import figures
from flows.sweeps.study import Study, error_of
from flows.sweeps.winner import winner
from registry.promotion.mirror import unreachable

_SWEEP, _PIPELINE_RUN, _STATE = "stemma.sweep", "stemma.pipeline_run", "stemma.trial"
_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}


class Mirror:
    """Brings MLflow up to date with a sweep; a server that is away never stops it."""

    def __init__(self, workspace: Workspace, study: Study, say: Callable[[str], None]):
        self.workspace, self.study, self.say = workspace, study, say
        self._client: Any = None
        self._experiment = ""
        self._parent: str | None = None
        # Numbers of trials that MLflow may not have as they are.
        self._behind = [trial.number for trial in study.trials]

    def begin(self, trial: Trial) -> None:
        """Make the trial's run, below which those of its stages are made."""
        self._changed(trial)

    def end(self, trial: Trial) -> None:
        """Show what came of the trial, and the best so far."""
        self._changed(trial)

    def close(self) -> None:
        """Draw the figures, and end the parent run with them."""
        folder = layout.sweep(self.workspace.home, self.study.sweep.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        drawn = figures.draw(self.study, folder)
        self._try(lambda: self._finish(drawn))

    def _changed(self, trial: Trial) -> None:
        if trial.number not in self._behind:
            self._behind.append(trial.number)
        self._try(self._update)

    def _try(self, work: Callable[[], None]) -> None:
        if (why := unreachable(self.workspace.mlflow_uri)) is None:
            try:
                return work()
            except Exception as error:  # whatever the client raises: it never stops a sweep
                self._client, why = None, harness.cause(error)
        self.say(f"MLflow update incomplete; it is retried with the next trial: {redacted(why)}")

    def _connect(self) -> None:
        if self._client is None:
            self._client, self._experiment = harness.connect(self.workspace.home)
        self._parent = self._parent or self._make_parent()

    def _find(self, tag: str, value: str) -> str | None:
        found = self._client.search_runs([self._experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        return found[0].info.run_id if found else None

    def _make_parent(self) -> str:
        """The sweep's run: that of the stages that its trials have in common, if these made one."""
        sweep = self.study.sweep
        name = f"{sweep.name}: {', '.join(sweep.short.values())}"
        tags = {
            _PIPELINE_RUN: sweep.name,
            _SWEEP: sweep.name,
            "mlflow.note.content": f"`stemma sweep show {sweep.name}`",
        }
        identity = self._find(_PIPELINE_RUN, sweep.name)
        if identity is None:
            identity = str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)
        else:
            self._client.update_run(identity, name=name, status="RUNNING")
            for tag, value in tags.items():
                self._client.set_tag(identity, tag, value)
        varied = {each.path: each.text for each in sweep.dimensions}
        described = {"metric": str(sweep.metric), "sampler": sweep.sampler, "prune": sweep.prune}
        self._log_parameters(identity, {**varied, **sweep.fixed, **described})
        return identity

    def _update(self) -> None:
        self._connect()
        by_number = {trial.number: trial for trial in self.study.trials}
        for number in list(self._behind):
            self._show(by_number[number])
            self._behind.remove(number)
        best = winner(self.study)
        if best is not None and best.mean is not None:
            ended = sum(trial.state.is_finished() for trial in by_number.values())
            self._client.log_metric(self._parent, f"best_{self.study.sweep.metric.name}", best.mean, step=ended)

    def _show(self, trial: FrozenTrial) -> None:
        study, client = self.study, self._client
        run, values = study.run_name(trial), study.values(trial)
        identity = self._find(_PIPELINE_RUN, run)
        tags = {
            _PIPELINE_RUN: run,
            "mlflow.parentRunId": self._parent,
            "stemma.sweep_trial": f"{study.sweep.name} {trial.number}",
            _STATE: trial.state.name.lower(),
        }
        name = study.sweep.label(values)
        if identity is None:
            identity = client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
            self._log_parameters(identity, values)
        else:
            client.update_run(identity, name=name)
            for tag, value in tags.items():
                client.set_tag(identity, tag, value)
        # By this the stages find the run that theirs belong below.
        record = layout.run(self.workspace.home, run) / "parent.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(record, {"run_id": identity, "experiment_id": self._experiment})
        if not trial.state.is_finished():
            client.update_run(identity, status="RUNNING")
            return
        if trial.value is not None:
            client.log_metric(identity, study.sweep.metric.name, trial.value)
        if error := error_of(trial):
            client.set_tag(identity, "stemma.error", error[:5000])
        client.set_terminated(identity, status=_STATUS[trial.state])

    def _finish(self, drawn: list[Path]) -> None:
        self._update()
        for path in drawn:
            self._client.log_artifact(self._parent, str(path))
        best = winner(self.study)
        if best is not None:
            self._client.log_dict(self._parent, json.loads(json.dumps(best.as_dict(), default=str)), "winner.json")
            self._client.set_tag(self._parent, "stemma.winner", self.study.sweep.label(best.values))
        self._client.set_terminated(self._parent)

    def _log_parameters(self, run: str, values: dict[str, Any]) -> None:
        from mlflow.entities import Param

        shown = [Param(name, str(value)[: harness.VALUE_LIMIT]) for name, value in values.items()]
        self._client.log_batch(run, params=shown)

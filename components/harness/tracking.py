"""Replays a stage's spool of events into MLflow.

The component and the harness only ever append lines to a local file. A thread of the harness (or, later, `python -m
components replay`) reads them from where it last stopped and sends them to MLflow. So a server that is slow, down or
hung neither stops training nor loses a point: what could not be sent stays in the spool.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.harness.scratch import published_of
from core import events, layout, locks, mlflow_store
from core.errors import StemmaError, redacted
from core.files import read_json, write_json
from core.parameters_file import flatten
from core.workspace import mlflow_uri, sqlite_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "stemma"
KIND = "mlflow.experimentKind"
BATCH = 500  # MLflow takes at most 1,000 metrics a call; half leaves room for a slow server
VALUE_LIMIT = 500  # characters of a parameter value; the whole configuration is logged as an artifact too
_START: Mapping[str, Any] = {"offset": 0, "run_id": None, "parent_run_id": None, "experiment_id": None}


class TrackingProblem(StemmaError):
    """MLflow can be reached and takes nothing; the message says what to do."""


def connect(home: Path) -> tuple[MlflowClient, str]:
    """(client, experiment id) of ``MLFLOW_TRACKING_URI``, or of the home's own SQLite database.

    The first process makes the database and the experiment, the others wait for it: two processes on a fresh SQLite
    file race in MLflow's own migration, and ``set_experiment`` races into experiment 0.

    Raises:
        TrackingProblem: the experiment was deleted.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    uri = mlflow_uri(home)
    with locks.holding(layout.mlflow_lock(home)):
        database = layout.mlflow_database(home)
        if uri == sqlite_url(database):
            if database.exists():
                mlflow_store.adopt_artifacts(home)  # of a workspace that was moved or copied here
            else:
                mlflow_store.create_database(
                    database, lambda url: MlflowClient(tracking_uri=url).get_experiment_by_name(EXPERIMENT)
                )
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            # A server knows where its artifacts go; a bare database would put them into the current folder.
            location = layout.mlflow_artifacts(home).as_uri() if not uri.startswith("http") else None
            experiment = client.get_experiment(client.create_experiment(EXPERIMENT, artifact_location=location))
    if experiment.lifecycle_stage == "deleted":
        raise TrackingProblem(
            f"MLflow's experiment {EXPERIMENT!r} was deleted; restore it: MLFLOW_TRACKING_URI='{redacted(uri)}' "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    if KIND not in experiment.tags:  # without it MLflow's pages open in their mode for traces of applications
        client.set_experiment_tag(experiment.experiment_id, KIND, "custom_model_development")
    return client, experiment.experiment_id


def cause(error: BaseException) -> str:
    """Why MLflow could not be updated, in one line."""
    if isinstance(error, StemmaError):
        return str(error)
    lines = redacted(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


class Replay:
    """Reads one spool and sends MLflow what it has not been sent yet."""

    def __init__(self, home: Path, spool: Path):
        self.home, self.spool = home, spool
        self._cursor_path = layout.replay_cursor(spool)
        self.cursor: dict[str, Any] = {**_START, "last_steps": {}, **read_json(self._cursor_path, {})}
        self._client: Any = None

    @property
    def pending(self) -> bool:
        """True while the spool holds events that MLflow was not sent."""
        return self.spool.exists() and self.spool.stat().st_size > self.cursor["offset"]

    def step(self) -> bool:
        """Send the next batch of events; True if there was one.

        A run that somebody deleted in MLflow is replaced by a new one, to which the whole spool is sent again.

        Raises:
            TrackingProblem: MLflow's experiment was deleted.
            Exception: whatever MLflow's client raises when it cannot be reached; nothing is lost then.
        """
        try:
            return self._step()
        except BaseException as error:
            # What was prepared in memory was not sent; take up again from what is on disk.
            self.cursor = {**_START, "last_steps": {}, **read_json(self._cursor_path, {})}
            self._client = None
            if isinstance(error, Exception) and self._replace_deleted_runs():
                return True
            raise

    def _step(self) -> bool:
        found, end = events.read(self.spool, self.cursor["offset"], BATCH)
        if end == self.cursor["offset"]:
            return False
        if self._client is None:
            self._client, self.cursor["experiment_id"] = connect(self.home)
        points: list[tuple[str, float, int, int]] = []
        for event in found:
            if event["kind"] == "point":
                points += self._new_points(event)
            else:
                self._log_points(points)
                points = []
                self._send(event)
        self._log_points(points)
        self.cursor["offset"] = end
        write_json(self._cursor_path, self.cursor)
        return True

    def _replace_deleted_runs(self) -> bool:
        """See that MLflow still has the spool's runs; True if one was deleted, and the next step may succeed."""
        run, parent = self.cursor["run_id"], self.cursor["parent_run_id"]
        if run is None or parent is None:
            return False
        client, experiment = connect(self.home)
        if _is_deleted(client, run):
            self.cursor = {**_START, "last_steps": {}}
        elif _is_deleted(client, parent):
            opened = next(event for event in events.read(self.spool)[0] if event["kind"] == "open")
            parent = _parent_of(client, experiment, self.home, opened)
            client.set_tag(run, "mlflow.parentRunId", parent)
            self.cursor["parent_run_id"] = parent
        else:
            return False
        write_json(self._cursor_path, self.cursor)
        return True

    def _new_points(self, event: Mapping[str, Any]) -> list[tuple[str, float, int, int]]:
        """The event's points that were not sent before: a resumed stage logs again what follows its checkpoint."""
        steps, fresh = self.cursor["last_steps"], []
        for name, value in event["metrics"].items():
            if event["step"] > steps.get(name, -1):
                steps[name] = event["step"]
                fresh.append((name, value, int(event["time"] * 1000), event["step"]))
        return fresh

    def _log_points(self, points: list[tuple[str, float, int, int]]) -> None:
        if points:
            from mlflow.entities import Metric

            self._client.log_batch(self.cursor["run_id"], metrics=[Metric(*point) for point in points])

    def _send(self, event: Mapping[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def _on_open(self, event: Mapping[str, Any]) -> None:
        """Start the stage's run, or set the run of an interrupted attempt going again."""
        client, experiment = self._client, self.cursor["experiment_id"]
        parent = _parent_of(client, experiment, self.home, event)
        # The spool's own name lets a run be found whose creation succeeded while the answer was lost.
        spool = self.cursor.setdefault("spool", uuid.uuid4().hex)
        self.cursor["parent_run_id"] = parent
        write_json(self._cursor_path, {**self.cursor, "last_steps": {}} if self.cursor["offset"] == 0 else self.cursor)
        tags = {**event["tags"], "mlflow.parentRunId": parent, "stemma.spool": spool}
        run_id = self.cursor["run_id"] or _find(client, experiment, "stemma.spool", spool)
        if run_id is None:
            start = int(event["time"] * 1000)
            run_id = client.create_run(experiment, start_time=start, tags=tags, run_name=event["name"]).info.run_id
        else:
            client.update_run(run_id, status="RUNNING")
            for name, value in tags.items():
                client.set_tag(run_id, name, value)
        self.cursor["run_id"] = run_id
        self._log_configuration(event)

    def _log_configuration(self, event: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        client, run_id = self._client, self.cursor["run_id"]
        values = flatten(event["parameters"])
        if values.get("seed") is None:  # a stage may have one of its own
            values["seed"] = event["seed"]
        client.log_batch(run_id, params=[Param(name, str(value)[:VALUE_LIMIT]) for name, value in values.items()])
        client.log_dict(run_id, event["parameters"], "parameters.json")
        client.log_dict(run_id, event["environment"], "environment.json")
        client.log_inputs(
            run_id,
            [
                DatasetInput(
                    Dataset(
                        name=item["path"],
                        digest=item["digest"],
                        source_type="dvc",
                        source=json.dumps({"path": item["path"], "md5": item["digest"]}),
                        profile=json.dumps({"bytes": item["size"]}),
                    ),
                    [InputTag("mlflow.data.context", item["role"])],
                )
                for item in event["inputs"]
            ],
        )

    def _on_metric(self, event: Mapping[str, Any]) -> None:
        """A final metric, with its error and its baselines beside it under stable names.

        A slash in them would make a section of charts of each metric's error, before the charts of the metrics.
        """
        values = {event["name"]: event["value"]}
        if event["stderr"] is not None:
            values[f"{event['name']}.stderr"] = event["stderr"]
        values |= {f"{event['name']}.baseline.{name}": value for name, value in event["baselines"].items()}
        # The tracking server shows the point of the highest step as the value: a curve of the same name ends here.
        when, steps = int(event["time"] * 1000), self.cursor["last_steps"]
        self._log_points([(name, float(value), when, steps.get(name, 0)) for name, value in values.items()])

    def _on_artifact(self, event: Mapping[str, Any]) -> None:
        staged = Path(event["path"])
        for path in (self.spool.with_name("kept") / staged.name, staged, published_of(staged)):
            with contextlib.suppress(FileNotFoundError):  # absent, or published while it was being read
                self._client.log_artifact(self.cursor["run_id"], str(path))
                return

    def _on_warning(self, event: Mapping[str, Any]) -> None:
        number = self.cursor["warnings"] = self.cursor.get("warnings", 0) + 1
        name = "stemma.warning" if number == 1 else f"stemma.warning.{number}"
        self._client.set_tag(self.cursor["run_id"], name, event["message"][:5000])

    def _on_close(self, event: Mapping[str, Any]) -> None:
        for name, value in event["tags"].items():
            self._client.set_tag(self.cursor["run_id"], name, value)
        ended = int(event["time"] * 1000)
        self._client.set_terminated(self.cursor["run_id"], status=event["status"], end_time=ended)
        # The pipeline run lasts until its last stage ends, and which one that is is not known here.
        self._client.set_terminated(self.cursor["parent_run_id"], end_time=ended)


class ReplayThread(threading.Thread):
    """Keeps MLflow up to date with one spool while a stage runs; a dead or hung server only makes it late."""

    def __init__(self, replay: Replay):
        super().__init__(daemon=True, name="mlflow-replay")
        self.replay = replay
        self.error: Exception | None = None
        self._finish = threading.Event()
        self.started_run = threading.Event()

    def run(self) -> None:
        patience = 0.5
        while True:
            try:
                sent = self.replay.step()
                self.error, patience = None, 0.5
                if self.replay.cursor["run_id"]:
                    self.started_run.set()
            except Exception as error:  # any failure of the server or the network: keep the spool, try again
                self.error, sent = error, False
                patience = min(patience * 2, 30.0)
                if self._finish.is_set():
                    return
            if self._finish.is_set() and not sent and not self.replay.pending:
                return
            if not sent:
                self._finish.wait(patience)

    def wait_for_run(self, timeout: float) -> None:
        """Wait until the tracking run exists, unless the server is known not to answer."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.error is None and not self.started_run.wait(0.1):
            pass

    def finish(self, timeout: float) -> bool:
        """Send what is left for at most ``timeout`` seconds; True if MLflow has all of it."""
        self._finish.set()
        self.join(timeout)
        return not self.is_alive() and not self.replay.pending


def _parent_of(client: MlflowClient, experiment_id: str, home: Path, opened: Mapping[str, Any]) -> str:
    """The MLflow run that stands for the pipeline run of a stage; the first stage that needs it makes it."""
    record = layout.run(home, opened["run"]) / "parent.json"
    with locks.holding(record.with_suffix(".lock")):
        known: str | None = read_json(record, {}).get("run_id")
        if known and not _is_deleted(client, known):
            return known
        run_id = _find(client, experiment_id, "stemma.pipeline_run", opened["run"])
        if run_id is None:
            tags = opened["tags"]
            inherited = {name: tags[name] for name in ("mlflow.source.git.commit", "mlflow.user") if name in tags}
            made = client.create_run(
                experiment_id,
                start_time=int(opened["time"] * 1000),
                tags={"stemma.pipeline_run": opened["run"], **inherited},
                run_name=shown_run(opened["run"]),
            )
            run_id = str(made.info.run_id)
            client.set_terminated(run_id)
        write_json(record, {"run_id": run_id, "experiment_id": experiment_id})
        return run_id


def shown_run(name: str) -> str:
    """A run's name with what differs first: MLflow's tables cut ``run-20261128-213000-ab12`` to its date."""
    made = re.fullmatch(r"(\w+)-(\d{8}-\d{6})-(\w+)", name)
    return f"{made[3]} {made[1]} {made[2]}" if made else name


def _find(client: MlflowClient, experiment_id: str, tag: str, value: str) -> str | None:
    found = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
    return found[0].info.run_id if found else None


def _is_deleted(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return True
        raise


def replay_pending(home: Path) -> tuple[int, list[str]]:
    """Send MLflow what the spools still hold: (spools that were sent, what could not be sent and why)."""
    sent, failures = 0, []
    for spool in layout.event_logs(home):
        if events.sent(spool):
            continue
        with locks.holding(layout.scratch_lock(spool), wait=False) as lock:
            if lock is None:
                continue  # a stage runs, and sends its own
            replay = Replay(home, spool)
            try:
                while replay.step():
                    pass
                sent += 1
            except Exception as error:
                failures.append(f"{spool.parent.parent.parent.name}: {cause(error)}")
    return sent, failures

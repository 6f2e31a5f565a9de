"""Replays a stage's spool of events into MLflow.

The component and the harness only ever append lines to a local file. A thread of the harness (or, later, `python -m
components replay`) reads them from where it last stopped and tells MLflow. So a server that is slow, down or hung
neither stops training nor loses a point: what could not be told stays in the spool.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.files import read_json, write_json
from core.parameters_file import flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "stemma"
BATCH = 500  # MLflow takes at most 1,000 metrics a call; half leaves room for a slow server
VALUE_LIMIT = 500  # characters of a parameter value; the whole configuration is logged as an artifact too


def tracking_uri(home: Path) -> str:
    """``MLFLOW_TRACKING_URI``, or the workspace's own SQLite database."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def connect(home: Path) -> tuple[MlflowClient, str]:
    """(client, experiment id). The first process makes the database and the experiment, the others wait for it.

    Two processes on a fresh SQLite file race in MLflow's own migration, and ``set_experiment`` races into
    experiment 0; the lock prevents both.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    uri = tracking_uri(home)
    with _file_lock(home / "mlflow.lock"):
        database = home / "mlflow.db"
        if uri == f"sqlite:///{database}" and not database.exists():
            _make_database(database)
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return client, experiment.experiment_id
        # A server knows where its artifacts go; a bare database would put them into the current folder.
        location = (home / "mlartifacts").as_uri() if not uri.startswith("http") else None
        return client, client.create_experiment(EXPERIMENT, artifact_location=location)


def _make_database(path: Path) -> None:
    """Let MLflow make its database under another name: a process killed within the migration leaves no half of one."""
    from mlflow import MlflowClient

    partial = path.with_name(f"{path.name}.partial")
    for leftover in path.parent.glob(f"{partial.name}*"):
        leftover.unlink()
    MlflowClient(tracking_uri=f"sqlite:///{partial}").get_experiment_by_name(EXPERIMENT)
    with contextlib.closing(sqlite3.connect(partial)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.replace(partial, path)


class Replay:
    """Reads one spool and tells MLflow what it has not told it yet."""

    def __init__(self, home: Path, events: Path):
        self.home, self.events = home, events
        self._cursor_path = events.with_name("cursor.json")
        self.cursor: dict[str, Any] = {
            "offset": 0,
            "run_id": None,
            "parent_run_id": None,
            "experiment_id": None,
            "last_steps": {},
        }
        self.cursor.update(read_json(self._cursor_path, {}))
        self._client: MlflowClient | None = None

    @property
    def pending(self) -> bool:
        """True while the spool holds events that MLflow was not told."""
        return self.events.exists() and self.events.stat().st_size > self.cursor["offset"]

    def step(self) -> bool:
        """Tell the next batch of events; True if there was one.

        Raises:
            Exception: whatever MLflow's client raises when it cannot be reached; nothing is lost then.
        """
        try:
            return self._step()
        except BaseException:
            # What was prepared in memory was not told; take up again from what is on disk.
            self.cursor.update(read_json(self._cursor_path, {"offset": 0, "last_steps": {}}))
            self._client = None
            raise

    def _step(self) -> bool:
        lines, end = self._next_lines()
        if not lines:
            return False
        if self._client is None:
            self._client, self.cursor["experiment_id"] = connect(self.home)
        points: list[tuple[str, float, int, int]] = []
        for event in lines:
            if event["kind"] == "point":
                points += self._new_points(event)
            else:
                self._log_points(points)
                points = []
                self._tell(event)
        self._log_points(points)
        self.cursor["offset"] = end
        write_json(self._cursor_path, self.cursor)
        return True

    def _next_lines(self) -> tuple[list[dict[str, Any]], int]:
        events: list[dict[str, Any]] = []
        end = self.cursor["offset"]
        if not self.events.exists():
            return events, end
        with open(self.events, "rb") as file:
            file.seek(end)
            for line in file:
                if not line.endswith(b"\n") or len(events) >= BATCH:
                    break
                end += len(line)
                # A process killed within a write leaves a torn line; the next attempt ends it with a newline.
                with contextlib.suppress(json.JSONDecodeError):
                    events.append(json.loads(line))
        return events, end

    def _new_points(self, event: Mapping[str, Any]) -> list[tuple[str, float, int, int]]:
        """The event's points that were not told before: a resumed stage logs again what follows its checkpoint."""
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

    def _tell(self, event: Mapping[str, Any]) -> None:
        handler = getattr(self, f"_tell_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def _tell_open(self, event: Mapping[str, Any]) -> None:
        """Start the stage's run, or set the run of an interrupted attempt going again."""
        client, experiment = self._client, self.cursor["experiment_id"]
        parent = parent_run(client, experiment, self.home, event["run"], event["tags"], int(event["time"] * 1000))
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
        values = {"seed": event["seed"], **flatten(event["parameters"])}
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

    def _tell_metric(self, event: Mapping[str, Any]) -> None:
        """A final figure, with its error and its baselines beside it under stable names."""
        values = {event["name"]: event["value"]}
        if event["stderr"] is not None:
            values[f"{event['name']}/stderr"] = event["stderr"]
        values |= {f"{event['name']}/baseline/{name}": value for name, value in event["baselines"].items()}
        # The tracking server shows the point of the highest step as the value: a curve of the same name ends here.
        when, steps = int(event["time"] * 1000), self.cursor["last_steps"]
        self._log_points([(name, float(value), when, steps.get(name, 0)) for name, value in values.items()])

    def _tell_artifact(self, event: Mapping[str, Any]) -> None:
        staged = Path(event["path"])
        published = Path(
            *(
                part.removeprefix(".").removesuffix(".partial") if part.endswith(".partial") else part
                for part in staged.parts
            )
        )
        for path in (self.events.with_name("kept") / staged.name, staged, published):
            if path.exists():
                self._client.log_artifact(self.cursor["run_id"], str(path))
                return

    def _tell_warning(self, event: Mapping[str, Any]) -> None:
        number = self.cursor["warnings"] = self.cursor.get("warnings", 0) + 1
        name = "stemma.warning" if number == 1 else f"stemma.warning.{number}"
        self._client.set_tag(self.cursor["run_id"], name, event["message"][:5000])

    def _tell_close(self, event: Mapping[str, Any]) -> None:
        for name, value in event["tags"].items():
            self._client.set_tag(self.cursor["run_id"], name, value)
        ended = int(event["time"] * 1000)
        self._client.set_terminated(self.cursor["run_id"], status=event["status"], end_time=ended)
        # The pipeline run lasts until its last stage ends; which one that is nobody here knows.
        self._client.set_terminated(self.cursor["parent_run_id"], end_time=ended)


class ReplayThread(threading.Thread):
    """Keeps one spool told while a stage runs; a dead or hung server only makes it late."""

    def __init__(self, replay: Replay):
        super().__init__(daemon=True, name="mlflow-replay")
        self.replay, self.error = replay, None
        self._finish = threading.Event()
        self.started_run = threading.Event()

    def run(self) -> None:
        patience = 0.5
        while True:
            try:
                told = self.replay.step()
                self.error, patience = None, 0.5
                if self.replay.cursor["run_id"]:
                    self.started_run.set()
            except Exception as error:  # any failure of the server or the network: keep the spool, try again
                self.error, told = error, False
                patience = min(patience * 2, 30.0)
                if self._finish.is_set():
                    return
            if self._finish.is_set() and not told and not self.replay.pending:
                return
            if not told:
                self._finish.wait(patience)

    def wait_for_run(self, timeout: float) -> None:
        """Wait until the tracking run exists, unless the server is known not to answer."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.error is None and not self.started_run.wait(0.1):
            pass

    def finish(self, timeout: float) -> bool:
        """Tell what is left for at most ``timeout`` seconds; True if all of it was told."""
        self._finish.set()
        self.join(timeout)
        return not self.is_alive() and not self.replay.pending


def parent_run(
    client: MlflowClient, experiment_id: str, home: Path, run: str, tags: Mapping[str, str], started: int
) -> str:
    """The MLflow run that stands for the pipeline run ``run``; the first stage that asks makes it.

    Args:
        started: when that stage started, in milliseconds since the epoch.
    """
    record = home / "runs" / run / "parent.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    with _file_lock(record.with_suffix(".lock")):
        if run_id := read_json(record, {}).get("run_id"):
            return run_id
        run_id = _find(client, experiment_id, "stemma.pipeline_run", run)
        if run_id is None:
            inherited = {name: tags[name] for name in ("mlflow.source.git.commit", "mlflow.user") if name in tags}
            made = client.create_run(
                experiment_id, start_time=started, tags={"stemma.pipeline_run": run, **inherited}, run_name=run
            )
            run_id = made.info.run_id
            client.set_terminated(run_id)
        write_json(record, {"run_id": run_id, "experiment_id": experiment_id})
        return run_id


def _find(client: MlflowClient, experiment_id: str, tag: str, value: str) -> str | None:
    found = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
    return found[0].info.run_id if found else None


def replay_pending(home: Path) -> tuple[int, list[str]]:
    """Tell MLflow every spool that still holds something: (spools told, what could not be told and why)."""
    told, failures = 0, []
    for events in sorted((home / "scratch").glob("*/*/tracking/events.jsonl")):
        if not Replay(home, events).pending:
            continue
        with _file_lock(events.with_name("lock"), wait=False) as free:
            if not free:
                continue
            replay = Replay(home, events)  # whoever held the lock may have moved the cursor
            try:
                while replay.step():
                    pass
                told += 1
            except Exception as error:
                failures.append(f"{events.parent.parent.parent.name}: {type(error).__name__}: {error}")
    return told, failures


@contextlib.contextmanager
def _file_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            free = True
        except BlockingIOError:
            free = False
        yield free

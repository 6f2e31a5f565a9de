"""MLflow as a mirror of the registry: versions, aliases, promotions, and a pipeline run's parameters and metrics.

The registry is the source of truth. What cannot be sent now stays pending and is sent at the next sync. When nothing is
pending, MLflow is not even imported (it takes seconds).
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import select

from core import layout
from core.errors import KeyProblem, redacted
from core.files import private_folder
from core.locks import FileLock
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.references import current_aliases
from registry.db.schema import IMPORT, AliasMirror, Association, Execution, ExecutionContext, ModelVersion, Promotion
from registry.errors import UnsoundHistory
from registry.integrity import history
from registry.promotion.releases import EXPERIMENT as RELEASES
from registry.promotion.releases import mirror_release, pending_releases, title

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROBE_SECONDS = 3.0
VALUE_LIMIT = 500  # characters of a parameter's value that MLflow keeps
PARAMETERS_A_CALL = 100
RUN_NAME_TAG = "stemma.pipeline_run"
EXPERIMENT = "stemma"


@dataclass
class MirrorReport:
    """What was updated in MLflow.

    Attributes:
        updated: one line for each version, alias and run that was sent.
        pending: one line for each that MLflow still lacks.
        error: why the update is incomplete; ``None`` where it is complete.
    """

    updated: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    error: str | None = None


@dataclass
class _Pending:
    executions: list[Execution]
    versions: list[ModelVersion]
    contexts: list[ExecutionContext]
    aliases: list[Promotion]
    releases: list[tuple[int, Promotion]]

    def lines(self) -> list[str]:
        return [
            *(f"MLflow run of {execution.stage}" for execution in self.executions),
            *(f"model version {version}" for version in self.versions),
            *(f"parameters and metrics of run {context.name}" for context in self.contexts),
            *(f"alias {promotion.model.name}@{promotion.alias}" for promotion in self.aliases),
            *(f"record of {title(promotion)}" for _, promotion in self.releases),
        ]


def mirror(workspace: Workspace, registry: Registry) -> MirrorReport:
    """Send MLflow everything it lacks. Never raises because of MLflow, and never waits long for it."""
    pending = _pending(registry)
    report = MirrorReport(pending=pending.lines())
    if not report.pending:
        return report
    try:
        if pending.aliases or pending.releases:
            with registry.read() as session:
                history.require(workspace, session)  # nothing that nobody signed is shown as decided
    except (UnsoundHistory, KeyProblem) as error:
        report.error = str(error)
        return report
    if why := unreachable(workspace.mlflow_uri):
        report.error = why
        return report
    private_folder(workspace.home)
    try:
        # One at a time: MLflow has no get-or-create, and its first migration of a fresh SQLite file races.
        with FileLock(layout.mlflow_lock(workspace.home), timeout=60):
            client = connect(workspace)
            experiment = _experiment(client, workspace)
            for execution in pending.executions:
                _find_run(client, registry, execution, experiment)
            for version in _pending(registry).versions:  # read again: another process may have sent them meanwhile
                _send_version(client, registry, version, experiment)
                report.updated.append(f"model version {version}")
            for context in pending.contexts:
                if _send_context(client, registry, context, experiment):
                    report.updated.append(f"parameters and metrics of run {context.name}")
            for promotion in _pending(registry).aliases:
                _send_alias(client, registry, promotion)
                report.updated.append(f"alias {promotion.model.name}@{promotion.alias}")
            releases = _pending(registry).releases
            of_releases = _experiment(client, workspace, RELEASES) if releases else ""
            for context_id, promotion in releases:
                mirror_release(client, workspace, registry, of_releases, context_id, promotion)
                report.updated.append(f"record of {title(promotion)}")
    except Exception as error:  # a server, a network or a damaged database can raise anything
        lines = str(error).strip().splitlines() or [""]
        report.error = redacted(f"{type(error).__name__}: {lines[0][:300]}")
    report.pending = _pending(registry).lines()
    return report


def connect(workspace: Workspace) -> MlflowClient:
    """MLflow's client, with short timeouts; importing it takes seconds."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    import mlflow
    from mlflow import MlflowClient

    chosen = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(workspace.mlflow_uri)
    if chosen is None:  # MLflow sets it, and this process may turn to another workspace
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    return MlflowClient(tracking_uri=workspace.mlflow_uri)


def unreachable(uri: str) -> str | None:
    """Why MLflow's server does not answer; ``None`` where it does, or where only its client can tell (TLS, databases).

    To be called before the client is imported, which takes seconds and waits far longer for a server that is down.
    """
    address = urlsplit(uri)
    if address.scheme != "http":
        return None
    server = f"http://{address.netloc.rpartition('@')[2]}"
    try:
        with urllib.request.urlopen(f"{server}{address.path.rstrip('/')}/health", timeout=PROBE_SECONDS):
            return None
    except urllib.error.HTTPError:
        return None  # an answer all the same
    except (OSError, http.client.HTTPException) as error:
        return f"{server} does not answer ({getattr(error, 'reason', error)})"


def _pending(registry: Registry) -> _Pending:
    with registry.read() as session:
        sent = {
            (mirrored.model_id, mirrored.alias): mirrored.promotion_id
            for mirrored in session.scalars(select(AliasMirror))
        }
        aliases = [row for row in current_aliases(session) if sent.get((row.model_id, row.alias)) != row.id]
        for promotion in aliases:
            _ = promotion.to_version
        executions = session.scalars(
            select(Execution)
            .where(Execution.state == "COMPLETE", Execution.mlflow_run_id.is_(None), Execution.stage != IMPORT)
            .order_by(Execution.id.desc())
            .limit(100)
        ).all()
        versions = session.scalars(
            select(ModelVersion)
            .where(ModelVersion.mlflow_version.is_(None))
            .order_by(ModelVersion.model_id, ModelVersion.version)
        ).all()
        for version in versions:
            _ = version.execution.component
        contexts = session.scalars(
            select(ExecutionContext).where(
                ExecutionContext.mirrored.is_(False), ExecutionContext.type == "pipeline_run"
            )
        ).all()
        releases = pending_releases(session)
        session.expunge_all()
        return _Pending(list(executions), list(versions), list(contexts), aliases, releases)


def _experiment(client: MlflowClient, workspace: Workspace, name: str = EXPERIMENT) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    # A server knows where its artifacts go; a bare database would put them into the current folder.
    location = None if workspace.mlflow_uri.startswith("http") else layout.mlflow_artifacts(workspace.home).as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _find_run(client: MlflowClient, registry: Registry, execution: Execution, experiment: str) -> None:
    """The stage's own MLflow run, which came late because the server did not answer when the stage ran."""
    found = client.search_runs([experiment], f"tags.`stemma.fingerprint` = '{execution.fingerprint}'", max_results=10)
    found = [run for run in found if run.data.tags.get("stemma.stage", execution.stage) == execution.stage]
    # A reproduction does the same work, under the same fingerprint, but is not what made the bytes.
    found = [run for run in found if not run.data.tags.get("stemma.run", "").startswith("reproduction-")]
    if found:
        with registry.write() as session:
            row = session.get_one(Execution, execution.id)
            row.mlflow_run_id, row.mlflow_experiment_id = found[0].info.run_id, found[0].info.experiment_id


def _send_version(client: MlflowClient, registry: Registry, version: ModelVersion, experiment: str) -> None:
    """Register the version as an external model: MLflow shows it, DVC keeps its bytes."""
    import mlflow
    from mlflow.exceptions import MlflowException

    name, digest = version.model.name, version.artifact.digest
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [
        found for found in client.search_model_versions(f"name = '{name}'") if found.tags.get("stemma.digest") == digest
    ]
    if not known:
        execution = version.execution
        run_id = _existing_run(client, execution.mlflow_run_id)
        tags = {
            "stemma.digest": digest,
            "stemma.version": str(version.version),
            "stemma.path": version.artifact.name,
            "stemma.stage": execution.stage,
            "stemma.fingerprint": execution.fingerprint,
            "stemma.component_version": execution.component.version,
            "stemma.git_commit": execution.git_commit or "",
        }
        logged = mlflow.create_external_model(
            name=name, source_run_id=run_id, tags=tags, model_type="stemma", experiment_id=experiment
        )
        known = [client.create_model_version(name, logged.model_uri, run_id, tags=tags, model_id=logged.model_id)]
    with registry.write() as session:
        session.get_one(ModelVersion, version.id).mlflow_version = str(known[0].version)


def _existing_run(client: MlflowClient, run_id: str | None) -> str | None:
    """The run's id where this server has it: the receipt may come from another server."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        return str(client.get_run(run_id).info.run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _send_context(client: MlflowClient, registry: Registry, context: ExecutionContext, experiment: str) -> bool:
    from mlflow.entities import Metric, Param

    run_id = _existing_run(client, context.mlflow_run_id)
    if run_id is None:
        found = client.search_runs([experiment], f"tags.`{RUN_NAME_TAG}` = '{context.name}'", max_results=1)
        run_id = found[0].info.run_id if found else None
    if run_id is not None:
        data, summary = client.get_run(run_id).data, context.summary or {"parameters": {}, "metrics": {}}
        parameters = [  # immutable in MLflow: what is set stays
            Param(name, value[:VALUE_LIMIT]) for name, value in summary["parameters"].items() if name not in data.params
        ]
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, 0) for name, value in summary["metrics"].items() if data.metrics.get(name) != value
        ]
        for start in range(0, len(parameters), PARAMETERS_A_CALL):
            client.log_batch(run_id, params=parameters[start : start + PARAMETERS_A_CALL])
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
    elif _awaits_a_run(registry, context):
        return False
    with registry.write() as session:
        row = session.get_one(ExecutionContext, context.id)
        if row.summary == context.summary:
            row.mirrored = True
        row.mlflow_run_id = row.mlflow_run_id or run_id
    return run_id is not None


def _awaits_a_run(registry: Registry, context: ExecutionContext) -> bool:
    """True where a stage of the run executed without reaching MLflow: its parent run will come with its own."""
    with registry.read() as session:
        return (
            session.scalars(
                select(Execution)
                .join(Association, Association.execution_id == Execution.id)
                .where(
                    Association.context_id == context.id,
                    Execution.state == "COMPLETE",
                    Execution.mlflow_run_id.is_(None),
                    Execution.stage != IMPORT,
                )
            ).first()
            is not None
        )


def _send_alias(client: MlflowClient, registry: Registry, promotion: Promotion) -> None:
    with registry.read() as session:
        number: Any = session.get_one(ModelVersion, promotion.to_version_id).mlflow_version
    if number is None:
        raise RuntimeError(f"{promotion.model.name} has no version in MLflow yet")
    client.set_registered_model_alias(promotion.model.name, promotion.alias, number)
    with registry.write() as session:
        session.merge(AliasMirror(model_id=promotion.model_id, alias=promotion.alias, promotion_id=promotion.id))

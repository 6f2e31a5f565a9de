"""The registry as OpenLineage events: Run = execution, Job = component, Dataset = artifact with its digest as version.

Each pipeline run is the parent run of its executions. Run ids are derived from the registry's own keys, so exporting
again adds nothing to a server.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attr
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    JobFacet,
    RunFacet,
    dataset_type_dataset,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
)
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import files
from core.errors import first_line, redacted
from registry.db.schema import Artifact, Association, Event, Execution, ExecutionContext, MetricValue, ModelVersion
from registry.errors import ExportFailed
from registry.lineage.traversal import chunks

NAMESPACE = "stemma"
PRODUCER = "https://pypi.org/project/stemma-llm"
IDS = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
BATCH = 1000  # executions read at a time; bounds the memory
TIMEOUT_SECONDS = 10.0


@attr.define
class ExecutionRunFacet(RunFacet):
    """What Stemma records of a run beyond the standard facets."""

    fingerprint: str
    componentVersion: str
    codeDigest: str
    parameters: dict[str, Any]
    nonDefaultParameters: dict[str, Any]
    seed: int | None
    device: str | None
    processes: int | None
    tokens: int | None
    seconds: float | None
    gitCommit: str | None
    gitDirty: bool | None
    mlflowRunId: str | None
    prefectFlowRunId: str | None
    environment: dict[str, Any]

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}/#ExecutionRunFacet"


@attr.define
class ModelDatasetFacet(DatasetFacet):
    """The registered version that a dataset is."""

    model: str
    version: int

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}/#ModelDatasetFacet"


@attr.define
class MetricsDatasetFacet(DatasetFacet):
    """Metrics of a dataset (a model is one) that a run measured; ``evalSet`` is the digest they were measured on."""

    metrics: list[dict[str, Any]]

    @staticmethod
    def _get_schema() -> str:
        return f"{PRODUCER}/#MetricsDatasetFacet"


def events(session: Session) -> Iterator[RunEvent]:
    """A START and a COMPLETE or FAIL event of every pipeline run and every execution that ran, oldest first."""
    ids = list(
        session.scalars(
            select(Execution.id).where(Execution.state != "CACHED").order_by(Execution.started, Execution.id)
        )
    )
    seen: set[str] = set()
    for start in range(0, len(ids), BATCH):
        yield from _Batch(session, ids[start : start + BATCH]).events(seen)


def write(session: Session, file: Path) -> int:
    """Write the events to a file, one JSON object a line, whole or not at all; returns their number.

    Raises:
        ExportFailed: the file cannot be written.
    """
    count = 0
    try:
        if not file.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with files.replacing(file, "w") as opened:
            for event in events(session):
                opened.write(Serde.to_json(event) + "\n")
                count += 1
    except OSError as error:
        raise ExportFailed(
            f"{file} cannot be written: {error.strerror}; name a file in a folder you may write"
        ) from None
    return count


def send(session: Session, url: str) -> int:
    """Send the events to a server (its base URL; ``OPENLINEAGE_API_KEY`` is its key); returns their number.

    Raises:
        ExportFailed: the server cannot be reached or refuses; events that it took before may be sent again.
    """
    options: dict[str, Any] = {"type": "http", "url": url, "timeout": TIMEOUT_SECONDS}
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        options["auth"] = {"type": "api_key", "apiKey": key}
    count = 0
    try:
        client = OpenLineageClient(transport=HttpTransport(HttpConfig.from_dict(options)))
        for event in events(session):
            client.emit(event)
            count += 1
    except Exception as error:  # the client passes on every error of its HTTP library
        raise ExportFailed(
            f"{redacted(url)} took {count} events, then: {redacted(first_line(error))[:300]}; check that the server "
            "runs and send them again (none is taken twice)"
        ) from None
    return count


class _Batch:
    """The rows of some executions, and the events made of them."""

    def __init__(self, session: Session, ids: list[int]):
        self.executions = {row.id: row for row in session.scalars(select(Execution).where(Execution.id.in_(ids)))}
        self.order = ids
        self.links: defaultdict[int, list[tuple[Event, Artifact]]] = defaultdict(list)
        linked = select(Event, Artifact).join(Artifact, Artifact.id == Event.artifact_id)
        for event, artifact in session.execute(linked.where(Event.execution_id.in_(ids)).order_by(Event.id)):
            self.links[event.execution_id].append((event, artifact))
        self.parents: dict[int, ExecutionContext] = {}
        filed = select(Association.execution_id, ExecutionContext).join(
            ExecutionContext, ExecutionContext.id == Association.context_id
        )
        for execution_id, context in session.execute(
            filed.where(Association.execution_id.in_(ids)).order_by(ExecutionContext.id.desc())
        ):
            self.parents[execution_id] = context
        self.versions: dict[tuple[int, int], ModelVersion] = {
            (row.execution_id, row.artifact_id): row
            for row in session.scalars(select(ModelVersion).where(ModelVersion.execution_id.in_(ids)))
        }
        self.metrics: defaultdict[tuple[int, int], list[MetricValue]] = defaultdict(list)
        for row in session.scalars(
            select(MetricValue).where(MetricValue.execution_id.in_(ids)).order_by(MetricValue.id)
        ):
            self.metrics[row.execution_id, row.artifact_id].append(row)
        self.ends: dict[int, float] = {}
        for context in self.parents.values():
            self.ends.setdefault(context.id, 0.0)
        for chunk in chunks(self.ends):
            ended = select(Association.context_id, Execution.ended).join(
                Execution, Execution.id == Association.execution_id
            )
            for context_id, end in session.execute(ended.where(Association.context_id.in_(chunk))):
                self.ends[context_id] = max(self.ends[context_id], end or 0.0)

    def events(self, seen: set[str]) -> Iterator[RunEvent]:
        for execution_id in self.order:
            row, context = self.executions[execution_id], self.parents.get(execution_id)
            if context is not None and context.name not in seen:
                seen.add(context.name)
                yield from self._pipeline_run(context, row)
            began, ended = row.started or 0.0, row.ended or row.started or 0.0
            yield self._event(RunState.START, began, row, context, {})
            state = RunState.FAIL if row.state == "FAILED" else RunState.COMPLETE
            yield self._event(state, ended, row, context, self._outcome(row, began, ended))

    def _pipeline_run(self, context: ExecutionContext, first: Execution) -> Iterator[RunEvent]:
        run, job = Run(runId=_run_id("pipeline_run", context.name)), Job(NAMESPACE, "pipeline", _job_type("PIPELINE"))
        began = first.started or 0.0
        for state, moment in ((RunState.START, began), (RunState.COMPLETE, max(began, self.ends[context.id]))):
            yield RunEvent(eventType=state, eventTime=_time(moment), run=run, job=job, producer=PRODUCER)

    def _event(
        self,
        state: RunState,
        moment: float,
        row: Execution,
        context: ExecutionContext | None,
        facets: Mapping[str, RunFacet],
    ) -> RunEvent:
        parent = {}
        if context is not None:
            parent["parent"] = parent_run.ParentRunFacet(
                run=parent_run.Run(runId=_run_id("pipeline_run", context.name)),
                job=parent_run.Job(namespace=NAMESPACE, name="pipeline"),
                producer=PRODUCER,
            )
        links = self.links[row.id]
        return RunEvent(
            eventType=state,
            eventTime=_time(moment),
            producer=PRODUCER,
            run=Run(runId=_run_id("execution", row.key), facets={**parent, **facets}),
            job=Job(NAMESPACE, row.stage, _job_type("STAGE")),
            inputs=[
                InputDataset(NAMESPACE, artifact.name, facets=self._dataset(row, artifact))
                for event, artifact in links
                if event.direction == "INPUT"
            ],
            outputs=[
                OutputDataset(
                    NAMESPACE, artifact.name, facets=self._dataset(row, artifact), outputFacets=_statistics(artifact)
                )
                for event, artifact in links
                if event.direction == "OUTPUT" and state is not RunState.START
            ],
        )

    def _outcome(self, row: Execution, began: float, ended: float) -> dict[str, RunFacet]:
        facets: dict[str, RunFacet] = {
            "nominalTime": nominal_time_run.NominalTimeRunFacet(_time(began), _time(ended), producer=PRODUCER),
            "stemma_execution": ExecutionRunFacet(
                fingerprint=row.fingerprint,
                componentVersion=row.component.version,
                codeDigest=row.component.spec_digest,
                parameters=row.parameters,
                nonDefaultParameters=row.non_default,
                seed=row.seed,
                device=row.device,
                processes=row.processes,
                tokens=row.tokens,
                seconds=row.seconds,
                gitCommit=row.git_commit,
                gitDirty=row.git_dirty,
                mlflowRunId=row.mlflow_run_id,
                prefectFlowRunId=row.prefect_flow_run_id,
                environment=row.environment,
                producer=PRODUCER,
            ),
        }
        if row.error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(row.error, "python", producer=PRODUCER)
        return facets

    def _dataset(self, row: Execution, artifact: Artifact) -> dict[str, DatasetFacet]:
        facets: dict[str, DatasetFacet] = {
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(
                f"{artifact.hash_algo}:{artifact.digest}", producer=PRODUCER
            ),
            "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(
                "MODEL" if artifact.type == "model" else "FILE", artifact.type, producer=PRODUCER
            ),
        }
        version = self.versions.get((row.id, artifact.id))
        if version is not None:
            facets["stemma_model"] = ModelDatasetFacet(version.model.name, version.version, producer=PRODUCER)
        measured = self.metrics.get((row.id, artifact.id))
        if measured:
            facets["stemma_metrics"] = MetricsDatasetFacet(list(map(_metric, measured)), producer=PRODUCER)
        return facets


def _metric(row: MetricValue) -> dict[str, Any]:
    return {
        "name": row.name,
        "value": row.value,
        "stderr": row.stderr,
        "n": row.n,
        "higherIsBetter": row.higher_is_better,
        "baselines": row.baselines,
        "evalSet": row.eval_set.digest if row.eval_set else None,
    }


def _statistics(artifact: Artifact) -> dict[str, Any]:
    if artifact.size is None:
        return {}
    return {
        "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            size=artifact.size, fileCount=artifact.files, producer=PRODUCER
        )
    }


def _job_type(kind: str) -> dict[str, JobFacet]:
    return {"jobType": job_type_job.JobTypeJobFacet("BATCH", "STEMMA", kind, producer=PRODUCER)}


def _run_id(kind: str, key: str) -> str:
    return str(uuid.uuid5(IDS, json.dumps([kind, key])))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")

"""What pages list of a registry, a screenful at a time: models, versions of a model, pipeline runs.

Each question costs what it answers, and not what the registry holds: it reads one screenful by an index, and asks about
its rows alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session, lazyload, load_only

from registry.db.references import current_aliases, find_model
from registry.db.schema import (
    Association,
    Execution,
    ExecutionContext,
    MetricValue,
    ModelVersion,
    RegisteredModel,
    Snapshot,
)
from registry.errors import UnknownReference
from registry.lineage.catalog import MetricView, ModelSummary, metrics_of

ROWS = 50  # of a screenful
# Columns of an execution that a list shows: its parameters and its environment are most of a row.
_SHOWN = (
    Execution.stage, Execution.state, Execution.original_id, Execution.seconds, Execution.started, Execution.error,
    Execution.mlflow_experiment_id, Execution.mlflow_run_id, Execution.prefect_flow_run_id,
)  # fmt: skip
RUN = "pipeline_run"  # type of the context


@dataclass
class ModelLine:
    """A registered model: how many versions it has, which hold an alias, and its newest one."""

    name: str
    versions: int
    aliases: dict[str, int]
    newest: ModelSummary


@dataclass
class StageLine:
    """A stage of a pipeline run.

    Attributes:
        state: ``COMPLETE``, ``CACHED`` or ``FAILED``.
        seconds: that this run spent on it; ``None`` where it was cached.
        made_in: the run that really did the work; ``None`` where this one did.
        made: model versions.
    """

    stage: str
    state: str
    seconds: float | None
    started: float | None
    error: str | None
    mlflow: tuple[str, str] | None  # experiment, run
    prefect_flow_run: str | None
    made_in: str | None = None
    made: list[str] = field(default_factory=list)


@dataclass
class RunLine:
    """A pipeline run; ``states`` counts its stages by state, ``seconds`` is what they took together."""

    id: int
    name: str
    created: float
    states: dict[str, int]
    seconds: float
    made: list[str]
    mlflow: tuple[str, str] | None
    prefect_flow_run: str | None
    snapshot: str | None
    stages: list[StageLine] = field(default_factory=list)


def registered(session: Session, after: str = "", rows: int = ROWS) -> list[ModelLine]:
    """The registered models by name, those behind ``after``."""
    models = session.scalars(
        select(RegisteredModel).where(RegisteredModel.name > after).order_by(RegisteredModel.name).limit(rows)
    ).all()
    aliases: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for row in current_aliases(session):
        aliases[row.model_id][row.alias] = row.to_version.version
    found = []
    for model in models:
        # Versions are numbered from 1 and never removed.
        newest = versions(session, model.name, rows=1)
        if newest:
            found.append(ModelLine(model.name, newest[0].version, aliases[model.id], newest[0]))
    return found


def versions(session: Session, model: str, before: int | None = None, rows: int = ROWS) -> list[ModelSummary]:
    """The versions of a model, the newest first; those before the version ``before``.

    Raises:
        UnknownReference: there is no such model.
    """
    row = find_model(session, model)
    query = select(ModelVersion).filter_by(model_id=row.id).order_by(ModelVersion.version.desc()).limit(rows)
    if before is not None:
        query = query.where(ModelVersion.version < before)
    found = session.scalars(query).all()
    made_by = [version.execution_id for version in found]
    headlines = session.scalars(
        select(MetricValue).where(MetricValue.execution_id.in_(made_by), MetricValue.headline.is_(True))
    )
    metrics = {metric.execution_id: metric for metric in headlines}
    aliases: defaultdict[int, list[str]] = defaultdict(list)
    for promotion in current_aliases(session, row.id):
        aliases[promotion.to_version_id].append(promotion.alias)
    return [ModelSummary.of(version, aliases[version.id], metrics.get(version.execution_id)) for version in found]


@dataclass
class MetricRow:
    """A metric that a stage measured, of each version; ``eval_set`` and baselines are those of the newest value."""

    stage: str
    metric: str
    higher_is_better: bool | None
    eval_set: str | None
    baselines: dict[str, float]
    cells: list[MetricView | None]


@dataclass
class MetricTable:
    """The metrics of a model's latest versions, the newest version first."""

    versions: list[ModelSummary]
    rows: list[MetricRow]


def metrics_table(session: Session, model: str, count: int) -> MetricTable:
    """Everything that was measured of the latest versions of a model, by stage and metric.

    Raises:
        UnknownReference: there is no such model.
    """
    latest = versions(session, model, rows=count)
    id_of = {
        row.version: row.artifact_id
        for row in session.scalars(
            select(ModelVersion)
            .filter_by(model_id=find_model(session, model).id)
            .where(ModelVersion.version.in_([each.version for each in latest]))
        )
    }
    measured = [{(each.stage, each.name): each for each in metrics_of(session, id_of[v.version])} for v in latest]
    rows = []
    for name in dict.fromkeys(name for each in measured for name in each):
        cells = [each.get(name) for each in measured]
        newest = next(cell for cell in cells if cell is not None)
        rows.append(MetricRow(*name, newest.higher_is_better, newest.eval_set, newest.baselines, cells))
    return MetricTable(latest, sorted(rows, key=lambda row: row.stage))


def runs(session: Session, before: int | None = None, rows: int = ROWS) -> list[RunLine]:
    """Pipeline runs, the newest first; those whose id is below ``before``."""
    query = select(ExecutionContext).filter_by(type=RUN).order_by(ExecutionContext.id.desc()).limit(rows)
    if before is not None:
        query = query.where(ExecutionContext.id < before)
    return _runs(session, session.scalars(query).all())


def run(session: Session, name: str) -> RunLine:
    """One pipeline run, with its stages in the order in which they were done.

    Raises:
        UnknownReference: there is no such run.
    """
    contexts = session.scalars(select(ExecutionContext).filter_by(type=RUN, name=name)).all()
    if not contexts:
        raise UnknownReference(f"there is no run {name!r}; `/runs` lists those that the registry has")
    (found,) = _runs(session, contexts)
    return found


def _runs(session: Session, contexts: Sequence[ExecutionContext]) -> list[RunLine]:
    ids = [context.id for context in contexts]
    filed = session.execute(
        select(Association.context_id, Execution)
        .join(Execution, Execution.id == Association.execution_id)
        .where(Association.context_id.in_(ids))
        .options(lazyload(Execution.component), load_only(*_SHOWN))
        .order_by(Association.context_id, func.coalesce(Execution.started, 0.0), Execution.id)
    ).all()
    executions: defaultdict[int, list[Execution]] = defaultdict(list)
    for context_id, execution in filed:
        executions[context_id].append(execution)
    originals = {execution.original_id for _, execution in filed if execution.original_id is not None}
    sources = {row.id: row for row in session.scalars(select(Execution).where(Execution.id.in_(originals)))}
    filed_first = session.execute(
        select(Association.execution_id, ExecutionContext.name)
        .join(ExecutionContext, ExecutionContext.id == Association.context_id)
        .where(ExecutionContext.type == RUN, Association.execution_id.in_(originals))
    )
    made_in = {execution_id: name for execution_id, name in filed_first}
    made: defaultdict[int, list[str]] = defaultdict(list)
    for version in session.scalars(
        select(ModelVersion).where(ModelVersion.execution_id.in_([execution.id for _, execution in filed]))
    ):
        made[version.execution_id].append(str(version))
    commits = session.execute(select(Snapshot.context_id, Snapshot.commit_sha).where(Snapshot.context_id.in_(ids)))
    snapshots = {context_id: commit for context_id, commit in commits}
    return [
        _line(context, executions[context.id], sources, made_in, made, snapshots.get(context.id))
        for context in contexts
    ]


def _line(
    context: ExecutionContext,
    executions: list[Execution],
    sources: dict[int, Execution],
    made_in: dict[int, str],
    made: dict[int, list[str]],
    snapshot: str | None,
) -> RunLine:
    stages = []
    for execution in executions:
        source = sources.get(execution.original_id or 0, execution)
        experiment, run_id = source.mlflow_experiment_id, source.mlflow_run_id
        stages.append(
            StageLine(
                execution.stage,
                execution.state,
                execution.seconds if execution.original_id is None else None,
                execution.started,
                execution.error,
                (experiment, run_id) if experiment and run_id else None,
                execution.prefect_flow_run_id,
                made_in.get(execution.original_id or 0),
                made[execution.id] if execution.id in made else [],
            )
        )
    experiments = [stage.mlflow[0] for stage in stages if stage.mlflow]
    flow_runs = [stage.prefect_flow_run for stage in stages if stage.prefect_flow_run]
    return RunLine(
        context.id,
        context.name,
        context.created,
        dict(Counter(stage.state for stage in stages)),
        sum(stage.seconds or 0.0 for stage in stages),
        [version for stage in stages for version in stage.made],
        (experiments[0], context.mlflow_run_id) if experiments and context.mlflow_run_id else None,
        flow_runs[0] if flow_runs else None,
        snapshot,
        stages,
    )


def run_of(session: Session, execution_id: int) -> str | None:
    """The pipeline run that an execution was done in."""
    return session.scalars(
        select(ExecutionContext.name)
        .join(Association, Association.context_id == ExecutionContext.id)
        .where(ExecutionContext.type == RUN, Association.execution_id == execution_id)
        .order_by(ExecutionContext.id)
    ).first()

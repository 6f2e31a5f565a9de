"""Which models there are and how good they are: versions with aliases and key metric, and metrics as they are shown."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.references import aliases_by_version
from registry.db.schema import MetricValue, ModelVersion, RegisteredModel


@dataclass
class MetricView:
    """A metric of an artifact; ``stage`` measured it on the evaluation set of digest ``eval_set``."""

    name: str
    value: float
    stderr: float | None
    n: int | None
    higher_is_better: bool | None
    baselines: dict[str, float]
    headline: bool
    stage: str
    eval_set: str | None

    @classmethod
    def of(cls, row: MetricValue) -> MetricView:
        return cls(
            name=row.name,
            value=row.value,
            stderr=row.stderr,
            n=row.n,
            higher_is_better=row.higher_is_better,
            baselines=row.baselines,
            headline=row.headline,
            stage=row.execution.stage,
            eval_set=row.eval_set.digest if row.eval_set else None,
        )


def metrics_of(session: Session, artifact_id: int) -> list[MetricView]:
    """All metrics of an artifact, headline first, then in the order they were measured."""
    rows = session.scalars(
        select(MetricValue).filter_by(artifact_id=artifact_id).order_by(MetricValue.headline.desc(), MetricValue.id)
    )
    return [MetricView.of(row) for row in rows]


@dataclass
class ModelSummary:
    """One line of ``stemma models``; ``age`` in seconds."""

    model: str
    version: int
    aliases: list[str]
    metric: MetricView | None
    created: float
    age: float
    digest: str
    size: int | None

    @classmethod
    def of(cls, row: ModelVersion, aliases: list[str], headline: MetricValue | None) -> ModelSummary:
        return cls(
            model=row.model.name,
            version=row.version,
            aliases=aliases,
            metric=MetricView.of(headline) if headline else None,
            created=row.created,
            age=max(0.0, time.time() - row.created),
            digest=row.artifact.digest,
            size=row.artifact.size,
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def models(session: Session) -> list[ModelSummary]:
    """Every version of every registered model, newest version of a model first."""
    aliases = aliases_by_version(session)
    versions = session.scalars(
        select(ModelVersion).join(RegisteredModel).order_by(RegisteredModel.name, ModelVersion.version.desc())
    ).all()
    headlines = {
        metric.execution_id: metric
        for metric in session.scalars(
            select(MetricValue)
            .join(ModelVersion, ModelVersion.execution_id == MetricValue.execution_id)
            .where(MetricValue.headline.is_(True))
        )
    }
    return [
        ModelSummary.of(version, aliases.get(version.id, []), headlines.get(version.execution_id))
        for version in versions
    ]

"""Figures about an artifact, as they are shown and compared."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import MetricValue


@dataclass
class MetricView:
    """A figure about an artifact; ``stage`` measured it on the evaluation set of digest ``eval_set``."""

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
    """All figures about an artifact, headline first, then in the order they were measured."""
    rows = session.scalars(
        select(MetricValue).filter_by(artifact_id=artifact_id).order_by(MetricValue.headline.desc(), MetricValue.id)
    )
    return [MetricView.of(row) for row in rows]

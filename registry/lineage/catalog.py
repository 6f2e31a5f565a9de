"""Which models there are: every registered version with its aliases and key metric."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import MetricValue, ModelVersion, RegisteredModel
from registry.lineage.metrics import MetricView
from registry.promotion.aliases import aliases_by_version


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
    now = time.time()
    return [
        ModelSummary(
            model=version.model.name,
            version=version.version,
            aliases=aliases.get(version.id, []),
            metric=MetricView.of(headlines[version.execution_id]) if version.execution_id in headlines else None,
            created=version.created,
            age=max(0.0, now - version.created),
            digest=version.artifact.digest,
            size=version.artifact.size,
        )
        for version in versions
    ]

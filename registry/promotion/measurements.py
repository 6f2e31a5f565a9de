"""Metrics of versions, and which of them may be compared: like with like, or not at all.

Where a stage *reads* a model to measure it (``evaluate``), two values are comparable when the same code, with the same
parameters and seed, measured the same name on the same evaluation set. Where the stage that *made* the model measured
it on the way (a classifier's test accuracy), its code and parameters are the model's own and may differ: the evaluation
set and the component have to be the same. Only values of the first kind can be measured again for a finished model.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import Event, MetricValue, ModelVersion


@dataclass(frozen=True)
class Measurement:
    """A metric of a version, with everything that decides what it may be compared with.

    Attributes:
        stage: that measured it.
        read_from: where in the workspace that stage read the model; ``None`` where it made the model itself.
        eval_set: digest of what it was measured on.
        code, parameters, seed: of the measuring stage.
        started: unix seconds.
        execution: id of the measuring execution.
    """

    name: str
    value: float
    stderr: float | None
    higher_is_better: bool | None
    stage: str
    read_from: str | None
    eval_set: str | None
    component: str
    code: str
    parameters: str
    seed: int | None
    started: float
    execution: int

    def is_comparable(self, other: Measurement) -> bool:
        """Whether the two values may be compared."""
        if self.eval_set is None or (self.component, self.eval_set) != (other.component, other.eval_set):
            return False
        if (self.read_from is None) != (other.read_from is None):
            return False
        made = (self.code, self.parameters, self.seed) == (other.code, other.parameters, other.seed)
        return self.read_from is None or made

    def difference(self, other: Measurement) -> str:
        """Why they may not be compared."""
        if self.eval_set != other.eval_set or self.eval_set is None:
            return f"measured on {short(self.eval_set)} and {short(other.eval_set)}"
        if self.component != other.component or (self.read_from is None) != (other.read_from is None):
            return f"measured by {self.stage} and {other.stage}"
        parts = [part for part in ("code", "parameters", "seed") if getattr(self, part) != getattr(other, part)]
        return f"measured with other {' and '.join(parts)} of {self.component}"


@dataclass(frozen=True)
class Gap:
    """Metrics that a version lacks and that ``stage``, which reads it at ``path``, could measure."""

    stage: str
    path: str


def measurements(session: Session, version: ModelVersion, name: str) -> list[Measurement]:
    """A version's values of the metric ``name`` (or ``stage.name``), the most reliable last.

    Stages that read the model are more reliable than the stage that made it; among equals the newest is.
    """
    found = []
    for row in session.scalars(select(MetricValue).filter_by(artifact_id=version.artifact_id)):
        execution = row.execution
        if name not in (row.name, f"{execution.stage}.{row.name}"):
            continue
        read = session.scalars(
            select(Event.path).filter_by(execution_id=execution.id, artifact_id=version.artifact_id, direction="INPUT")
        ).first()
        found.append(
            Measurement(
                row.name,
                row.value,
                row.stderr,
                row.higher_is_better,
                execution.stage,
                read,
                row.eval_set.digest if row.eval_set else None,
                execution.component.name,
                execution.component.spec_digest,
                json.dumps(execution.parameters, sort_keys=True),
                execution.seed,
                execution.started or 0.0,
                execution.id,
            )
        )
    return sorted(found, key=lambda each: (each.read_from is not None, each.started))


def names_of(session: Session, version: ModelVersion) -> list[str]:
    """Names of all metrics of a version."""
    return sorted(set(session.scalars(select(MetricValue.name).filter_by(artifact_id=version.artifact_id))))


def counterpart(session: Session, mine: Measurement, other: ModelVersion, name: str) -> Measurement | None:
    """The other version's newest value that ``mine`` may be compared with."""
    comparable = [each for each in measurements(session, other, name) if each.is_comparable(mine)]
    return comparable[-1] if comparable else None


def gaps(session: Session, candidate: ModelVersion, champion: ModelVersion, names: Collection[str]) -> list[Gap]:
    """What would have to be measured so that the two can be compared in ``names``; empty where nothing can be done."""
    found = []
    for name in names:
        mine = measurements(session, candidate, name)
        if mine and mine[-1].read_from is not None and counterpart(session, mine[-1], champion, name) is None:
            found.append(Gap(mine[-1].stage, mine[-1].read_from))
    return list(dict.fromkeys(found))


def short(digest: str | None) -> str:
    """An evaluation set in words."""
    return f"evaluation set {digest[:12]}" if digest else "no known evaluation set"

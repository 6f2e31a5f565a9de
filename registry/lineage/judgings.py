"""What commands asked of judging models: `stemma compare --judge`, `stemma arena --judge`, `stemma feedback choose`.

An evaluation's own judging is part of its execution; that of a command made nothing, so it has a row of its own, which
`stemma cost` adds to what the judged models cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.database import Registry
from registry.db.schema import Artifact, JudgedModel, Judging
from registry.lineage.traversal import chunks


def record(
    registry: Registry,
    command: str,
    judge: str,
    endpoint: str,
    prompt_tokens: int,
    completion_tokens: int,
    models: Iterable[int],
) -> None:
    """Keep what a command asked; nothing where it asked for no token, as where every verdict was kept already.

    Args:
        models: the artifacts whose answers were judged, by their rows.
    """
    if not prompt_tokens and not completion_tokens:
        return
    with registry.write() as session:
        row = Judging(
            time=time.time(), command=command, judge=judge[:200], endpoint=endpoint, prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )  # fmt: skip
        session.add(row)
        session.flush()
        session.add_all(JudgedModel(judging_id=row.id, artifact_id=each) for each in sorted(set(models)))


def of_models(session: Session, digests: Sequence[str]) -> list[Judging]:
    """Every judging of one of these models, the oldest first, each once."""
    found: dict[int, Judging] = {}
    for chunk in chunks(digests):
        query = (
            select(Judging)
            .join(JudgedModel, JudgedModel.judging_id == Judging.id)
            .join(Artifact, Artifact.id == JudgedModel.artifact_id)
            .where(Artifact.digest.in_(chunk))
        )
        found |= {each.id: each for each in session.scalars(query)}
    return [found[each] for each in sorted(found)]

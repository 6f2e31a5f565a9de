"""Traversing the lineage: one recursive query upstream or downstream, and which of several makers an execution read.

Equal bytes may have been made more than once. The queries follow every making; :func:`maker` decides which of them an
execution read, so that ancestors and descendants of an artifact agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from registry.db.schema import Artifact, Event, Execution

CHUNK = 10_000  # ids in one statement; SQLite takes 32,766 parameters, PostgreSQL 65,535


def chunks(ids: Collection[Any]) -> Iterator[list[Any]]:
    """``ids`` (or digests) in lists that fit into one statement."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def upstream(session: Session, *execution_ids: int) -> set[int]:
    """Ids of executions and of all executions that made what they read, and so on."""
    start = select(Execution.id.label("execution_id")).where(Execution.id.in_(execution_ids))
    visited = start.cte("upstream", recursive=True)
    read, made = aliased(Event), aliased(Event)
    step = (
        select(made.execution_id)
        .select_from(visited)
        .join(read, (read.execution_id == visited.c.execution_id) & (read.direction == "INPUT"))
        .join(made, (made.artifact_id == read.artifact_id) & (made.direction == "OUTPUT"))
    )
    return set(session.scalars(select(visited.union(step).c.execution_id)))


@dataclass
class Reached:
    """What descends from a start: ids of artifacts and executions, nearest first, and their links.

    Attributes:
        artifacts: id of each artifact to its distance in executions.
        executions: ids of the executions that read a reached artifact, or made a start that is named by its maker.
    """

    artifacts: dict[int, int] = field(default_factory=dict)
    executions: dict[int, int] = field(default_factory=dict)


def downstream(session: Session, artifact_ids: Collection[int], maker_id: int | None = None) -> Reached:
    """What descends from the artifacts.

    Args:
        maker_id: count only readings of what this execution made: a model version is bytes *and* their making.
    """
    made: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    read: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    by_execution: defaultdict[int, list[int]] = defaultdict(list)
    for chunk in chunks(artifact_ids):
        for artifact_id, direction, execution_id, started in _links(session, chunk):
            if direction == "INPUT":
                read[artifact_id].append((started or 0.0, execution_id))
            elif (making := (started or 0.0, execution_id)) not in made[artifact_id]:
                made[artifact_id].append(making)
                by_execution[execution_id].append(artifact_id)
    reached = Reached({artifact_id: 0 for artifact_id in artifact_ids})
    # (artifact, its making that descends from the start; None: any)
    waiting: list[tuple[int, int | None]] = [(artifact_id, maker_id) for artifact_id in artifact_ids]
    if maker_id is not None:
        reached.executions[maker_id] = 0
    seen = set(waiting)
    for artifact_id, descended in waiting:  # grows meanwhile
        distance = reached.artifacts[artifact_id]
        for reader in read.get(artifact_id, ()):
            if descended is not None and maker(made[artifact_id], reader) != descended:
                continue
            reached.executions.setdefault(reader[1], distance + 1)
            for output in by_execution[reader[1]]:
                reached.artifacts.setdefault(output, distance + 1)
                if (output, reader[1]) not in seen:
                    seen.add((output, reader[1]))
                    waiting.append((output, reader[1]))
    return reached


def maker(makings: Iterable[tuple[float, int]], reader: tuple[float, int]) -> int | None:
    """Id of the execution that made the bytes which ``reader`` read; both as (start time, id).

    The last making before the reading; else the first one after it (clocks differ); never the reader itself.
    """
    others = sorted(making for making in makings if making[1] != reader[1])
    earlier = [making for making in others if making[0] <= reader[0]]
    chosen = earlier[-1] if earlier else next(iter(others), None)
    return chosen[1] if chosen else None


def _links(session: Session, artifact_ids: list[int]) -> Iterator[tuple[int, str, int, float | None]]:
    """Every making and reading of the artifacts and of all their possible descendants.

    Yields (artifact, direction, execution, start of the execution).
    """
    read, made = aliased(Event), aliased(Event)
    start = select(Artifact.id.label("artifact_id")).where(Artifact.id.in_(artifact_ids))
    visited = start.cte("downstream", recursive=True)
    step = (
        select(made.artifact_id)
        .select_from(visited)
        .join(read, (read.artifact_id == visited.c.artifact_id) & (read.direction == "INPUT"))
        .join(made, (made.execution_id == read.execution_id) & (made.direction == "OUTPUT"))
    )
    visited = visited.union(step)
    links = (
        select(Event.artifact_id, Event.direction, Event.execution_id, Execution.started)
        .select_from(visited)
        # Outer joins only to fix their order: SQLite would read all events instead and look each up.
        .outerjoin(Event, Event.artifact_id == visited.c.artifact_id)
        .outerjoin(Execution, Execution.id == Event.execution_id)
    )
    return (tuple(row) for row in session.execute(links).all() if row[2] is not None)

"""What the lineage of a model holds of the evaluation set that a metric rests on.

A stage that makes training and evaluation sets compares them and leaves the counts in ``contamination.json`` of its
report, an artifact of the lineage. Sets that different executions made (a parent's earlier corpus, and the test split
of today's) were never side by side: they are compared here, where their bytes are at hand and the caller can. What
nobody can know is *unknown* and said in words: what imported weights have learnt, and data whose bytes are gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import dvc
from core.errors import DvcError
from core.workspace import Workspace
from registry.db.schema import IMPORT, IMPORTED, Artifact, Event, Execution
from registry.errors import InvalidBytes
from registry.lineage.trace import origin_of
from registry.lineage.traversal import chunks, upstream
from registry.promotion.measurements import Measurement
from registry.store.manifests import FolderManifests, md5_of

SUMMARY = "contamination.json"
FORMAT = 1  # newest format of it that this code reads

Files = Mapping[str, Path]
"""Where the bytes of a folder's files are, by name."""
Compare = Callable[[str, Files, str, Files], list["ComparedSets"]]
"""Compares training texts with an evaluation set, both given by the folder's name and files."""


@dataclass(frozen=True)
class ComparedSets:
    """A training set (``corpus/train``) and an evaluation set, and how many of its items the training set holds."""

    training: str
    evaluation: str
    items: int
    overlapping: int

    @property
    def share(self) -> float:
        return self.overlapping / self.items if self.items else 0.0

    def __str__(self) -> str:
        items = f"{self.overlapping} of {self.items} items of {self.evaluation}"
        return f"{items} are in {self.training} ({self.share:.2%})"


@dataclass
class Contamination:
    """Every pair that was compared, and in words what is not known."""

    pairs: list[ComparedSets] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def contamination(
    workspace: Workspace, session: Session, execution_id: int, metric: Measurement, compare: Compare | None = None
) -> Contamination:
    """What the datasets in the lineage of what ``execution_id`` made hold of the evaluation set of a metric.

    A task of the lm-evaluation-harness has items of its own, which the stage that measured compared with the datasets
    that it read; where it did not, the files that ``curate.decontamination.against`` names stand for them.

    Args:
        compare: for sets that no execution compared.
    """
    found = Contamination()
    ids = upstream(session, execution_id)
    eval_set = metric.eval_set
    evaluations = {} if eval_set is None else _makers(session, digest=eval_set)
    task = _of_task(workspace, session, metric) if eval_set is None else {}
    for artifact, makers in _learnt(session, ids).items():
        mine = set(makers) & ids
        if not mine:
            continue
        if artifact.id in task:
            found.pairs += task[artifact.id]
            continue
        known = None
        for maker in sorted(mine, reverse=True):
            name = _name(evaluations[maker]) if maker in evaluations else None
            if eval_set is not None and name is None:
                continue
            known = _recorded(workspace, session, maker)
            if not isinstance(known, str):
                found.pairs += _between(known, _name(artifact), name)
                break
        if isinstance(known, str):
            found.unknown.append(f"{artifact.name} ({artifact.digest[:12]}): {known}")
        elif known is None and evaluations:
            _compare(workspace, artifact, next(iter(evaluations.values())), compare, found)
    found.unknown += [f"what {origin} has learnt" for origin in _imported(session, ids)]
    return found


def _of_task(workspace: Workspace, session: Session, metric: Measurement) -> dict[int, list[ComparedSets]]:
    """By the id of each dataset that the measuring stage read: how it overlaps with the items of the metric's task."""
    compared = _recorded(workspace, session, metric.execution)
    if isinstance(compared, str):
        return {}
    of_task = {pair.evaluation for pair in compared
               if metric.name.startswith(re.sub(r"\W+", "_", f"{pair.evaluation}_").lower())}  # fmt: skip
    own = [pair for pair in compared if pair.evaluation == max(of_task, key=len, default=None)]
    read = session.scalars(
        select(Artifact)
        .join(Event, Event.artifact_id == Artifact.id)
        .where(Event.execution_id == metric.execution, Event.direction == "INPUT", Artifact.type == "dataset")
    )
    pairs = {artifact.id: _between(own, _name(artifact), "lm_eval") for artifact in read}
    return {artifact_id: found for artifact_id, found in pairs.items() if found}


def _learnt(session: Session, ids: set[int]) -> dict[Artifact, list[int]]:
    """The datasets that executions read and that were made of no other dataset, as packed tokens are; with their
    makers."""
    read: dict[int, Artifact] = {}
    for chunk in chunks(ids):
        rows = session.scalars(
            select(Artifact)
            .join(Event, Event.artifact_id == Artifact.id)
            .where(Event.execution_id.in_(chunk), Event.direction == "INPUT", Artifact.type == "dataset")
            .order_by(Artifact.id)
        )
        read.update((row.id, row) for row in rows)
    derived = _derived(session, ids)
    found = {}
    for artifact in read.values():
        makers = [maker for maker in _makers(session, artifact_id=artifact.id) if maker not in derived]
        if makers:
            found[artifact] = makers
    return found


def _derived(session: Session, ids: set[int]) -> set[int]:
    """Executions that read a dataset: what they make of it is no source of text."""
    found: set[int] = set()
    for chunk in chunks(ids):
        found |= set(
            session.scalars(
                select(Event.execution_id)
                .join(Artifact, Artifact.id == Event.artifact_id)
                .where(Event.execution_id.in_(chunk), Event.direction == "INPUT", Artifact.type == "dataset")
            )
        )
    return found


def _makers(session: Session, *, digest: str | None = None, artifact_id: int | None = None) -> dict[int, Artifact]:
    """Executions that made an artifact, each with it."""
    which = Artifact.digest == digest if digest is not None else Artifact.id == artifact_id
    rows = session.execute(
        select(Event.execution_id, Artifact)
        .join(Artifact, Artifact.id == Event.artifact_id)
        .where(which, Event.direction == "OUTPUT", Artifact.type == "dataset")
        .order_by(Event.execution_id)
    )
    return {execution: artifact for execution, artifact in rows}


def _name(artifact: Artifact) -> str:
    return PurePosixPath(artifact.name).name


def _between(compared: Sequence[ComparedSets], training: str, evaluation: str | None) -> list[ComparedSets]:
    """Pairs of a training set in the folder ``training`` and an evaluation set in the other (else of no folder)."""
    return [
        pair
        for pair in compared
        if pair.training.startswith(f"{training}/") and pair.evaluation.startswith(f"{evaluation or 'data/raw'}/")
    ]


def _recorded(workspace: Workspace, session: Session, maker: int) -> list[ComparedSets] | str:
    """The pairs that an execution compared, or why there are none."""
    report = session.scalars(
        select(Artifact)
        .join(Event, Event.artifact_id == Artifact.id)
        .where(Event.execution_id == maker, Event.direction == "OUTPUT", Artifact.type == "report")
    ).first()
    if report is None:
        return "was compared with no evaluation set when it was made"
    files = _files(workspace, report)
    if files is None:
        return f"the report of its making ({report.name}, {report.digest[:12]}) is not at hand"
    if SUMMARY not in files:
        return "was compared with no evaluation set when it was made (curate.decontamination.action: none)"
    try:
        summary = json.loads(files[SUMMARY].read_bytes())
        if summary["format"] > FORMAT:
            return f"the counts of its making have format {summary['format']}, newer than this version of Stemma reads"
        return [
            ComparedSets(str(each["training"]), str(each["evaluation"]), int(each["items"]), int(each["left"]))
            for each in summary["pairs"]
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"the counts of its making cannot be read ({type(error).__name__}: {error})"


def _files(workspace: Workspace, artifact: Artifact) -> dict[str, Path] | None:
    """Where each file of a folder is, in DVC's cache or in the workspace, its bytes checked; ``None``: not all are."""
    try:
        listed = FolderManifests(workspace).files(artifact.digest, artifact.name)
        cache = dvc.cache_folder(workspace.root)
    except (InvalidBytes, DvcError, OSError):
        return None
    found = {}
    for name, md5 in (listed or {}).items():
        places = (dvc.object_path(cache, md5), workspace.root / artifact.name / name)
        path = next((place for place in places if place.is_file() and md5_of(place) == md5), None)
        if path is None:
            return None
        found[name] = path
    return found if listed is not None else None


def _compare(
    workspace: Workspace, training: Artifact, evaluation: Artifact, compare: Compare | None, found: Contamination
) -> None:
    """Compare two folders that no execution had side by side."""
    words = f"whether {training.name} ({training.digest[:12]}) holds items of {evaluation.name} "
    words += f"({evaluation.digest[:12]})"
    if compare is None:
        found.unknown.append(f"{words}: they were never compared")
        return
    learnt, asked = _files(workspace, training), _files(workspace, evaluation)
    if learnt is None or asked is None:
        absent = " and ".join(each.name for each, files in ((training, learnt), (evaluation, asked)) if files is None)
        found.unknown.append(f"{words}: the files of {absent} are not at hand; `dvc pull` may bring them")
        return
    earlier = f"{_name(training)} {training.digest[:12]}"
    for pair in compare(_name(training), learnt, _name(evaluation), asked):
        split = pair.training.rpartition("/")[2]
        found.pairs.append(ComparedSets(f"{earlier}/{split}", pair.evaluation, pair.items, pair.overlapping))


def _imported(session: Session, ids: set[int]) -> list[str]:
    """Imported weights among what executions made or read, by their origin."""
    found: dict[str, None] = {}
    for chunk in chunks(ids):
        for execution in session.scalars(select(Execution).where(Execution.id.in_(chunk), Execution.stage == IMPORT)):
            found[origin_of(execution.parameters)] = None
        for uri in session.scalars(
            select(Artifact.uri)
            .join(Event, Event.artifact_id == Artifact.id)
            .where(Event.execution_id.in_(chunk), Artifact.uri.startswith(IMPORTED))
        ):
            found[uri.removeprefix(IMPORTED)] = None
    return list(found)

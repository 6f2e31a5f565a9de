"""A deletion request: what a person left in the registry and in exported files goes, and what learnt it is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from components.curate.privacy import placeholders
from core import bounded, dvc, layout
from core.errors import InputProblem
from core.locks import FileLock
from core.workspace import Workspace
from flows.feedback.export import FOLDER, replace
from flows.feedback.rows import FILES, pseudonym
from flows.pipeline.raw_data import RAW
from registry.db.database import open as open_registry
from registry.db.schema import Artifact
from registry.errors import UnknownReference
from registry.feedback.deletions import DeletionSubject, remove, rows_of
from registry.lineage.impact import impact
from registry.lineage.trace import RAW_TYPES
from registry.promotion.promote import default_actor
from registry.store.manifests import FolderManifests, md5_of


@dataclass
class Traces:
    """What there is of a person or a conversation.

    Attributes:
        answers: kept in the registry.
        votes: likewise.
        rows: in the exported files as they lie now, by the file's name.
        files: md5 of every exported file that holds such rows, now or as it was recorded in the past.
        versions: models that descend from one of these files.
        serving: deployments that answer with such a version.
        notes: what could not be looked at.
    """

    answers: int = 0
    votes: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    serving: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def anything(self) -> bool:
        return bool(self.answers or self.votes or self.rows)


def subject_of(person: str | None, conversation: str | None) -> DeletionSubject:
    """Whose data is meant.

    Raises:
        InputProblem: neither or both are given, or one is empty.
    """
    if (person is None) == (conversation is None):
        raise InputProblem("give either --person NAME or --conversation ID")
    if not (person or conversation or "").strip():
        raise InputProblem(
            "--person: without a name nobody is meant: what was recorded without keys belongs to no person; give "
            "--conversation ID" if person is not None else "--conversation: give the name of the conversation"
        )  # fmt: skip
    return DeletionSubject(person, conversation)


def find(workspace: Workspace, subject: DeletionSubject) -> Traces:
    """Everything that is left of a person or a conversation; changes nothing.

    Raises:
        InputProblem: there is nothing.
        RegistryError: the registry cannot be used.
    """
    found, is_theirs = Traces(), _matcher(workspace, subject)
    for name in FILES:
        path = workspace.root / FOLDER / name
        if path.is_file() and (count := sum(is_theirs(line) for line in _lines(path))):
            found.rows[name] = count
            found.files.append(md5_of(path))
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        rows = rows_of(session, subject)
        found.votes = sum(row.__tablename__ == "votes" for row in rows)
        found.answers = len(rows) - found.votes
        for md5 in _exported(workspace, session, found):
            path = dvc.object_path(dvc.cache_folder(workspace.root), md5)
            if not path.is_file():
                found.notes.append(
                    f"an exported file of the past (md5 {md5}) is not in DVC's cache, so it was not looked through: "
                    "bring it back with `dvc fetch --all-commits` and repeat this, or ask `stemma impact` about it"
                )
            elif md5 not in found.files and any(map(is_theirs, _lines(path))):
                found.files.append(md5)
        found.files.sort()
        _descendants(workspace, session, found)
    if not found.anything and not found.files:
        raise InputProblem([f"nothing of {subject} is kept in the registry, or is in an exported file", *found.notes])
    return found


def in_words(found: Traces) -> list[str]:
    """What there is, and what follows from it."""
    rows = ", ".join(f"{count} in {name}" for name, count in found.rows.items()) or "none"
    kept = f"{_count(found.answers, 'answer')}, {_count(found.votes, 'vote')}"
    lines = [f"In the registry: {kept}. Rows of {FOLDER.as_posix()}: {rows}."]
    if found.versions:
        lines.append(f"Trained on files that held them: {', '.join(found.versions)}. These models are not changed:")
        lines.append("retire them with `stemma rollback` or `stemma promote`, and train anew with `stemma run`.")
        lines.append(f"All that was made of these files: `stemma impact MD5`, of {', '.join(found.files)}.")
        lines.append(f"Served now: {', '.join(found.serving)}." if found.serving else "None of them is served now.")
    elif found.notes:
        lines.append("No model is known that was trained on a file that held them; not everything could be looked at:")
    else:
        lines.append("No recorded model was trained on a file that held them.")
    if found.files:
        lines.append(
            f"In DVC's cache, and in remotes that have it, {_count(len(found.files), 'exported file')} held them, now "
            "or in the past; `stemma gc` deletes those that no version needs. Back-ups keep what they hold."
        )
    return [*lines, *found.notes]


def delete(workspace: Workspace, subject: DeletionSubject) -> list[str]:
    """Delete what is found now, and record it by digests; what was done, in sentences.

    Killed in between it can be repeated: what is left is found again.

    Raises:
        InputProblem: there is nothing any more.
        RegistryError: the registry cannot be written; nothing was changed.
        DvcError: DVC cannot add the files; the registry's rows are deleted.
    """
    salt = placeholders.of_home(workspace.home).salt
    with FileLock(layout.feedback_lock(workspace.home)):  # else an export under way would write it once more
        return _delete(workspace, subject, find(workspace, subject), salt)


def _delete(workspace: Workspace, subject: DeletionSubject, found: Traces, salt: bytes) -> list[str]:
    said: list[str] = []
    kind, name = ("conversation", subject.conversation) if subject.person is None else ("person", subject.person)
    mark = pseudonym(salt, kind, name or "")
    with open_registry(workspace.registry_url) as registry:
        count = remove(registry, subject, mark, default_actor(workspace), found.files, found.versions)
    said.append(f"deleted from the registry: {_count(count, 'row')}; a digest of it is kept as the deletion of {mark}")
    is_theirs = _matcher(workspace, subject)
    present = {name: workspace.root / FOLDER / name for name in FILES}
    left = {
        name: b"".join(line for line in _lines(path) if not is_theirs(line))
        for name, path in present.items()
        if path.is_file()
    }
    for file in replace(workspace, left, said.append):
        gone = "" if (workspace.root / file).is_file() else "; none is left, so the file is gone"
        said.append(f"{file}: written without {_count(found.rows.get(Path(file).name, 0), 'row')}{gone}")
    return said


def _matcher(workspace: Workspace, subject: DeletionSubject) -> Callable[[bytes], bool]:
    """Whether a line of an exported file is the subject's."""
    if subject.person is not None:
        name, value = "person", pseudonym(placeholders.of_home(workspace.home).salt, "person", subject.person)
    else:
        name, value = "conversation", subject.conversation or ""

    def is_theirs(line: bytes) -> bool:
        try:
            provenance: Any = json.loads(line).get("provenance")
        except (ValueError, AttributeError, RecursionError):
            return False
        return isinstance(provenance, dict) and provenance.get(name) == value

    return is_theirs


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _lines(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from bounded.lines(file)


def _exported(workspace: Workspace, session: Session, found: Traces) -> list[str]:
    """md5 of every exported file that some recorded raw data holds."""
    below = f"{FOLDER.relative_to(RAW).as_posix()}/"
    listings, digests = FolderManifests(workspace), set()
    for row in session.scalars(select(Artifact).where(Artifact.type.in_(RAW_TYPES)).order_by(Artifact.id)):
        files = listings.files(row.digest, row.name)
        if files is None:
            found.notes.append(
                f"the list of files of {row.name} {row.digest[:12]} is not in DVC's cache, so what was made of it may "
                "be missing here; `dvc fetch --all-commits` may bring it back"
            )
        digests |= {md5 for name, md5 in (files or {}).items() if name.startswith(below)}
    return sorted(digests)


def _descendants(workspace: Workspace, session: Session, found: Traces) -> None:
    versions: dict[tuple[str, int], str] = {}
    for md5 in found.files:
        try:
            # What could not be looked through is among the notes already: the models that are known are named.
            reached = impact(session, workspace, md5, missing=lambda _: None)
        except UnknownReference:  # no stage has read it yet
            continue
        versions |= {(each.model, each.version): str(each) for each in reached.versions}
        found.serving += [f"{each.name} ({each.version})" for each in reached.deployments if each.serving]
    found.versions = [versions[key] for key in sorted(versions)]
    found.serving = sorted(set(found.serving))

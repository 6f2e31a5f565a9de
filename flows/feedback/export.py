"""``data/raw/feedback``: what people say of answers, as files that curation reads, versioned like all raw data."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from components.curate.privacy import placeholders
from core import dvc, layout
from core.files import write_bytes
from core.locks import FileLock
from core.parameters_file import read
from core.workspace import Workspace
from flows.feedback.rows import DEMONSTRATIONS, LABELLED, PAIRS, build
from flows.pipeline import raw_data
from flows.pipeline.raw_data import RAW
from flows.retraining.new_data import unread
from registry.db.database import open as open_registry
from registry.feedback import retention
from registry.feedback.answers import answers
from registry.feedback.votes import votes

FOLDER = RAW / "feedback"
_READ_BY = {
    PAIRS: "preference (preference_tune.method: dpo)",
    LABELLED: "preference (preference_tune.method: kto)",
    DEMONSTRATIONS: "instruct",
}


@dataclass
class FeedbackFiles:
    """What was written.

    Attributes:
        rows: by the file's name.
        left_out: how many votes, answers and rows are in no file, by the reason.
        changed: workspace-relative paths of the files whose content is new.
        notes: what was done, and what is to be done.
    """

    rows: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def export(workspace: Workspace) -> FeedbackFiles:
    """Write what people say of answers, and allow to be trained on, as files below ``data/raw/feedback``.

    What has expired is deleted from the registry first. The same registry gives the same files.

    Raises:
        RegistryError: the registry cannot be used.
        InputProblem: ``data/raw`` holds what cannot be versioned, or the file of the pseudonyms is damaged.
        DvcError: DVC cannot add the files.
    """
    salt = placeholders.of_home(workspace.home).salt
    with FileLock(layout.feedback_lock(workspace.home)):  # else a deletion meanwhile would be undone
        return _export(workspace, salt)


def _export(workspace: Workspace, salt: bytes) -> FeedbackFiles:
    with open_registry(workspace.registry_url) as registry:
        expired = retention.remove_expired(registry)
        with registry.read() as session:
            made = build(votes(session), answers(session), salt, time.time())
    done = FeedbackFiles({name: len(rows) for name, rows in made.files.items()}, dict(sorted(made.left_out.items())))
    if expired:
        done.notes.append(f"{expired} kept answers and votes had expired and are deleted")
    contents = {name: _jsonl(rows) for name, rows in made.files.items()}
    done.changed = replace(workspace, contents, done.notes.append)
    written = [name for name, count in done.rows.items() if count]
    if unread(read(workspace.root / "params.yaml"), [(FOLDER / name).as_posix() for name in written]):
        done.notes += [
            f"{(FOLDER / name).as_posix()} is for curate.instructions.files.{_READ_BY[name]}" for name in written
        ]
    return done


def replace(workspace: Workspace, contents: Mapping[str, bytes], say: Callable[[str], None]) -> list[str]:
    """Make the folder's files by these names what they are to be (without content: not there), and version them.

    Returns:
        workspace-relative paths of those that changed.
    """
    folder = workspace.root / FOLDER
    if _same(workspace, contents) and (folder.is_dir() or not any(contents.values())):
        return []
    if done := raw_data.ensure(workspace.root, dvc.status(workspace.root)):  # what is replaced is in DVC's cache first
        say(done)
    changed = []
    for name, content in contents.items():
        path = folder / name
        if (path.read_bytes() if path.is_file() else b"") == content:
            continue
        changed.append((FOLDER / name).as_posix())
        if content:
            write_bytes(path, content)
        else:
            path.unlink()
    if changed and (done := raw_data.ensure(workspace.root, {f"{RAW}.dvc": []})):
        say(done)
    return changed


def _same(workspace: Workspace, contents: Mapping[str, bytes]) -> bool:
    paths = {workspace.root / FOLDER / name: content for name, content in contents.items()}
    return all((path.read_bytes() if path.is_file() else b"") == content for path, content in paths.items())


def _jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows).encode()

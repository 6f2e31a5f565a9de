"""``dvc.lock`` and ``*.dvc`` files of a commit: which bytes each stage read and wrote then."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml.error import YAMLError

from core import bounded
from core.errors import StemmaError
from core.git import git, git_bytes

EMPTY_FOLDER = hashlib.md5(b"[]", usedforsecurity=False).hexdigest() + ".dir"


class LockUnreadable(StemmaError):
    """A ``dvc.lock`` or ``*.dvc`` file is not one."""


@dataclass(frozen=True)
class Tracked:
    """A file or folder that DVC tracks.

    Attributes:
        path: from the folder of the file that names it.
        stage: what makes it; ``None`` for data under ``dvc add``.
        size: bytes, where known.
        file: the ``*.dvc`` file that names it, if one does.
    """

    path: str
    digest: str
    stage: str | None
    size: int | None = None
    file: str | None = None

    @property
    def target(self) -> str:
        """What DVC's commands call it: they do not find data under ``dvc add`` by a path that git ignores."""
        return self.file or self.path


@dataclass(frozen=True)
class LockedStage:
    """A stage as ``dvc.lock`` has it: digests by path."""

    name: str
    command: str
    deps: dict[str, str]
    outs: dict[str, str]


def stages_of(content: bytes, where: str) -> dict[str, LockedStage]:
    """The stages of a ``dvc.lock``.

    Raises:
        LockUnreadable: it is none.
    """
    stages = (_load(content, where).get("stages") or {}).items()
    return {
        name: LockedStage(
            name, str(body.get("cmd", "")), _digests(body.get("deps") or []), _digests(body.get("outs") or [])
        )
        for name, body in stages
    }


def tracked_in(content: bytes, where: str) -> list[Tracked]:
    """Everything that a ``dvc.lock`` or ``*.dvc`` file names as kept by DVC.

    Raises:
        LockUnreadable: it is neither.
    """
    body = _load(content, where)
    below = PurePosixPath(body.get("wdir") or ".")
    entries = [(None, out) for out in body.get("outs") or []]
    for stage, locked in (body.get("stages") or {}).items():
        entries += [(stage, out) for out in locked.get("outs") or []]
    return [
        Tracked((below / out["path"]).as_posix(), digest, stage, out.get("size"))
        for stage, out in entries
        if (digest := out.get(out.get("hash", "md5")))
    ]


def digests_in(content: bytes, where: str) -> set[str]:
    """Every digest that a ``dvc.lock`` or ``*.dvc`` file names, of what was read as well as of what was written."""
    body = _load(content, where)
    found = {item.digest for item in tracked_in(content, where)}
    for locked in (body.get("stages") or {}).values():
        found |= set(_digests(locked.get("deps") or []).values())
    return found


def read_at(root: Path, commit: str, name: str) -> bytes | None:
    """A file of the workspace as it was in ``commit``; ``None`` where it was not there."""
    prefix = git(root, "rev-parse", "--show-prefix")
    return git_bytes(root, "cat-file", "blob", f"{commit}:{prefix}{name}")


def _digests(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {item["path"]: item[item.get("hash", "md5")] for item in entries if item.get(item.get("hash", "md5"))}


def _load(content: bytes, where: str) -> dict[str, Any]:
    try:
        body = bounded.yaml(content, fast=True) or {}
        body.get("stages")
    except (YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise LockUnreadable(f"{where} is not readable: {str(error).splitlines()[0]}; restore it from git") from None
    return body

"""The bytes: every artifact's digest against DVC's cache, and every signature against the files it was given for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import dvc
from core.workspace import Workspace
from registry.db.schema import Artifact, ModelVersion, Signature
from registry.errors import InvalidBytes, KeyProblem
from registry.integrity.audit.findings import AuditReport, Finding
from registry.integrity.signing import check_signature
from registry.integrity.statement import Statement
from registry.store.materialize import digest_of

Content = Literal["sound", "wrong", "missing"]


class Contents:
    """What this machine has of the artifacts' bytes; each object of the cache is hashed once."""

    def __init__(self, workspace: Workspace):
        self.workspace, self.cache = workspace, dvc.cache_folder(workspace.root)
        self.hashed = 0  # bytes
        self._sound: dict[str, bool | None] = {}

    def state_of(self, artifact: Artifact) -> tuple[Content, str]:
        """(``sound``, ``wrong`` or ``missing``; what was seen)."""
        copy = self.workspace.home / "models" / artifact.digest
        if copy.exists() and digest_of(copy) != artifact.digest:
            return "wrong", f"{copy} was altered; delete that folder, and its files are taken from DVC's cache again"
        missing = 0
        for digest, relpath in self._objects(artifact.digest):
            match self._object_sound(digest):
                case False:
                    path = dvc.object_path(self.cache, digest)
                    return "wrong", (
                        f"{relpath or artifact.name} is damaged in DVC's cache ({path}); delete that file and bring it "
                        "back with `dvc fetch`"
                    )
                case None:
                    missing += 1
        if missing and not self._in_workspace(artifact):
            return "missing", f"{missing} file{'s' if missing > 1 else ''} not in DVC's cache"
        return "sound", ""

    @contextlib.contextmanager
    def assembled(self, artifact: Artifact) -> Iterator[Path]:
        """A sound artifact's files as a folder for a while; nothing is copied where links can be made."""
        objects = self._objects(artifact.digest)
        if not all(self._object_sound(digest) for digest, _ in objects):
            yield self.workspace.root / artifact.name  # where its digest was just found
            return
        with TemporaryDirectory(prefix=".audit-", dir=self.workspace.home) as folder:
            for digest, relpath in objects:
                if relpath is not None:
                    target = Path(folder) / relpath
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source = dvc.object_path(self.cache, digest)
                    try:
                        os.link(source, target)
                    except OSError:  # another file system
                        shutil.copyfile(source, target)
            yield Path(folder)

    def _objects(self, digest: str) -> list[tuple[str, str | None]]:
        """(object, path in the folder) of everything an artifact consists of, a folder's manifest first."""
        own: list[tuple[str, str | None]] = [(digest, None)]
        if digest.endswith(".dir") and self._object_sound(digest):
            entries = json.loads(dvc.object_path(self.cache, digest).read_bytes())
            own += [(entry["md5"], entry["relpath"]) for entry in entries]
        return own

    def _object_sound(self, digest: str) -> bool | None:
        """Whether an object of the cache is what its name says; ``None`` where it is not there."""
        if digest not in self._sound:
            path = dvc.object_path(self.cache, digest)
            try:
                with open(path, "rb") as file:
                    found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                    self.hashed += os.fstat(file.fileno()).st_size
                self._sound[digest] = found == digest.removesuffix(".dir")
            except FileNotFoundError:
                self._sound[digest] = None
        return self._sound[digest]

    def _in_workspace(self, artifact: Artifact) -> bool:
        path = self.workspace.root / artifact.name
        return path.exists() and digest_of(path) == artifact.digest


def check_contents(workspace: Workspace, session: Session, report: AuditReport) -> None:
    """Add what is wrong with the bytes and the signatures."""
    contents = Contents(workspace)
    names: dict[int, list[str]] = {}
    for version in session.scalars(select(ModelVersion).order_by(ModelVersion.id)):
        names.setdefault(version.artifact_id, []).append(str(version))
    states: dict[int, str] = {}
    for artifact in session.scalars(select(Artifact).where(Artifact.hash_algo == "md5").order_by(Artifact.id)):
        state, detail = contents.state_of(artifact)
        states[artifact.id] = state
        report.artifacts += 1
        if state != "sound":
            subject = ", ".join(names.get(artifact.id, [])) or artifact.name
            report.findings.append(Finding("bytes", f"{subject} (md5 {artifact.digest[:12]})", state, detail))
    rows = session.execute(
        select(Signature, ModelVersion)
        .join(ModelVersion, ModelVersion.id == Signature.version_id)
        .order_by(Signature.id)
    )
    for signature, version in rows:
        report.signatures += 1
        subject = f"{version}, key {signature.key_id[:12]}"
        if states.get(version.artifact_id) != "sound":
            state = "missing" if states.get(version.artifact_id) == "missing" else "wrong"
            report.findings.append(Finding("signature", subject, state, f"its files are {state}, see above"))
            continue
        try:
            with contents.assembled(version.artifact) as files:
                check_signature(workspace, files, signature, Statement.of(session, version))
        except (InvalidBytes, KeyProblem) as error:
            report.findings.append(Finding("signature", subject, "wrong", str(error)))
    report.bytes = contents.hashed

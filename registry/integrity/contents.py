"""The bytes of artifacts on this machine: every object of DVC's cache is hashed against its name."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from core import dvc, layout
from core.workspace import Workspace
from registry.db.schema import Artifact
from registry.errors import InvalidBytes
from registry.store.manifests import digest_of, md5_of, read_manifest

Content = Literal["sound", "wrong", "missing"]


class Contents:
    """What this machine has of the artifacts' bytes; each object of the cache is hashed once."""

    def __init__(self, workspace: Workspace):
        self.workspace, self.cache = workspace, dvc.cache_folder(workspace.root)
        self.hashed = 0  # bytes
        self._sound: dict[str, bool | None] = {}

    def state_of(self, artifact: Artifact) -> tuple[Content, str]:
        """(``sound``, ``wrong`` or ``missing``; what was found)."""
        copy = layout.models(self.workspace.home) / artifact.digest
        if copy.exists() and digest_of(copy) != artifact.digest:
            return "wrong", f"{copy} was altered; delete that folder, and its files are taken from DVC's cache again"
        missing = 0
        try:
            objects = self._objects(artifact.digest)
        except InvalidBytes as refused:
            return "wrong", str(refused)
        for digest, relpath in objects:
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
            own += [(md5, name) for name, md5 in read_manifest(self.cache, digest).items()]
        return own

    def _object_sound(self, digest: str) -> bool | None:
        """Whether an object of the cache is what its name says; ``None`` where it is not there."""
        if digest not in self._sound:
            path = dvc.object_path(self.cache, digest)
            try:
                self._sound[digest] = md5_of(path) == digest.removesuffix(".dir")
                self.hashed += path.stat().st_size
            except FileNotFoundError:
                self._sound[digest] = None
        return self._sound[digest]

    def _in_workspace(self, artifact: Artifact) -> bool:
        path = self.workspace.root / artifact.name
        return path.exists() and digest_of(path) == artifact.digest

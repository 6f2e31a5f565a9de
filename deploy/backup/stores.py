"""The bytes outside the databases: what DVC keeps, and MLflow's artifacts; in local folders or object stores alike."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import redacted
from core.workspace import Workspace
from deploy.backup.errors import BackupFailed
from deploy.backup.manifest import CHUNK, Entry
from deploy.stack.storage import Storage

_OBJECTS = "/files/md5"


@dataclass(frozen=True)
class Store:
    """A tree of files behind fsspec.

    Attributes:
        title: how it is told to the user.
        files: the fsspec file system.
        root: its top folder there.
    """

    title: str
    files: Any
    root: str

    def list(self, below: str = "") -> dict[str, int]:
        """Size in bytes of every file, by path below the root.

        Raises:
            BackupFailed: the store cannot be reached.
        """
        top = f"{self.root}/{below}".rstrip("/")
        with self._told():
            self.files.invalidate_cache()
            if not self.files.exists(top):
                return {}
            found = self.files.find(top, detail=True)
        return {path[len(self.root) :].lstrip("/"): int(body["size"]) for path, body in found.items()}

    def fetch(self, name: str, target: Path) -> Entry:
        """Copy a file of the store to ``target``."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._told(), self.files.open(f"{self.root}/{name}", "rb") as source, open(target, "wb") as file:
            return _copy(source, file)

    def put(self, source: Path, name: str) -> None:
        """Copy a local file into the store; it is there whole or not at all."""
        place = f"{self.root}/{name}"
        with self._told():
            if self.local:
                Path(place).parent.mkdir(parents=True, exist_ok=True)
                staging = Path(f"{place}.restoring-{os.getpid()}")
                shutil.copyfile(source, staging)
                os.replace(staging, place)
            else:
                self.files.put_file(str(source), place)

    @property
    def local(self) -> bool:
        return "file" in _protocols(self.files)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BackupFailed:
            raise
        except Exception as error:  # every store has errors of its own
            raise BackupFailed(f"{self.title}: {redacted(str(error)) or type(error).__name__}") from error


def folder(title: str, path: Path) -> Store:
    """A local folder."""
    from fsspec.implementations.local import LocalFileSystem

    return Store(title, LocalFileSystem(), str(path))


def at(title: str, url: str) -> Store:
    """A store by URL; credentials and endpoint come from the environment (``AWS_*``).

    Raises:
        BackupFailed: nobody here speaks its protocol.
    """
    import fsspec

    try:
        files, root = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        hint = "; install it with `pip install 'stemma-llm[s3]'`" if url.startswith("s3:") else ""
        raise BackupFailed(f"{redacted(url)}: {error}{hint}") from None
    return Store(title, files, str(root).rstrip("/"))


def dvc_stores(workspace: Workspace) -> tuple[Store, Store | None]:
    """DVC's cache of this workspace, and its default remote; ``None`` where no remote is configured.

    Raises:
        BackupFailed: the remote's protocol is not installed, or DVC's configuration is wrong.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(workspace.root)) as repo:
            # Objects lie in files/md5 below the cache as below a remote.
            cache = folder("DVC's cache", Path(repo.cache.local.path.removesuffix(_OBJECTS)))
            if not repo.config["remote"]:
                return cache, None
            kept = repo.cloud.get_remote_odb(None, "backup", hash_name="md5")
            return cache, Store("DVC's remote", kept.fs.fs, str(kept.path).removesuffix(_OBJECTS))
    except DvcException as error:
        raise BackupFailed(f"DVC: {error}") from None


def artifacts(workspace: Workspace) -> Store:
    """MLflow's artifacts: where its server's ``MLFLOW_DEFAULT_ARTIFACT_ROOT`` says, else as the stack has it."""
    place = os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT")
    return at("MLflow's artifacts", place or Storage.recall(workspace.home).artifact_root(workspace.home))


def _copy(source: Any, target: Any) -> Entry:
    seen, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        seen.update(chunk)
        target.write(chunk)
        size += len(chunk)
    return Entry(size, seen.hexdigest())


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)

"""Stores of files, in folders and object stores alike: DVC's, MLflow's artifacts, and the places of back-ups."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.errors import redacted
from core.workspace import Workspace
from deploy.backup.manifest import CHUNK, NAME, BackupFailed, BackupFile, Manifest
from deploy.stack.storage import Storage

_OBJECTS = "/files/md5"
Progress = Callable[[str, int, int], None]
P = TypeVar("P", Path, str)


@dataclass(frozen=True)
class Store:
    """A tree of files behind fsspec.

    Attributes:
        title: its name in messages.
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
        with self._errors():
            self.files.invalidate_cache()
            if not self.files.exists(top):
                return {}
            found = self.files.find(top, detail=True)
        return {path[len(self.root) :].lstrip("/"): int(body["size"]) for path, body in found.items()}

    def fetch(self, name: str, target: Path) -> BackupFile:
        """Copy a file of the store to ``target``."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._errors(), self.files.open(f"{self.root}/{name}", "rb") as source, open(target, "wb") as file:
            return _copy(source, file)

    def put(self, source: Path, name: str) -> None:
        """Copy a local file into the store; it is there whole or not at all."""
        place = f"{self.root}/{name}"
        with self._errors():
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
    def _errors(self) -> Iterator[None]:
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
        BackupFailed: its protocol is not installed.
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


def is_url(place: str) -> bool:
    return "://" in place


def complete(parent: Path) -> list[Path]:
    """The back-ups in a folder; their names sort by time."""
    return [path.parent for path in parent.glob(f"stemma-*/{NAME}")]


def upload(folder: Path, url: str, manifest: Manifest, progress: Progress) -> str:
    """Copy a back-up to ``url``; its manifest last, so that what is there without one is not one.

    Raises:
        BackupFailed: the store refused.
    """
    store, done = at(url, url), 0
    for name, entry in sorted(manifest.files.items()):
        progress("upload", done, manifest.bytes)
        store.put(folder / manifest.stored(name), manifest.stored(name))
        done += entry.bytes
    for name in (f"{NAME}.sig", NAME):
        if (folder / name).is_file():
            store.put(folder / name, name)
    progress("upload", manifest.bytes, manifest.bytes)
    return url


@contextmanager
def opened(
    place: str, scratch: Path, progress: Progress, check: Callable[[Path, Manifest], None]
) -> Iterator[tuple[Path, Manifest]]:
    """(folder, manifest) of a back-up: ``place`` itself, or the newest one below it; one at a URL is fetched first.

    Args:
        scratch: where fetched files may lie meanwhile.
        check: raises where the back-up may not be used; called before anything but its manifest is read.

    Raises:
        BackupFailed: there is no back-up.
    """
    if not is_url(place):
        path = Path(place).expanduser().resolve()
        folder = path if (path / NAME).is_file() else _newest(complete(path), place)
        manifest = Manifest.read(folder)
        check(folder, manifest)
        yield folder, manifest
        return
    store = at(place, place)
    names = store.list()
    if NAME not in names:
        tops = sorted(name.split("/")[0] for name in names if name.count("/") == 1 and name.endswith(f"/{NAME}"))
        newest = f"{place.rstrip('/')}/{_newest(tops, place)}"
        with opened(newest, scratch, progress, check) as found:
            yield found
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="restore-", dir=scratch) as temporary:
        folder = Path(temporary)
        for name in (NAME, f"{NAME}.sig"):
            if name in names:
                store.fetch(name, folder / name)
        manifest, done = Manifest.read(folder), 0
        check(folder, manifest)
        for name, entry in sorted(manifest.files.items()):
            progress("download", done, manifest.bytes)
            if (stored := manifest.stored(name)) in names:
                store.fetch(stored, folder / stored)
            done += entry.bytes
        yield folder, manifest


def _newest(found: list[P], place: str) -> P:
    if not found:
        raise BackupFailed(f"{place} holds no back-up (no {NAME} in it, nor in a folder stemma-… below it)")
    return max(found)


def _copy(source: Any, target: Any) -> BackupFile:
    seen, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        seen.update(chunk)
        target.write(chunk)
        size += len(chunk)
    return BackupFile(size, seen.hexdigest())


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)

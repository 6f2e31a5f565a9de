"""Taking a back-up: names before bytes, so that whatever a database names is copied after it was named."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from filelock import Timeout

from core import files, layout
from core.git import git
from core.keys import signing_key
from core.locks import FileLock
from core.workspace import Workspace
from deploy.backup import encryption, last, signature, stores
from deploy.backup.databases import NAMES, Database, find, same
from deploy.backup.manifest import (
    ARTIFACTS,
    BUNDLE,
    DATABASES,
    KEYS,
    OBJECTS,
    BackupFailed,
    BackupFile,
    BackupRefused,
    Manifest,
)
from deploy.backup.stores import Progress, Store, complete, is_url, upload
from registry.integrity import anchor
from registry.store.run_locks import running

PARTIAL = ".partial-"
TRIES = 5
KEPT_BY_DVC = ("files/md5", "runs")  # objects, and the run-cache that names them


@dataclass(frozen=True)
class Backup:
    """A back-up that was taken.

    Attributes:
        place: its folder or URL.
        reused: bytes that are hard links into the back-up before it.
        signed_by: fingerprint of the key that signed it; ``None`` where it is not signed.
    """

    place: str
    manifest: Manifest
    reused: int
    signed_by: str | None


def create(
    workspace: Workspace,
    target: str,
    *,
    without: Collection[str] = (),
    keys: bool = False,
    unsigned: bool = False,
    encrypt_to: Sequence[str] = (),
    progress: Progress = lambda what, done, total: None,
) -> Backup:
    """Back up everything into a new folder below ``target``, named by the time.

    Servers and runs may go on working meanwhile; a collection (``stemma gc``) waits.

    Args:
        target: a folder, or a URL such as ``s3://bucket/backups``.
        without: databases to leave out, of ``registry``, ``mlflow``, ``prefect``, ``sweeps``.
        keys: include the signing keys; their holder can sign as this home.
        unsigned: do not sign it, on a machine that has no signing key.
        encrypt_to: public keys of age or SSH, whose holders alone can read it.
        progress: called with (what is copied, bytes done, bytes in all).

    Raises:
        BackupRefused: the configuration does not say where everything is, a public key is none, or there is no room.
        BackupFailed: something could not be read or written; nothing is left under the back-up's name.
        KeyProblem: the signing key cannot be used.
    """
    if not unsigned:
        signing_key(workspace)  # before any work
    encryption.recipients(encrypt_to)
    found = _databases(workspace, without)
    parent = layout.backups(workspace.home) if is_url(target) else Path(target).expanduser().resolve()
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(parent / ".lock", timeout=0), running(workspace.home):
            for left in parent.glob(f"{PARTIAL}*"):  # of back-ups that were killed
                shutil.rmtree(left, ignore_errors=True)
            name = time.strftime("stemma-%Y%m%dT%H%M%SZ", time.gmtime())
            staging = parent / f"{PARTIAL}{name}"
            staging.mkdir(mode=0o700)
            try:
                # Encrypted files lie unencrypted on the workspace's own disk only, and one at a time.
                with encryption.scratch(workspace) if encrypt_to else nullcontext(staging) as plain:
                    work = _Work(workspace, staging, plain, encrypt_to, progress)
                    manifest = work.take(found, without, keys, _before(workspace, parent, encrypt_to))
                signed_by = None if unsigned else signature.sign(workspace, staging, manifest.sha256)
                if is_url(target):
                    place = upload(staging, f"{target.rstrip('/')}/{name}", manifest, progress)
                    last.note(workspace.home, place, manifest.created)
                    return Backup(place, manifest, 0, signed_by)
                os.sync()
                if (parent / name).exists():
                    raise BackupFailed(f"{parent / name} exists already; wait a second and try again")
                os.rename(staging, parent / name)
                last.note(workspace.home, str(parent / name), manifest.created)
                return Backup(str(parent / name), manifest, work.reused, signed_by)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except Timeout:
        raise BackupFailed(f"another back-up is writing to {parent}; wait until it has ended") from None
    except OSError as error:
        raise BackupFailed(f"{error.filename or parent}: {error.strerror}") from error


def _before(workspace: Workspace, parent: Path, encrypt_to: Sequence[str]) -> Path | None:
    """The newest back-up in a folder, for its files to be linked, if a key signed it that is trusted here.

    One that others can read, or who shall read this one cannot, is none.
    """
    newest = max(complete(parent), default=None)
    if newest is None:
        return None
    manifest = Manifest.read(newest)
    if manifest.encrypted_to != list(encrypt_to) or signature.problem(workspace, newest, manifest.sha256) is not None:
        return None
    return newest


def _databases(workspace: Workspace, without: Collection[str]) -> list[Database]:
    problems = [f"there is no database {name!r}; --without takes {', '.join(NAMES)}" for name in {*without} - {*NAMES}]
    found = []
    for name in NAMES:
        if name in without:
            continue
        try:
            found.append(find(workspace, name))
        except ValueError as error:
            problems.append(f"{error}, or leave it out with --without {name}")
    if problems:
        raise BackupRefused(problems)
    return found


class _Work:
    def __init__(self, workspace: Workspace, folder: Path, plain: Path, encrypt_to: Sequence[str], progress: Progress):
        self.workspace, self.folder, self.plain, self.progress, self.reused = workspace, folder, plain, progress, 0
        self.manifest = Manifest(time.time(), metadata.version("stemma-llm"), encrypted_to=list(encrypt_to))
        self._to = encryption.recipients(encrypt_to)

    def take(self, databases: list[Database], without: Collection[str], keys: bool, before: Path | None) -> Manifest:
        self.manifest.left_out = dict.fromkeys(without, "left out by --without")
        self._take_names(databases)
        cache, remote = stores.dvc_stores(self.workspace)
        self._copy(OBJECTS, [cache, *([remote] if remote else [])], KEPT_BY_DVC, before)
        self._copy(ARTIFACTS, [stores.artifacts(self.workspace)], ("",), before)
        if keys:
            self._copy(KEYS, [stores.folder("signing keys", layout.keys(self.workspace.home))], ("",), None)
            self.manifest.keys = True
        self.manifest.write(self.folder)
        return self.manifest

    def _take_names(self, databases: list[Database]) -> None:
        """The databases and then the repository, once more where a decision came in between.

        git would know a decision that the registry lacks, and a registry that lacks one is refused. The other way round
        a run's snapshot could be missing.
        """
        for _ in range(TRIES):
            before = anchor.newest(self.workspace.root)
            self._dump(databases)
            self._bundle()
            if anchor.newest(self.workspace.root) == before:
                return
        raise BackupFailed("promotions were decided all the time while the databases were copied; try again later")

    def _dump(self, databases: list[Database]) -> None:
        (self.plain / DATABASES).mkdir(exist_ok=True)
        dumped: set[str] = set()
        dump_of = same(databases)
        for index, database in enumerate(databases):
            self.progress(f"database {database.name}", index, len(databases))
            name = dump_of(database)
            if not database.exists:
                self.manifest.left_out[database.name] = f"{database.where} does not exist"
                continue
            if name not in dumped:
                database.dump(self.plain / name)
                self._add(name)
                dumped.add(name)
            self.manifest.databases[database.name] = {"engine": database.engine, "file": name}
        self.progress("databases", len(databases), len(databases))

    def _bundle(self) -> None:
        """Every commit and every ref of the repository, the runs' snapshots among them."""
        if not git(self.workspace.root, "for-each-ref", "--count=1", check=False):
            self.manifest.left_out["repository"] = "it has no commit yet"
            return
        git(self.workspace.root, "bundle", "create", "--quiet", str(self.plain / BUNDLE), "--all")
        self._add(BUNDLE)

    def _copy(self, prefix: str, sources: list[Store], below: tuple[str, ...], before: Path | None) -> None:
        """All files of the stores, the first of several that has one; what the back-up before has is linked."""
        known = Manifest.read(before).below(prefix) if before else {}
        wanted: dict[str, tuple[Store, int]] = {}
        for store in sources:
            for part in below:
                for name, size in store.list(part).items():
                    if not name.endswith((".tmp", ".lock")):
                        wanted.setdefault(name, (store, size))
        total, done = sum(size for _, size in wanted.values()), 0
        needed = sum(size for name, (_, size) in wanted.items() if name not in known)
        if needed > (free := shutil.disk_usage(self.folder).free):
            raise BackupRefused([f"{self.folder.parent} has {free:,} bytes free, and {needed:,} are needed"])
        for name, (store, size) in sorted(wanted.items()):
            self.progress(prefix, done, total)
            stored, entry = self.manifest.stored(f"{prefix}/{name}"), known.get(name)
            if (
                before is None
                or entry is None
                or entry.bytes != size
                or not _link(before / stored, self.folder / stored)
            ):
                entry = store.fetch(name, self.plain / prefix / name)
                self._seal(f"{prefix}/{name}")
            else:
                self.reused += size
            self.manifest.files[f"{prefix}/{name}"] = entry
            done += size
        self.progress(prefix, total, total)

    def _add(self, name: str) -> None:
        path = self.plain / name
        files.sync(path)
        self.manifest.files[name] = BackupFile(path.stat().st_size, files.sha256(path))
        self._seal(name)

    def _seal(self, name: str) -> None:
        if self._to:
            encryption.seal(self.plain / name, self.folder / self.manifest.stored(name), self._to)


def _link(source: Path, target: Path) -> bool:
    """Whether ``target`` is now a hard link to ``source``; some file systems have none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        return False
    return True

"""Restoring: the whole back-up is verified, then every target is checked, and only then anything is written."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core import layout
from core.files import private_folder, sha256, write_bytes
from core.git import git
from core.keys import key_id_in
from core.workspace import Workspace
from deploy.backup import encryption, signature, stores
from deploy.backup.databases import NAMES, Database, find, same
from deploy.backup.manifest import ARTIFACTS, BUNDLE, KEYS, OBJECTS, BackupFailed, BackupRefused, Manifest
from deploy.backup.stores import Progress, Store, opened
from deploy.stack import state
from registry.store.run_locks import InUse, undisturbed


@dataclass(frozen=True)
class Restored:
    """The result of a restore.

    Attributes:
        lines: one for each thing that was restored, and where.
    """

    manifest: Manifest
    lines: list[str]


def restore(
    workspace: Workspace,
    source: str,
    *,
    force: bool = False,
    keys: bool = False,
    signed_by: str | None = None,
    unsigned: bool = False,
    identity: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Restored:
    """Bring a back-up into the places that this workspace's configuration names.

    Bytes are added and never overwritten: they are named by their content. Databases are replaced.

    Args:
        source: the back-up's folder or URL, or one that holds several, of which the newest is taken.
        force: replace databases and keys that are not empty.
        keys: restore the keys that the back-up holds, which then sign and are trusted here.
        signed_by: fingerprint of the key that made it, where that is not trusted here already.
        unsigned: take a back-up that no such key signed.
        identity: file with the private key (of age or SSH) of one to whom the back-up is encrypted.

    Raises:
        BackupRefused: its signature does not do, it is encrypted and ``identity`` has no key, something is at work, or
            targets are not empty or do not fit; all of these are listed.
        BackupFailed: the back-up is damaged, or a target cannot be written.
    """
    opening = encryption.identities(identity) if identity is not None else []

    def check(folder: Path, manifest: Manifest) -> None:
        signature.require(workspace, folder, manifest.sha256, signed_by, unsigned)
        if manifest.encrypted_to and not opening:
            raise BackupRefused(
                [
                    f"{folder} is encrypted to {', '.join(manifest.encrypted_to)}; give the file that holds the "
                    "private key of one of these: --identity FILE"
                ]
            )

    with ExitStack() as stack:
        folder, manifest = stack.enter_context(opened(source, layout.backups(workspace.home), progress, check))
        if manifest.encrypted_to:
            plain = stack.enter_context(encryption.scratch(workspace))
            encryption.unseal(folder, plain, manifest, opening, lambda done, total: progress("decrypt", done, total))
            folder = plain
        manifest.verify(folder, lambda done, total: progress("verify", done, total))
        held = _keys_in(folder / KEYS, manifest)
        private_folder(workspace.home)
        try:
            stack.enter_context(undisturbed(workspace))
        except InUse as busy:
            raise BackupRefused([str(busy)]) from None
        targets = _targets(workspace, manifest, folder, force, keys)
        lines = []
        loaded: set[str] = set()
        for index, database in enumerate(targets):
            progress(f"database {database.name}", index, len(targets))
            dumped = manifest.databases[database.name]["file"]
            if dumped not in loaded:
                database.load(folder / dumped)
                loaded.add(dumped)
            lines.append(f"{database.name}: {database.where}")
        lines += _repository(workspace, folder, manifest, force)
        cache, remote = stores.dvc_stores(workspace)
        for prefix, store in ((OBJECTS, remote or cache), (ARTIFACTS, stores.artifacts(workspace))):
            added, size = _add_missing(folder / prefix, store, manifest, prefix, progress)
            lines.append(f"{store.title}: {added} files added ({size:,} bytes)")
        for name, what in held.items():
            lines.append(f"{'key restored' if keys else 'key in the back-up, not restored (--keys does)'}: {what}")
            if keys:
                _restore_key(workspace, folder / KEYS / name, name)
    return Restored(manifest, lines)


def _targets(workspace: Workspace, manifest: Manifest, folder: Path, force: bool, keys: bool) -> list[Database]:
    problems, targets = [], []
    for name in (name for name in NAMES if name in manifest.databases):
        dumped = manifest.databases[name]
        try:
            database = find(workspace, name)
        except ValueError as error:
            problems.append(str(error))
            continue
        targets.append(database)
        if database.engine != dumped["engine"]:
            problems.append(
                f"{name}: the back-up is of {dumped['engine']} and {database.where} is {database.engine}; "
                "set the database's URL to one of the same kind"
            )
            continue
        try:
            content = database.content()
        except BackupFailed as error:
            problems.append(f"{name}: {error}")
            continue
        if content is not None and not force:
            problems.append(f"{name}: {content}; --force replaces it")
    here = same(targets)
    if len({here(database) for database in targets}) != len({body["file"] for body in manifest.databases.values()}):
        problems.append(
            "here the databases are shared out in another way than in the back-up (one each, or one for all)"
        )
    if keys and not manifest.below(KEYS):
        problems.append("the back-up holds no keys; it was made without --keys")
    if keys and not force:
        for name in _keys_in(folder / KEYS, manifest):
            own = layout.keys(workspace.home) / name
            if own.is_file() and sha256(own) != manifest.files[f"{KEYS}/{name}"].sha256:
                problems.append(f"{own} differs from the back-up's key; --force replaces it")
    if (stack := state.read(workspace.home)) is not None:
        problems.append(f"the stack of this workspace runs (process {stack.pid}); end it with `stemma down`")
    if problems:
        raise BackupRefused(problems)
    return targets


def _repository(workspace: Workspace, folder: Path, manifest: Manifest, force: bool) -> list[str]:
    """The runs' snapshots; branches are the user's own and come with `git clone`."""
    if BUNDLE not in manifest.files:
        return []
    refs = f"{'+' if force else ''}refs/stemma/*:refs/stemma/*"
    git(workspace.root, "fetch", "--quiet", "--no-tags", str(folder / BUNDLE), refs)
    count = len(git(workspace.root, "for-each-ref", "--format=%(refname)", "refs/stemma/runs").splitlines())
    return [f"git: the snapshots of {count} runs under refs/stemma"]


def _add_missing(folder: Path, store: Store, manifest: Manifest, prefix: str, progress: Progress) -> tuple[int, int]:
    """(number of files added, their bytes)"""
    there = store.list()
    missing = {name: entry for name, entry in manifest.below(prefix).items() if there.get(name) != entry.bytes}
    total, done = sum(entry.bytes for entry in missing.values()), 0
    for name, entry in sorted(missing.items()):
        progress(prefix, done, total)
        store.put(folder / name, name)
        done += entry.bytes
    return len(missing), total


def _keys_in(folder: Path, manifest: Manifest) -> dict[str, str]:
    """The keys of a back-up by their path, each with what it does here and its fingerprint.

    Raises:
        BackupFailed: a file among them is no key.
    """
    found = {}
    for name in sorted(manifest.below(KEYS)):
        path = PurePosixPath(name)
        try:
            if name == "signing.pem":
                found[name] = f"{name} signs as this workspace: {key_id_in((folder / name).read_bytes())}"
            elif name == "signing.pub":
                found[name] = f"{name} is the public half of it: {key_id_in((folder / name).read_bytes())}"
            elif path.parts[0] == "trusted" and len(path.parts) == 2 and path.suffix == ".pem":
                found[name] = f"{name} is trusted here, whatever it signs: {key_id_in((folder / name).read_bytes())}"
            elif name == "placeholders.salt":
                found[name] = f"{name} keys the hashes that stand for personal data in corpora"
            else:
                raise BackupFailed(f"keys/{name} is no key of a workspace; nothing was restored")
        except (ValueError, TypeError) as error:
            raise BackupFailed(f"keys/{name} is not a key ({error}); nothing was restored") from None
    return found


def _restore_key(workspace: Workspace, source: Path, name: str) -> None:
    place = layout.keys(workspace.home) / name
    for folder in (layout.keys(workspace.home), place.parent):
        private_folder(folder)
    write_bytes(place, source.read_bytes(), private=True)

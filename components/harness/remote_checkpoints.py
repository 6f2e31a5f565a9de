"""The checkpoints of one piece of work in object storage: whole or not there, and nobody's but this home's.

    <url>/<slug>/<fingerprint>/step-0000000100-<digest>/<file>     the files of a checkpoint
    <url>/<slug>/<fingerprint>/step-0000000100-<digest>.json       its manifest, written last

Who can write the store can write anything. So a manifest carries an HMAC by a secret that only who has the home's
signing key knows, and names work, step, and size and SHA-256 of every file; nothing is used before all of that holds.
The digest in the name is the manifest's, so that no checkpoint is ever written over another.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core import object_stores, transfers
from core.errors import InputProblem
from core.files import sha256, sync
from core.keys import canonical
from core.manifests import names_problem
from core.transfers import NotAsWritten

STEP = re.compile(r"step-\d{10}")  # name of a checkpoint's folder, here and there
MANIFEST_BYTES = 1 << 20  # no manifest of a checkpoint is longer
LOOKED_AT = 64  # manifests, the newest: more than a training leaves
_MANIFEST = re.compile(r"(step-\d{10})-([0-9a-f]{16})\.json")


@dataclass(frozen=True)
class RemoteCheckpoint:
    """A checkpoint whose manifest holds.

    Attributes:
        name: ``step-…-<digest>``: its folder in the store.
        files: SHA-256 and size in bytes, by name.
    """

    name: str
    files: Mapping[str, tuple[str, int]]

    @property
    def folder(self) -> str:
        """Name of its folder on a machine; later steps sort behind earlier ones."""
        return self.name.rpartition("-")[0]


@dataclass(frozen=True)
class RemoteCheckpoints:
    """Where the checkpoints of one piece of work are kept; it can be sent to the machine that computes.

    Attributes:
        url: any that :mod:`core.object_stores` can write; credentials come from the environment.
        work: ``<slug>/<fingerprint>``.
        secret: of :func:`core.keys.secret`, for this work.
    """

    url: str
    work: str
    secret: bytes

    @cached_property
    def _store(self) -> tuple[Any, str]:
        system, place = object_stores.writable(self.url)
        return system, f"{place}/{self.work}"

    def upload(self, folder: Path, name: str, stopping: Callable[[], bool]) -> bool:
        """Copy the files in ``folder`` as the checkpoint ``name`` (``step-…``); false if it is there already.

        Raises:
            Stopped: ``stopping`` became true; what was copied is of no use and is removed by :meth:`prune`.
            Exception: the store's own.
        """
        system, place = self._store
        files = {
            path.relative_to(folder).as_posix(): (sha256(path), path.stat().st_size)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        manifest = self._manifest(name, files)
        full = f"{name}-{hashlib.sha256(manifest).hexdigest()[:16]}"
        if system.exists(f"{place}/{full}.json"):
            return False
        for file in files:
            transfers.put(system, folder / file, f"{place}/{full}/{file}", stopping)
        system.pipe_file(f"{place}/{full}.json", manifest)
        return True

    def newest(self, warn: Callable[[str], None]) -> list[RemoteCheckpoint]:
        """The checkpoints whose manifests hold, the newest first.

        Raises:
            InputProblem: there are some, and none was written with this home's key.
            Exception: the store's own.
        """
        system, _ = self._store
        found, foreign = [], []
        for entry in self._manifests()[:LOOKED_AT]:
            name = entry.rpartition("/")[2].removesuffix(".json")
            try:
                if system.size(entry) > MANIFEST_BYTES:
                    raise ValueError("it is too large")
                content = system.cat_file(entry)
                if not self._is_ours(content):
                    foreign.append(name)
                    continue
                found.append(self._read(content, name))
            except FileNotFoundError:
                continue  # it was removed meanwhile
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                warn(f"checkpoint {name} at {self.shown}: its manifest cannot be used ({error}); it is passed over")
        if foreign and not found:
            raise InputProblem(
                f"{self.shown}: holds checkpoints of this very training that were not written with this home's "
                f"signing key, or were changed since ({', '.join(foreign[:3])}): set STEMMA_SIGNING_KEY to the key of "
                "the machine that wrote them, or remove them to begin again"
            )
        for name in foreign:
            warn(f"checkpoint {name} at {self.shown} was not written with this home's key; it is passed over")
        return found

    def fetch_newer(self, into: Path, warn: Callable[[str], None], stopping: Callable[[], bool]) -> str | None:
        """Bring the newest whole checkpoint to ``into``, if it is newer than those there; its name if it was brought.

        Raises:
            InputProblem: there are some, and none was written with this home's key; or the disk is too small.
            Stopped: ``stopping`` became true.
            Exception: the store's own.
        """
        here = newest_of(into)
        for checkpoint in self.newest(warn):
            if checkpoint.folder <= here:
                return None
            try:
                self._fetch(checkpoint, into, stopping)
            except (NotAsWritten, FileNotFoundError) as error:
                warn(f"checkpoint {checkpoint.folder} at {self.shown} is damaged ({error}); the one before is taken")
                continue
            return checkpoint.folder
        return None

    def _fetch(self, checkpoint: RemoteCheckpoint, into: Path, stopping: Callable[[], bool]) -> None:
        """Copy a checkpoint to the folder ``into``, under which it appears whole."""
        system, place = self._store
        size = sum(size for _, size in checkpoint.files.values())
        into.mkdir(parents=True, exist_ok=True)
        transfers.require_room(into, size, f"the checkpoint {checkpoint.folder} at {self.shown}")
        partial = into / f"{checkpoint.folder}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            for name, (digest, bytes_) in checkpoint.files.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                transfers.get(system, f"{place}/{checkpoint.name}/{name}", partial / name, digest, bytes_, stopping)
            sync(partial)
            shutil.rmtree(into / checkpoint.folder, ignore_errors=True)
            os.rename(partial, into / checkpoint.folder)
            sync(into)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def prune(self, keep: int) -> None:
        """Remove all but the newest ``keep`` checkpoints, and what uploads that were killed have left of older ones."""
        system, _ = self._store
        manifests = self._manifests()
        kept = {entry.rpartition("/")[2].removesuffix(".json") for entry in manifests[:keep]}
        for entry in manifests[keep:]:
            system.rm_file(entry)  # first: what is left of it afterwards is no checkpoint
        oldest = min(kept, default="")
        for entry in self._entries():
            name = entry.rpartition("/")[2]
            if STEP.match(name) and not name.endswith(".json") and name not in kept and name < oldest:
                system.rm(entry, recursive=True)

    def clear(self) -> None:
        """Remove everything of this work."""
        system, place = self._store
        for entry in self._manifests():
            system.rm_file(entry)
        with contextlib.suppress(FileNotFoundError):
            system.rm(place, recursive=True)

    @property
    def shown(self) -> str:
        """The folder's address, for messages."""
        return f"{self.url.rstrip('/')}/{self.work}"

    def _entries(self) -> list[str]:
        system, place = self._store
        system.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            return sorted(str(entry) for entry in system.ls(place, detail=False))
        return []

    def _manifests(self) -> list[str]:
        """Paths of the manifests, the newest step first."""
        return [entry for entry in reversed(self._entries()) if _MANIFEST.fullmatch(entry.rpartition("/")[2])]

    def _manifest(self, step: str, files: Mapping[str, tuple[str, int]]) -> bytes:
        body = {"work": self.work, "step": step, "files": {name: list(each) for name, each in files.items()}}
        return (canonical(body | {"hmac": self._hmac(body)}) + "\n").encode()

    def _hmac(self, body: Mapping[str, Any]) -> str:
        return hmac.new(self.secret, canonical(body).encode(), hashlib.sha256).hexdigest()

    def _is_ours(self, content: bytes) -> bool:
        body = json.loads(content)
        given = body.pop("hmac")
        return isinstance(given, str) and hmac.compare_digest(given.encode(), self._hmac(body).encode())

    def _read(self, content: bytes, name: str) -> RemoteCheckpoint:
        body = json.loads(content)
        if body["work"] != self.work or f"{body['step']}-{hashlib.sha256(content).hexdigest()[:16]}" != name:
            raise ValueError("it is another checkpoint's")
        files = {file: (str(digest), int(size)) for file, (digest, size) in body["files"].items()}
        if problem := names_problem(files):
            raise ValueError(f"it {problem}")
        return RemoteCheckpoint(name, files)


def newest_of(folder: Path) -> str:
    """Name of the newest checkpoint in a folder on this machine; empty where there is none."""
    return max((path.name for path in folder.glob("step-*") if STEP.fullmatch(path.name)), default="")

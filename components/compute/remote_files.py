"""Files in object storage under the SHA-256 of their content: none is sent twice, and each is checked on arrival.

    <url>/objects/<first two digits of the SHA-256>/<SHA-256>

Which file of which folder each of them is goes to the nodes by Ray, not by the store: who can write the store can at
most make a training fail.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from core import object_stores, transfers
from core.errors import InputProblem
from core.files import sha256
from core.manifests import names_problem

Files = dict[str, tuple[str, int]]  # SHA-256 and size in bytes of a folder's files, by their paths in it
Known = dict[str, tuple[tuple[int, int, int], str]]  # of files: size, time of change, inode; and what SHA-256 they had
AT_ONCE = 8  # transfers
NO_STORE = "give the store's address and credentials to `ray start` on every node (such as AWS_ACCESS_KEY_ID)"
_SHA256 = re.compile(r"[0-9a-f]{64}")

Item = TypeVar("Item")
Result = TypeVar("Result")


class RemoteFiles:
    """The files below a URL that :mod:`core.object_stores` can write; credentials come from the environment."""

    def __init__(self, url: str):
        self.url = url

    @cached_property
    def _store(self) -> tuple[Any, str]:
        system, place = object_stores.writable(self.url)
        return system, f"{place}/objects"

    def upload(self, folder: Path, stopping: Callable[[], bool], known: Known | None = None) -> Files:
        """Send the files below a folder that are not there yet; what it holds.

        Args:
            known: SHA-256 of files as they were the last time, which are then not read again; takes those of now.

        Raises:
            Stopped: ``stopping`` became true.
            Exception: the store's own.
        """
        known = {} if known is None else known

        def send(path: Path) -> tuple[str, tuple[str, int]]:
            if stopping():
                raise transfers.Stopped
            about = path.stat()
            state = about.st_size, about.st_mtime_ns, about.st_ino
            before = known.get(str(path))
            digest = before[1] if before is not None and tuple(before[0]) == state else sha256(path)
            known[str(path)] = state, digest
            system, target = self._at(digest)
            if not self._holds(target, about.st_size):
                transfers.put(system, path, target, stopping)
            return path.relative_to(folder).as_posix(), (digest, about.st_size)

        return dict(_at_once(send, sorted(path for path in folder.rglob("*") if path.is_file())))

    def fetch(self, files: Mapping[str, tuple[str, int]], folder: Path, stopping: Callable[[], bool]) -> None:
        """Bring files to where their paths say below a folder.

        Raises:
            InputProblem: a path leads out of the folder; or the disk is too small.
            NotAsWritten, FileNotFoundError: a file is not in the store as it was sent.
            Stopped: ``stopping`` became true.
            Exception: the store's own.
        """
        self._require_sound(files)
        folder.mkdir(parents=True, exist_ok=True)
        transfers.require_room(folder, sum(size for _, size in files.values()), f"what is kept at {self.url}")

        def bring(item: tuple[str, tuple[str, int]]) -> None:
            path, (digest, size) = folder / item[0], item[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            self._get(digest, size, path, stopping)

        _at_once(bring, files.items())

    def fetch_kept(
        self, files: Mapping[str, tuple[str, int]], folder: Path, kept: Path, stopping: Callable[[], bool]
    ) -> None:
        """As :meth:`fetch`, by way of the folder ``kept``, where those stay that were fetched before.

        What comes to ``folder`` are hard links, which nobody may write to.
        """
        self._require_sound(files)
        missing = {digest: size for digest, size in files.values() if not (kept / digest).exists()}
        transfers.require_room(kept, sum(missing.values()), f"what is kept at {self.url}")

        def bring(item: tuple[str, int]) -> None:
            digest, size = item
            partial = kept / f"{digest}-{os.getpid()}.partial"
            try:
                self._get(digest, size, partial, stopping)
                os.chmod(partial, 0o444)
                os.replace(partial, kept / digest)
            finally:
                partial.unlink(missing_ok=True)

        _at_once(bring, missing.items())
        for name, (digest, _) in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(kept / digest, folder / name)

    def _require_sound(self, files: Mapping[str, tuple[str, int]]) -> None:
        problem = names_problem(files)
        if problem is None and not all(_SHA256.fullmatch(digest) for digest, _ in files.values()):
            problem = "names what is no SHA-256"
        if problem is not None:
            raise InputProblem(f"{self.url}: a list of files {problem}")

    def _at(self, digest: str) -> tuple[Any, str]:
        system, place = self._store
        return system, f"{place}/{digest[:2]}/{digest}"

    def _holds(self, target: str, size: int) -> bool:
        try:
            return int(self._store[0].info(target)["size"]) == size
        except FileNotFoundError:
            return False

    def _get(self, digest: str, size: int, path: Path, stopping: Callable[[], bool]) -> None:
        if stopping():
            raise transfers.Stopped
        system, source = self._at(digest)
        transfers.get(system, source, path, digest, size, stopping)


def _at_once(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``function`` of every item, some at a time; what one raises is raised once those under way have ended."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))

"""The list of what a back-up holds: sha256 and size of every file, written last, read first."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deploy.backup.errors import BackupFailed

FORMAT = 1
NAME = "manifest.json"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file of a back-up: its size in bytes, and the sha256 of its content."""

    bytes: int
    sha256: str


@dataclass
class Manifest:
    """What a back-up holds.

    Attributes:
        created: seconds since 1970.
        databases: name to engine and dump; two names share a dump where they share a database.
        files: path below the back-up's folder (with ``/``) to what is there.
        left_out: what the user chose to leave out, or what was not there.
        keys: whether the signing keys are included.
    """

    created: float
    stemma: str
    databases: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, Entry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    keys: bool = False
    format: int = FORMAT

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())

    def below(self, prefix: str) -> dict[str, Entry]:
        """The files in a folder of the back-up, by path below it."""
        start = f"{prefix}/"
        return {path.removeprefix(start): entry for path, entry in self.files.items() if path.startswith(start)}

    def write(self, folder: Path) -> None:
        """Write it into ``folder``, whole or not at all."""
        staging = folder / f"{NAME}.partial"
        with open(staging, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, folder / NAME)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the back-up in ``folder``.

        Raises:
            BackupFailed: there is none, it is damaged, or it is of a newer Stemma.
        """
        path = folder / NAME
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            if body["format"] > FORMAT:
                raise BackupFailed(f"{path} was written by a newer Stemma ({body['stemma']}); update this one")
            files = {name: Entry(**entry) for name, entry in body.pop("files").items()}
            manifest = cls(files=files, **body)
        except FileNotFoundError:
            raise BackupFailed(f"{folder} is no back-up: there is no {NAME} in it") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupFailed(f"{path} is damaged ({error}); take another back-up") from None
        if outside := [name for name in files if Path(name).is_absolute() or ".." in Path(name).parts]:
            raise BackupFailed(f"{path} names files outside the back-up: {outside[0]}")
        return manifest

    def verify(self, folder: Path, tell: Callable[[int, int], None]) -> None:
        """Read every file and compare it with what was recorded.

        Args:
            tell: told (bytes read, bytes in all).

        Raises:
            BackupFailed: files are missing or differ; all of them are named.
        """
        problems, done = [], 0
        for name, entry in sorted(self.files.items()):
            path = folder / name
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif path.stat().st_size != entry.bytes:
                problems.append(f"{name} has {path.stat().st_size} bytes instead of {entry.bytes}")
            elif digest(path) != entry.sha256:
                problems.append(f"{name} is not what was backed up (its sha256 differs)")
            done += entry.bytes
            tell(done, self.bytes)
        if problems:
            head = f"{folder} is damaged; nothing was restored:"
            raise BackupFailed("\n".join([head, *(f"  {problem}" for problem in problems)]))


def digest(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

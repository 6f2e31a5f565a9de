"""The list of what a back-up holds (sha256 and size of every file, written last, read first), and the errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.files import sha256, write_text
from core.manifests import names_problem
from registry.errors import RegistryError

FORMAT = 2  # 1 had no `encrypted_to`
NAME = "manifest.json"
CHUNK = 1 << 20
DATABASES, OBJECTS, ARTIFACTS, KEYS, BUNDLE = "databases", "objects", "mlartifacts", "keys", "repository.bundle"
FOLDERS = (DATABASES, OBJECTS, ARTIFACTS, KEYS)


class BackupFailed(RegistryError):
    """A database, a store or a file could not be read or written; the message says which and why."""


class BackupRefused(RegistryError):
    """Something has to be changed first; nothing was touched. The message lists every problem."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{count}; nothing was changed:", *(f"  {line}" for line in self.problems)]))


@dataclass(frozen=True)
class BackupFile:
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
        encrypted_to: public keys of those who can read the files; empty where they are not encrypted.
        sha256: of the manifest's own bytes, once it was written or read.
    """

    created: float
    stemma: str
    databases: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, BackupFile] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    keys: bool = False
    encrypted_to: list[str] = field(default_factory=list)
    format: int = FORMAT
    sha256: str = field(default="", compare=False)

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.files.values())

    def stored(self, name: str) -> str:
        """The path at which a file lies in the back-up."""
        return f"{name}.age" if self.encrypted_to else name

    def below(self, prefix: str) -> dict[str, BackupFile]:
        """The files in a folder of the back-up, by path below it."""
        start = f"{prefix}/"
        return {path.removeprefix(start): entry for path, entry in self.files.items() if path.startswith(start)}

    def write(self, folder: Path) -> None:
        """Write it into ``folder``.

        Raises:
            BackupFailed: a file's name could not be restored.
        """
        if problem := names_problem(self.files):
            raise BackupFailed(f"the back-up {problem}, so it could not be restored everywhere; rename that file")
        body = {name: value for name, value in asdict(self).items() if name != "sha256"}
        content = json.dumps(body, indent=1, sort_keys=True)
        self.sha256 = hashlib.sha256(content.encode()).hexdigest()
        write_text(folder / NAME, content)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the back-up in ``folder``.

        Raises:
            BackupFailed: there is none, it is damaged, or it is of a newer Stemma.
        """
        path = folder / NAME
        try:
            content = path.read_bytes()
            body = json.loads(content)
            if body["format"] > FORMAT:
                raise BackupFailed(f"{path} was written by a newer Stemma ({body['stemma']}); update this one")
            files = {name: BackupFile(**entry) for name, entry in body.pop("files").items()}
            manifest = cls(files=files, sha256=hashlib.sha256(content).hexdigest(), **body)
            manifest.encrypted_to = [str(recipient) for recipient in manifest.encrypted_to]
            dumps = [database["file"] for database in manifest.databases.values()]
        except FileNotFoundError:
            raise BackupFailed(f"{folder} is not a back-up: it has no {NAME}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BackupFailed(f"{path} is damaged ({error}); take another back-up") from None
        problem = names_problem(files)
        if unknown := [name for name in files if name != BUNDLE and name.split("/")[0] not in FOLDERS]:
            problem = f"names {unknown[0]!r}, which is no part of a back-up"
        if missing := [name for name in dumps if name not in files]:
            problem = f"names the dump {missing[0]!r} and not its sha256"
        if problem:
            raise BackupFailed(f"{path} {problem}; nothing of it was used")
        return manifest

    def verify(self, folder: Path, progress: Callable[[int, int], None]) -> None:
        """Read every file and compare it with what was recorded.

        Args:
            progress: called with (bytes read, bytes in all).

        Raises:
            BackupFailed: files are missing or differ; all of them are named.
        """
        problems, done = [], 0
        for name, entry in sorted(self.files.items()):
            path = folder / name
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif path.is_symlink():
                problems.append(f"{name} is a link")
            elif path.stat().st_size != entry.bytes:
                problems.append(f"{name} has {path.stat().st_size} bytes instead of {entry.bytes}")
            elif sha256(path) != entry.sha256:
                problems.append(f"{name} differs from what was backed up (its sha256 is another)")
            done += entry.bytes
            progress(done, self.bytes)
        if problems:
            head = f"{folder} is damaged; nothing was restored:"
            raise BackupFailed("\n".join([head, *(f"  {problem}" for problem in problems)]))

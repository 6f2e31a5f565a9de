"""SQLite: its online back-up copies a database that is being written to, both ways."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import URL

from deploy.backup.manifest import BackupFailed

BUSY_SECONDS = 60


def dump(url: URL, target: Path) -> None:
    """One consistent state of the database at ``url`` as the file ``target``.

    Raises:
        BackupFailed: it cannot be read, or is damaged.
    """
    with _errors(url.database), _open(url.database, "ro") as source:
        with contextlib.closing(sqlite3.connect(target)) as copy:
            # All pages at once: in steps, every write of another process between two of them begins it anew.
            source.backup(copy, pages=-1)
    with _errors(url.database), _open(str(target), "rw") as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise BackupFailed(f"{url.database} is damaged: {verdict}; restore it from an earlier back-up")


def content(url: URL) -> str | None:
    """What the database holds, in words; ``None`` where it holds no table or does not exist."""
    path = Path(url.database or "")
    if not path.exists():
        return None
    try:
        with _open(url.database, "ro") as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
    except sqlite3.DatabaseError as error:
        return f"{path} cannot be read ({error})"
    return f"{path} holds {tables} tables" if tables else None


def load(url: URL, source: Path) -> None:
    """Replace what the database at ``url`` holds by the file ``source``, in one transaction.

    Not by renaming a file over it: the write-ahead log of the old one would be taken for the new one's. One that is
    damaged cannot take part in a transaction: it is kept beside, as ``NAME.damaged``.

    Raises:
        BackupFailed: another process writes to it, or it cannot be written.
    """
    path = Path(url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _errors(url.database):
        try:
            _load(path, source)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
            for part in ("", "-wal", "-shm", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{path}{part}", f"{path}.damaged{part}")
            _load(path, source)


def _load(path: Path, source: Path) -> None:
    with _open(str(source), "ro") as dumped:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as target:
            dumped.backup(target)


@contextlib.contextmanager
def _open(database: str | None, mode: str) -> Iterator[sqlite3.Connection]:
    uri = f"{Path(database or '').resolve().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
        yield connection


@contextlib.contextmanager
def _errors(database: str | None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BackupFailed(f"{database}: {error}") from error

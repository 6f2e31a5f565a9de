"""When and where to the last back-up was taken, kept in the home it was taken of."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path

from core import layout
from core.errors import redacted
from core.files import read_json, write_json


@dataclass(frozen=True)
class LastBackup:
    """The last back-up that ended well; ``time`` in unix seconds."""

    place: str
    time: float


def note(home: Path, place: str, time: float) -> None:
    """Note a back-up that was taken; a disk without room for the note is no reason for it to fail."""
    with contextlib.suppress(OSError):
        write_json(layout.last_backup(home), asdict(LastBackup(redacted(place), time)), private=True)


def read(home: Path) -> LastBackup | None:
    """The last one; ``None`` where none was taken, or its note cannot be read."""
    try:
        found = read_json(layout.last_backup(home), None)
        return LastBackup(**found) if found is not None else None
    except (OSError, ValueError, TypeError):
        return None

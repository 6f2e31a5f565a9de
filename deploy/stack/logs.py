"""The services' logs, kept from growing without end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LARGEST = 10 * 2**20  # bytes; one older part is kept beside it


def rotate(log: Path) -> None:
    """Move a log that has grown large to ``<name>.1``; its writer, which only appends, goes on in the emptied file."""
    if log.exists() and log.stat().st_size > LARGEST:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def last_words(log: Path, lines: int = 8) -> list[str]:
    """The last lines that say something."""
    if not log.exists():
        return []
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-lines:]

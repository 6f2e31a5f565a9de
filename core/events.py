"""The log of events that a stage appends to and others follow: one JSON object a line, in a file that only grows.

A process that is killed while it writes leaves at most one torn last line; the next attempt ends it with a newline, so
that no reader takes half of an event for one.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from core.files import read_json
from core.layout import replay_cursor


def append(log: Path, kind: str, **body: Any) -> None:
    """Append one event, with the present time in seconds since the epoch as ``time``."""
    line = json.dumps({"kind": kind, "time": time.time(), **body}, default=float) + "\n"
    # One write call on an O_APPEND descriptor: whole, or torn at the end.
    with open(log, "ab", buffering=0) as file:
        file.write(line.encode())


def end_torn_line(log: Path) -> None:
    """End the line that a killed process left half-written, so that it counts as a line of its own."""
    if not log.exists() or not log.stat().st_size:
        return
    with open(log, "rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def sent(log: Path) -> bool:
    """True if MLflow has everything that the log holds: the cursor beside it has reached the end."""
    size = log.stat().st_size if log.exists() else 0
    try:
        return bool(read_json(replay_cursor(log), {}).get("offset", 0) >= size)
    except ValueError:  # the cursor was cut short by a full disk
        return size == 0


def read(log: Path, offset: int = 0, limit: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """(events behind ``offset``, offset behind the last whole line read); no events where there is no file.

    Lines that are not JSON objects are passed over.

    Args:
        offset: in bytes, at the beginning of a line.
        limit: how many events to read at most.
    """
    found: list[dict[str, Any]] = []
    try:
        file = open(log, "rb")
    except FileNotFoundError:
        return found, offset
    with file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n") or (limit is not None and len(found) >= limit):
                break
            offset += len(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                found.append(event)
    return found, offset

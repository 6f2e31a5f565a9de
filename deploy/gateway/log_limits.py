"""A bound on what the log says of one kind, so that nobody fills a disk by sending nonsense."""

from __future__ import annotations

import logging
import time

LINES, SECONDS = 20, 60.0


class RepeatLimit(logging.Filter):
    """Lets :data:`LINES` records of one kind pass in :data:`SECONDS`; the next one after that says how many it kept.

    A kind is what the source writes: a logger, a level and a message before its arguments are filled in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}  # (start of the window, records in it)

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.name, record.levelno, str(record.msg)[:200]
        now = time.monotonic()
        began, seen = self._kinds.get(kind, (now, 0))
        if now - began > SECONDS:
            if seen > LINES:
                record.msg = f"{record.msg} ({seen - LINES} more such lines were left out)"
            began, seen = now, 0
        if len(self._kinds) > 1000:
            self._kinds.clear()
        self._kinds[kind] = began, seen + 1
        return seen < LINES

"""The end of what people wrote: an answer goes as a whole, of a vote its texts (its choice stays in the ratings)."""

from __future__ import annotations

import time

from sqlalchemy import delete, exists, select, update

from registry.db.database import Registry
from registry.db.schema import KeptAnswer, Vote


def remove_expired(registry: Registry) -> int:
    """Delete what has expired; how many answers and votes that were. Nothing is locked where there is none."""
    now = time.time()
    old, over = KeptAnswer.expires <= now, Vote.expires <= now
    with registry.read() as session:
        if not session.scalar(select(exists().where(old) | exists().where(over))):
            return 0
    with registry.write() as session:
        emptied = {"question": "", "answer_a": "", "answer_b": "", "reason": "", "expires": None}
        changes = (delete(KeptAnswer).where(old), update(Vote).where(over).values(**emptied))
        return sum(session.connection().execute(change).rowcount for change in changes)

"""How a worker ends, and the file in which it says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from core.files import read_json

COMPLETE, PROBLEMS, INTERRUPTED, FAILED = "complete", "problems", "interrupted", "failed"
EXIT_CODES = {COMPLETE: 0, FAILED: 1, PROBLEMS: 2, INTERRUPTED: os.EX_TEMPFAIL}
OF_A_RANK = "outcome-of-a-rank.json"  # how a process other than the main one failed, beside the outcome


def left(path: Path) -> dict[str, Any] | None:
    """What the processes of a worker left at ``path``; problems that another than the main one found come first."""
    outcome: dict[str, Any] | None = read_json(path, None)
    if outcome is not None and outcome["state"] in (COMPLETE, PROBLEMS):
        return outcome
    other: dict[str, Any] | None = read_json(path.with_name(OF_A_RANK), None)
    # That another one failed may have come from the main one's end.
    return other if other is not None and other["state"] == PROBLEMS else outcome

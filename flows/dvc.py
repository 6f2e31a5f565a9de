"""DVC's command line, from subprocesses only: its Python API may not be used from two threads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flows.environment import child_environment

# A second DVC holds the repository's lock while it hashes, or a path while its stage runs.
BUSY = re.compile(r"is busy|Unable to acquire lock|another DVC process|is being blocked by", re.IGNORECASE)


class DvcError(Exception):
    """DVC refused; the message is DVC's own, made one line or a few."""


def command(*arguments: str) -> list[str]:
    """The command line of a DVC that waits for its lock. ``--wait-for-lock`` goes before the verb."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]


def run(root: Path, *arguments: str, tries: int = 5) -> str:
    """Standard output of a DVC command run in ``root``; tried again when another DVC was busy.

    Raises:
        DvcError: it failed.
    """
    for attempt in range(1, tries + 1):
        done = subprocess.run(
            command(*arguments), cwd=root, env=child_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
        if not BUSY.search(done.stderr) or attempt == tries:
            break
        time.sleep(0.5 * attempt)
    raise DvcError(message_of(done.stderr) or f"dvc {' '.join(arguments)} ended with exit code {done.returncode}")


def status(root: Path, *targets: str) -> dict[str, list[Any]]:
    """What changed since the last reproduction, by stage: DVC's own ``status --json``; empty when nothing did."""
    text = run(root, "status", "--json", *targets)
    return json.loads(text.strip().splitlines()[-1]) if text.strip() else {}


def message_of(stderr: str) -> str:
    """The part of DVC's standard error that says what is wrong."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    start = next((index for index, line in enumerate(lines) if line.startswith("ERROR")), 0)
    return "\n".join(line.removeprefix("ERROR: ") for line in lines[start:]).strip()

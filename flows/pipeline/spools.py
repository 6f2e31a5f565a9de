"""What stages could not tell MLflow while it was down: told as soon as it answers again."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

from core.environment import child_environment
from core.errors import redacted
from core.workspace import Workspace
from registry.promotion.mirror import unreachable

REPLAY_SECONDS = 60.0


def pending(home: Path) -> list[Path]:
    """The spools that hold something MLflow was not told, but for those of stages that run now."""
    spools = sorted((home / "scratch").glob("*/*/tracking/events.jsonl"))
    return [events for events in spools if events.stat().st_size > _told(events) and not _in_use(events)]


def tell_pending(workspace: Workspace) -> str | None:
    """Replay the pending spools in a process of its own (it imports MLflow); a note where some still wait.

    A server that is away costs the seconds it takes to notice, and never more than ``REPLAY_SECONDS``.
    """
    if not pending(workspace.home):
        return None
    waits = "metrics of earlier stages still wait to be told to MLflow; `stemma sync` tries again"
    if why := unreachable(workspace.mlflow_uri):
        return f"{waits}: {why}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "components", "replay"],
            cwd=workspace.root,
            env=child_environment({"STEMMA_HOME": str(workspace.home)}),
            capture_output=True,
            text=True,
            timeout=REPLAY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{waits}: MLflow answers too slowly"
    if done.returncode:
        words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return f"{waits}: {redacted(words[-1][:300]) if words else 'the replay failed'}"
    return None


def _told(events: Path) -> int:
    try:
        return json.loads(events.with_name("cursor.json").read_text(encoding="utf-8"))["offset"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return 0


def _in_use(events: Path) -> bool:
    """True while a stage holds its scratch folder: it tells its spool itself."""
    try:
        with open(events.with_name("lock"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False

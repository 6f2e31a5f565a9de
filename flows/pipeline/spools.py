"""Event logs that MLflow does not have in full, since it was down: sent as soon as it answers again."""

from __future__ import annotations

import subprocess
from pathlib import Path

from core import events, layout, locks, python
from core.environment import child_environment
from core.errors import redacted
from core.workspace import Workspace
from registry.promotion.mirror import unreachable

REPLAY_SECONDS = 60.0


def pending(home: Path) -> list[Path]:
    """The event logs that MLflow does not have in full; a stage that runs now sends its own."""
    logs = [log for log in layout.event_logs(home) if not events.sent(log)]
    return [log for log in logs if not locks.held(layout.scratch_lock(log))]


def send_pending(workspace: Workspace) -> str | None:
    """Send MLflow the pending event logs, in a process of its own (it imports MLflow); a note where some remain.

    A server that is away costs the seconds it takes to notice, and never more than ``REPLAY_SECONDS``.
    """
    if not pending(workspace.home):
        return None
    note = "MLflow update incomplete: metrics of earlier stages will be sent at the next `stemma sync`"
    if why := unreachable(workspace.mlflow_uri):
        return f"{note} ({why})"
    try:
        done = subprocess.run(
            python.command("components", "replay"),
            cwd=workspace.root,
            env=child_environment({"STEMMA_HOME": str(workspace.home)}),
            capture_output=True,
            text=True,
            timeout=REPLAY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{note} (MLflow answers too slowly)"
    if done.returncode:
        words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return f"{note} ({redacted(words[-1][:300]) if words else 'the replay failed'})"
    return None

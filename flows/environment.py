"""The environment that Stemma's own processes and the engines it starts run in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Nothing reaches out unless the user's configuration names a remote source.
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def quiet_mlflow() -> None:
    """Keep MLflow's messages about its own database off the screen; to be called before it is imported."""
    os.environ.update({name: value for name, value in TELEMETRY_OFF.items() if name not in os.environ})
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a child: telemetry off unless the user set it, and this Python first on PATH.

    ``dvc.yaml`` says ``python -m components …``; the folder of the running interpreter comes first, so that a stage
    runs in the environment that holds ``stemma``, activated or not.
    """
    environment = {**TELEMETRY_OFF, **os.environ}
    folder = str(Path(sys.executable).parent)
    paths = environment.get("PATH", os.defpath).split(os.pathsep)
    environment["PATH"] = os.pathsep.join([folder, *(path for path in paths if path != folder)])
    environment.setdefault("PYTHONUNBUFFERED", "1")  # a stage's last words reach its log also when it is killed
    environment.update(extra or {})
    return environment


def quiet_prefect(home: Path, api_url: str | None) -> None:
    """Settle Prefect's settings before ``prefect`` is imported for the first time: it reads them then.

    Args:
        home: folder for Prefect's own files (``PREFECT_HOME``), unless the user chose one.
        api_url: server to talk to; ``None`` keeps what the environment says.
    """
    os.environ.update({name: value for name, value in TELEMETRY_OFF.items() if name not in os.environ})
    os.environ.setdefault("PREFECT_HOME", str(home))
    if api_url:
        os.environ["PREFECT_API_URL"] = api_url
    # A flow that dies by kill -9 stops beating, so that an automation of the server can mark it Crashed.
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")


def use_stack(home: Path) -> None:
    """Use the servers of the stack that runs in the workspace's home, where the user named no others.

    Where none runs, the databases that the last one used: those of a home on PostgreSQL are not in the home.
    """
    from deploy.stack import state
    from deploy.stack.storage import Storage

    stack = state.read(home)
    found = stack.environment if stack is not None else Storage.recall(home).environment(home)
    os.environ.update({name: value for name, value in found.items() if name not in os.environ})

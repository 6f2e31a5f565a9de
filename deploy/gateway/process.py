"""An engine's process: in a group of its own, and never longer alive than the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_SECRETS = ("STEMMA_", "MLFLOW_", "PREFECT_", "AWS_")  # an engine needs none of what these hold
_QUIET = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1",
}  # fmt: skip
STOP_SECONDS = 5.0


def free_port() -> int:
    """A port of the loopback that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment() -> dict[str, str]:
    """What an engine is told: nothing secret, and not to reach out."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    return {**own, **_QUIET}


async def start(
    command: Sequence[str], folder: Path, log: Path, env: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a command in ``folder``; what it prints goes to ``log``. To be called in the main thread.

    Raises:
        OSError: it cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        return await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment() if env is None else env, stdin=asyncio.subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True, preexec_fn=die_with_parent,
        )  # fmt: skip


def die_with_parent() -> None:
    """The kernel tells the child to end when the thread that started it ends, also by kill -9; engines obey."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


async def stop(process: asyncio.subprocess.Process, seconds: float = STOP_SECONDS) -> None:
    """End the whole group: politely first, then not."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), seconds)
    kill(process)  # what it left behind as well
    await process.wait()


def kill(process: asyncio.subprocess.Process) -> None:
    """End the whole group at once."""
    _signal(process, signal.SIGKILL)


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def last_words(log: Path, characters: int = 600) -> str:
    """The end of what a process printed, on one line."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-4:])[-characters:]

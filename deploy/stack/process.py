"""A service's processes: started so that they can be found again, measured, and ended without a rest.

Every process of a stack carries a mark in its environment, which its children inherit whatever session or process group
they make for themselves. So what a killed service, or a killed supervisor, has left behind is found by asking the
system, not by remembering.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

MARK = "SUPERVISED_BY"  # of no program's own names: some do not hand those on
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def mark_of(home: Path, supervisor: int | None = None, service: str = "") -> str:
    """The mark of a home's processes; the more is told, the fewer they are. A mark is the start of narrower ones."""
    parts = [str(home), "" if supervisor is None else str(supervisor), service]
    return "|".join(parts).rstrip("|") + "|"


def start(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, mark: str
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; what it prints is appended to ``log``.

    To be called in the main thread: the kernel ends the process with the thread that started it.

    Raises:
        OSError: it cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def marked(mark: str) -> list[psutil.Process]:
    """Living processes that carry a mark, or a narrower one; never this process itself."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK, "").startswith(mark):
                found.append(process)
    return found


def sweep(mark: str, seconds: float) -> None:
    """End every process that carries a mark: they are told to, and killed after ``seconds``."""
    deadline, told = time.monotonic() + seconds, set()
    while left := marked(mark):
        for process in left:
            with contextlib.suppress(psutil.Error):
                if time.monotonic() > deadline:
                    process.kill()
                elif process not in told:
                    told.add(process)
                    process.terminate()
        time.sleep(0.05)


def memory(pid: int) -> int:
    """Resident bytes of a process and its descendants; pages that they share are counted for each."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return sum(_resident(each) for each in [process, *process.children(recursive=True)])
    return 0


def listens(pid: int, port: int) -> bool:
    """Whether a process or a descendant of it listens at a port: another's server there may answer as well."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return any(_listens(each, port) for each in [process, *process.children(recursive=True)])
    return False


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        found = process.net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found)


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

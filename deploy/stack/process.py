"""A service's processes and its log: started so that they can be found again, measured, and ended completely.

Every process of a stack carries a mark in its environment, which its children inherit whatever session or process group
they make for themselves. So what a killed service, or a killed supervisor, has left behind is found by asking the
system, not by remembering.

``python -m deploy.stack.process MARK SECONDS`` outlives a supervisor that was killed for as long as it takes to end
what that had started: it waits for the end of its standard input, which the supervisor holds open and which the kernel
closes however the supervisor ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from core import python
from core.files import private, private_folder
from core.processes import die_with_parent

MARK = "SUPERVISED_BY"  # of no program's own names: some do not hand those on
LARGEST_LOG = 10 * 2**20  # bytes; one older part is kept beside it


def mark_of(home: Path, supervisor: int | None = None, service: str = "") -> str:
    """The mark of a home's, a supervisor's or a service's processes; a wider mark is the start of narrower ones."""
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
    private_folder(log.parent)
    own = {**environment, MARK: mark}
    python.isolate(own)
    with open(log, "ab", opener=private) as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=own,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,
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
    """End every process that carries a mark: SIGTERM at once, SIGKILL after ``seconds``."""
    deadline, terminated = time.monotonic() + seconds, set()
    while left := marked(mark):
        for process in left:
            with contextlib.suppress(psutil.Error):
                if time.monotonic() > deadline:
                    process.kill()
                elif process not in terminated:
                    terminated.add(process)
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
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def rotate(log: Path) -> None:
    """Move a log that has grown large to ``<name>.1``; its writer, which only appends, goes on in the emptied file."""
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


def _sweep_after_supervisor(mark: str, seconds: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # those are for the supervisor
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(mark, seconds)


if __name__ == "__main__":
    _sweep_after_supervisor(sys.argv[1], float(sys.argv[2]))

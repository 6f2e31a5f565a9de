"""What may happen to a run: the processes killed, ended by a signal, the power cut, the disk full."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from core.processes import notice_seconds

if TYPE_CHECKING:
    from bench.goodput import MeasuredWorkspace

WORKER = "components.harness.worker"


@dataclass(frozen=True)
class Fault:
    """A kind of interruption, and the function that does it to a running stage."""

    name: str
    strike: Callable[[psutil.Process, MeasuredWorkspace, random.Random], None]


def _kill_worker(stage: psutil.Process, workspace: MeasuredWorkspace, draw: random.Random) -> None:
    _send(_workers(stage), signal.SIGKILL)


def _kill_harness(stage: psutil.Process, workspace: MeasuredWorkspace, draw: random.Random) -> None:
    _send([stage], signal.SIGKILL)


def _ask(stage: psutil.Process, workspace: MeasuredWorkspace, draw: random.Random) -> None:
    _send([stage], signal.SIGTERM)


def _cut_power(stage: psutil.Process, workspace: MeasuredWorkspace, draw: random.Random) -> None:
    """Everything ends at once, and the disk holds less of the newest checkpoint than was written, or other bytes."""
    processes = [stage, *stage.children(recursive=True)]
    _send(processes, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)
    saved = checkpoints(workspace)
    if saved:
        damage(draw.choice(sorted(saved[-1].iterdir())), draw)


def _fill_disk(stage: psutil.Process, workspace: MeasuredWorkspace, draw: random.Random) -> None:
    """The system refuses the next checkpoint's largest file as on a full disk (RLIMIT_FSIZE), then the worker dies.

    How large that is shows the checkpoint before it, so the first one is waited for.
    """
    _wait(stage, lambda: checkpoints(workspace))
    offset = workspace.reported()
    largest = max((path.stat().st_size for saved in checkpoints(workspace)[-1:] for path in saved.iterdir()), default=0)
    for worker in _workers(stage):
        with contextlib.suppress(psutil.NoSuchProcess):
            # Above the size of the spool, which the worker writes on.
            worker.rlimit(resource.RLIMIT_FSIZE, ((offset + largest) // 2, resource.RLIM_INFINITY))
    _wait(stage, lambda: any("no disk space" in event.get("message", "") for event in workspace.events(offset)))
    _send(_workers(stage), signal.SIGKILL)


def _take_back(stage: psutil.Process, workspace: MeasuredWorkspace, draw: random.Random) -> None:
    """A spot machine is taken back: SIGTERM, and after the notice, or the stage's end, nothing of its disk is left."""
    _send([stage], signal.SIGTERM)
    _, alive = psutil.wait_procs([stage], timeout=notice_seconds())
    _send([each for process in alive for each in (process, *process.children(recursive=True))], signal.SIGKILL)
    workspace.lose_disk()


def _lose(stage: psutil.Process, workspace: MeasuredWorkspace, draw: random.Random) -> None:
    """A machine is gone without a word, with its disk, once there is a checkpoint elsewhere to go on from."""
    _wait(stage, lambda: any("checkpoint_upload_seconds" in event.get("metrics", {}) for event in workspace.events()))
    processes = [stage, *stage.children(recursive=True)]
    _send(processes, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)
    workspace.lose_disk()


KILL_WORKER = Fault("kill -9 of the worker", _kill_worker)
KILL_HARNESS = Fault("kill -9 of the harness", _kill_harness)
SIGTERM = Fault("SIGTERM", _ask)
POWER_CUT = Fault("power cut, newest checkpoint damaged", _cut_power)
DISK_FULL = Fault("disk full at a checkpoint, then kill -9", _fill_disk)
TAKEN_BACK = Fault("spot machine taken back, another goes on", _take_back)
LOST = Fault("machine lost, another goes on", _lose)
#: Of a training whose checkpoints are kept elsewhere too.
OF_MACHINES = (TAKEN_BACK, LOST)
KINDS = (KILL_WORKER, KILL_HARNESS, SIGTERM, POWER_CUT, DISK_FULL)


def plan(draw: random.Random, interval: float, count: int, kinds: Sequence[Fault]) -> list[tuple[float, Fault]]:
    """``count`` faults, each with the seconds of training before it: exponential with mean ``interval``, as faults that
    know nothing of each other are. The kinds come in shuffled rounds, so that none is left out for long."""
    drawn: list[Fault] = []
    while len(drawn) < count:
        drawn += draw.sample(kinds, len(kinds))
    return [(draw.expovariate(1 / interval), kind) for kind in drawn[:count]]


def damage(path: Path, draw: random.Random) -> None:
    """Cut the file at any byte, or change one."""
    size = path.stat().st_size
    offset = draw.randrange(size)
    if draw.random() < 0.5:
        os.truncate(path, offset)
        return
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ draw.randrange(1, 256)]))


def checkpoints(workspace: MeasuredWorkspace) -> list[Path]:
    """Finished checkpoints, the newest last."""
    folder = workspace.scratch / "checkpoints" if workspace.scratch else None
    return sorted(path for path in folder.glob("step-*") if path.suffix != ".partial") if folder else []


def _wait(stage: psutil.Process, happened: Callable[[], object]) -> None:
    """Until it has happened, or the stage has ended."""
    while not happened() and stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)


def _workers(stage: psutil.Process) -> list[psutil.Process]:
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in stage.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if WORKER in child.cmdline():
                    found.append(child)
    return found


def _send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)

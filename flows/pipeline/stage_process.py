"""Reproduces one stage: ``dvc --wait-for-lock repro --single-item <stage>`` in a process group of its own.

*Cancelled* in an orchestrator does not mean that DVC and the trainer below it are dead, and a DVC that is killed leaves
its stage running. So the group's life is tied to the flow's, and stopping means: signal the stage, wait, end the group.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import psutil

from components.harness import libraries
from core import dvc, layout
from core.environment import child_environment
from core.errors import InputProblem, StemmaError
from core.layout import slug
from core.prefork import Prefork, Program
from core.processes import die_with_parent, notice_seconds

Outcome = Literal["cached", "restored", "ran"]

GRACE_SECONDS = 60.0  # a stage that is to stop saves its checkpoint first; longer where the machine's notice is
TRIES = 4

_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")

_UNCHANGED = re.compile(r"^Stage '.*' didn't change, skipping", re.MULTILINE)
_RESTORED = re.compile(r"^Stage '.*' is cached - skipping run, checking out outputs", re.MULTILINE)
_STARTED = re.compile(r"^Running stage '", re.MULTILINE)
_COMMAND_FAILED = re.compile(r"failed to run: ")
_TAIL_LINES = 15


class StageFailed(StemmaError):
    """A stage ended by an error; the message holds its last words and where the whole log is."""

    def __init__(self, stage: str, message: str, log: Path):
        self.stage, self.log = stage, log
        super().__init__(message)


class StageStopped(StemmaError):
    """A stage was stopped from outside; the next run goes on from its checkpoint."""


@dataclass
class StageProcess:
    """One stage of one pipeline run.

    Attributes:
        root: the workspace the stage runs in.
        home: the workspace's ``.stemma``.
        run: name of the pipeline run; its folder ``<home>/runs/<run>`` takes the stage's log and messages.
        stage: DVC's name of the stage.
        force: run it although nothing changed.
        apart: run it whatever DVC's caches hold, and put nothing into them.
        environment: variables for the stage besides, such as Prefect's ids.
        prefork: a process to fork the stage's from, where there is one.
    """

    root: Path
    home: Path
    run: str
    stage: str
    force: bool = False
    apart: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    prefork: Prefork | None = None

    def __post_init__(self):
        self._stopping = threading.Event()
        self._kill_at = float("inf")

    @property
    def stopping(self) -> bool:
        """True once :meth:`stop` was called."""
        return self._stopping.is_set()

    @property
    def folder(self) -> Path:
        """Where the run's stages leave their logs and messages."""
        return layout.run(self.home, self.run)

    @property
    def log(self) -> Path:
        """Everything that DVC and the stage wrote to their standard output and error."""
        return self.folder / f"{slug(self.stage)}.log"

    @property
    def problems_file(self) -> Path:
        """Written by the harness when the stage refuses its input."""
        return self.folder / f"{slug(self.stage)}.problems.json"

    @property
    def events_pointer(self) -> Path:
        """Written by the harness when the stage starts: holds the path of its file of events."""
        return self.folder / f"{slug(self.stage)}.events"

    def reproduce(self, poll: Callable[[], object] = lambda: None) -> Outcome:
        """Bring the stage up to date; ``poll`` is called about four times a second meanwhile.

        Raises:
            InputProblem: the stage refused its parameters or data; its own words.
            StageFailed: it ended by an error.
            StageStopped: :meth:`stop` was called.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.problems_file.unlink(missing_ok=True)
        self.events_pointer.unlink(missing_ok=True)
        options = ["--force"] if self.force or self.apart else []
        options += ["--no-run-cache", "--no-commit"] if self.apart else []
        for attempt in range(1, TRIES + 1):
            if self._stopping.is_set():  # before it began, or while it waited for another DVC
                raise StageStopped(f"{self.stage} was stopped")
            code, text = self._execute(["repro", "--single-item", *options, self.stage], poll)
            if self._stopping.is_set():
                raise StageStopped(f"{self.stage} was stopped")
            if code == 0:
                return outcome_of(text)
            if not dvc.BUSY.search(text) or _COMMAND_FAILED.search(text) or attempt == TRIES:
                break
            # The command may have finished and only its outputs' hashing met the lock. A rerun would delete the outputs
            # first, so take what is there, if DVC will.
            take = _STARTED.search(text) and not self.apart
            if take and self._execute(["commit", "--force", self.stage], poll)[0] == 0:
                return "ran"
            self._stopping.wait(2.0 ** (attempt - 1))
        raise self._failure(code, text)

    def stop(self) -> None:
        """Have the stage save its checkpoint and end; end the whole group if it does not within the grace time.

        The thread that waits for the stage signals it, also one that is only about to start.
        """
        self._kill_at = min(self._kill_at, time.monotonic() + grace_seconds())
        self._stopping.set()

    def _signal_stage(self, process: subprocess.Popen | Program, signalled: set[int]) -> None:
        """SIGTERM, once, to whatever does the stage's work.

        Not to DVC itself: it would die at once, and its stage with it, before the checkpoint is saved.
        """
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                for target in _below_shells(child):
                    if target.pid not in signalled:
                        target.terminate()
                        signalled.add(target.pid)

    def _execute(self, arguments: list[str], poll: Callable[[], object]) -> tuple[int, str]:
        """(exit code, what it wrote) of a DVC in a session of its own that dies with this thread."""
        start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            process = self._start(arguments, log)
            try:
                try:
                    self._wait(process, poll)
                except BaseException:  # Ctrl-C or a signal reached the thread that waits
                    self.stop()
                    self._wait(process, lambda: None)
                    raise
            finally:
                end_group(process)
        poll()
        with open(self.log, "rb") as log:
            log.seek(start)
            return process.wait(), log.read().decode(errors="replace")

    def _start(self, arguments: list[str], log: BinaryIO) -> subprocess.Popen | Program:
        environment = child_environment({"STEMMA_RUN": self.run, "STEMMA_HOME": str(self.home), **self.environment})
        if self.prefork is not None:
            with contextlib.suppress(OSError):  # it has ended; then as without it
                return self.prefork.program(
                    *dvc.program(*arguments), cwd=self.root, env=environment, output=log.fileno(), errors=log.fileno(),
                    libraries=libraries.of_stages([self.stage]),
                )  # fmt: skip
        return subprocess.Popen(
            dvc.command(*arguments),
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_flow,
        )

    def _wait(self, process: subprocess.Popen | Program, poll: Callable[[], object]) -> None:
        """Until the process has ended, by itself or because :meth:`stop` was called."""
        signalled: set[int] = set()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.25)
                return
            poll()
            if self._stopping.is_set():
                self._signal_stage(process, signalled)
            if time.monotonic() > self._kill_at:
                _kill_group(process.pid)

    def _failure(self, code: int, text: str) -> Exception:
        if problems := read_problems(self.problems_file):
            return InputProblem(problems)
        words = [line for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
        message = "\n".join([f"stage {self.stage} failed (dvc ended with {code}). Its last lines:", *words])
        return StageFailed(self.stage, message, self.log)


@contextlib.contextmanager
def forking(root: Path, stages: Iterable[str]) -> Iterator[Prefork | None]:
    """What processes of the stages are forked from while the block runs, which imports their libraries once.

    ``None`` where none can be forked, and in a pipeline of commands of one's own.
    """
    pipeline = root / "dvc.yaml"
    is_of_components = pipeline.is_file() and "python -m components " in pipeline.read_text(encoding="utf-8")
    prefork = libraries.prefork(stages) if is_of_components else None
    try:
        yield prefork
    finally:
        if prefork is not None:
            prefork.close()


def grace_seconds() -> float:
    """What a stage gets to stop."""
    return max(GRACE_SECONDS, notice_seconds() + 5)


def outcome_of(text: str) -> Outcome:
    """What DVC did, from its words: nothing, a check-out from its run-cache, or a run of the command."""
    if _STARTED.search(text):
        return "ran"
    return "restored" if _RESTORED.search(text) else "cached"


def read_problems(path: Path) -> list[str]:
    """The problems a stage wrote down before it ended by exit code 2; empty where it wrote none."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return []
    return [str(line) for line in (body.get("problems", []) if isinstance(body, dict) else body)]


def _die_with_flow() -> None:
    die_with_parent(signal.SIGKILL)


def end_group(process: subprocess.Popen | Program) -> None:
    """Leave nothing of a session behind: what outlived its leader is signalled to stop, and killed if it does not."""
    if process.poll() is None:
        _kill_group(process.pid)
    deadline = time.monotonic() + notice_seconds()
    signalled = False
    while _alive(process.pid):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if not signalled:
                os.killpg(process.pid, signal.SIGTERM)
                signalled = True
        if time.monotonic() > deadline:
            _kill_group(process.pid)
        time.sleep(0.05)
    process.wait()


def _alive(group: int) -> bool:
    """True while a process of the group lives; zombies that no parent reaps do not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _below_shells(process: psutil.Process) -> list[psutil.Process]:
    """The processes that do the work: a shell that only waits for its command would die alone."""
    children = process.children()
    if children and process.name() in _SHELLS:
        return [target for child in children for target in _below_shells(child)]
    return [process]


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)

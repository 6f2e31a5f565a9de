"""Starts the services, waits until each is healthy, restarts what died, and ends them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core import layout, python
from core.files import last_lines
from core.locks import try_lock
from core.network import listener_of
from deploy.stack import process, state, tokens
from deploy.stack.services import Service, Unhealthy, client_environment, services_of
from deploy.stack.settings import StackSettings
from registry.errors import RegistryError

TICK_SECONDS = 0.1
STARTING_PROBE_SECONDS, PROBE_SECONDS = 0.5, 5.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 60.0
STEADY_SECONDS = 60.0  # healthy for so long, a service that dies is restarted without a long pause
SLOW_SECONDS = 30.0  # a start that takes longer is explained
STUCK_SECONDS, STUCK_START_SECONDS = 180.0, 600.0  # alive but silent for so long, a service is restarted
FIRST_TRIES = 5  # for a service that has never been healthy, then the stack fails
ORPHAN_SECONDS = 10.0  # for what a killed service or supervisor has left behind
ROTATE_SECONDS = 30.0


class StackFailed(RegistryError):
    """A service cannot be started; the message holds the end of its log."""


class AlreadyRuns(RegistryError):
    """Another supervisor runs in this home."""


@dataclass
class _Supervised:
    """One service and its process."""

    service: Service
    log: Path
    process: subprocess.Popen[bytes] | None = None
    state: str = "waiting"
    note: str = ""
    restarts: int = 0
    failures: int = 0  # in a row
    ever_healthy: bool = False
    born: float = 0.0  # of its process, seconds since the epoch
    start_at: float = 0.0
    probe_at: float = 0.0
    healthy_since: float | None = None
    silent_since: float = 0.0
    probe: Future[None] | None = None
    lock: int | None = None

    def shown(self) -> state.ServiceState:
        pid = self.process.pid if self.process is not None else None
        return state.ServiceState(
            self.service.name, self.service.url, pid, self.state, str(self.log), self.restarts, self.note
        )


class Supervisor:
    """The supervisor of one home. Its methods are for the main thread, except :attr:`stack` and :meth:`stop`."""

    def __init__(self, settings: StackSettings):
        self.settings = settings
        self.home = settings.home
        self.log_folder = layout.logs(self.home)
        self._all = [_Supervised(each, self.log_folder / f"{each.name}.log") for each in services_of(settings)]
        self._by_name = {each.service.name: each for each in self._all}
        born = state.born(os.getpid())
        self._self = state.Stack(os.getpid(), born, settings.host, client_environment(settings))
        self._stopping = self._hurry = False
        self._watcher: subprocess.Popen[bytes] | None = None
        self._written: state.Stack | None = None
        self._pool = ThreadPoolExecutor(len(self._all), thread_name_prefix="health")
        self._rotate_at = 0.0

    @property
    def stack(self) -> state.Stack:
        """The stack as it is now."""
        return replace(self._self, services=tuple(each.shown() for each in self._all))

    def stop(self) -> None:
        """End everything; called a second time, at once."""
        self._hurry, self._stopping = self._stopping, True

    def run(self, show: Callable[[Supervisor], contextlib.AbstractContextManager[Any]]) -> None:
        """Keep the services up until SIGINT, SIGTERM or SIGHUP.

        Args:
            show: opened around it, to show the stack while it lasts.

        Raises:
            AlreadyRuns: another supervisor runs in the home.
            StackFailed: a service could not be started even once.
        """
        with _only_one(self.home), _signals(self.stop), show(self):
            try:
                # What a supervisor that was killed together with its watcher has left behind.
                process.sweep(process.mark_of(self.home), ORPHAN_SECONDS)
                self.settings.storage.remember(self.home)
                tokens.write(self.home, self.settings.tokens)
                while not self._stopping:
                    self._tick()
                    time.sleep(TICK_SECONDS)
            finally:
                self._stopping = True
                try:
                    self._end_all()
                finally:
                    state.remove(self.home)
                    tokens.remove(self.home)

    def _tick(self) -> None:
        self._watch()
        now = time.monotonic()
        for each in self._all:
            if each.process is None:
                if now >= each.start_at:
                    self._start(each)
            elif each.process.poll() is not None:
                self._died(each, _ending(each.process.returncode))
            else:
                self._look_after(each, now)
        self._write_state()
        if now >= self._rotate_at:
            self._rotate_at = now + ROTATE_SECONDS
            for log in self.log_folder.glob("*.log"):
                with contextlib.suppress(OSError):  # such as a full disk, which is no reason to end the services
                    process.rotate(log)

    def _watch(self) -> None:
        """Keep a process running that ends the services if this one is killed."""
        if self._watcher is None or self._watcher.poll() is not None:
            mark = process.mark_of(self.home, os.getpid())
            self._watcher = subprocess.Popen(
                python.command("deploy.stack.process", mark, str(ORPHAN_SECONDS)),
                cwd=self.settings.root,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _start(self, each: _Supervised) -> None:
        service = each.service
        if service.after is not None and self._by_name[service.after].state != "healthy":
            each.state, each.note = "waiting", f"for {service.after}"
            return
        if service.lock is not None and each.lock is None:
            each.lock = try_lock(service.lock)
            if each.lock is None:
                each.state, each.note = "waiting", "for another process that uses its database"
                return
        mark = process.mark_of(self.home, os.getpid(), service.name)
        try:
            each.process = process.start(service.command, service.environment, self.settings.root, each.log, mark)
        except OSError as error:
            self._died(each, f"cannot be started: {error}")
            return
        each.born = time.time()
        each.state, each.note, each.healthy_since, each.probe = "starting", "", None, None
        each.probe_at = each.silent_since = time.monotonic()

    def _look_after(self, each: _Supervised, now: float) -> None:
        if each.probe is None:
            if now >= each.probe_at:
                each.probe = self._pool.submit(each.service.probe, each.born)
            return
        if not each.probe.done():
            return
        error, each.probe = each.probe.exception(), None
        if error is None and each.healthy_since is None and not _own_port(each):
            # Another server took the port after it was checked; what is registered there would be in the wrong place.
            error = Unhealthy(f"{each.service.url} is answered by {listener_of(urlsplit(each.service.url).port)}")
            each.note = str(error)
        each.probe_at = now + (PROBE_SECONDS if error is None else STARTING_PROBE_SECONDS)
        if error is None:
            each.state, each.note, each.ever_healthy, each.silent_since = "healthy", "", True, now
            each.healthy_since = each.healthy_since or now
            if now - each.healthy_since > STEADY_SECONDS:
                each.failures = 0
            _unlock(each)
            return
        if not isinstance(error, Unhealthy):
            raise error
        if each.healthy_since is not None:
            each.state, each.note = "unhealthy", str(error)
        elif now - each.silent_since > SLOW_SECONDS:
            each.note = str(error)
        if now - each.silent_since > (STUCK_SECONDS if each.healthy_since is not None else STUCK_START_SECONDS):
            each.process.kill()
            each.process.wait()
            self._died(each, f"was unhealthy for {now - each.silent_since:.0f} s: {error}")

    def _died(self, each: _Supervised, why: str) -> None:
        """End what it has left behind, and restart it after a pause that grows with each failure in a row."""
        _unlock(each)
        process.sweep(process.mark_of(self.home, os.getpid(), each.service.name), ORPHAN_SECONDS)
        each.failures += 1
        if not each.ever_healthy and each.failures >= FIRST_TRIES:
            lines = "\n".join(f"  {line}" for line in last_lines(each.log, 8))
            raise StackFailed(
                f"{each.service.name} cannot be started ({why}). The end of its log ({each.log}):\n{lines}"
            )
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (each.failures - 1), LONGEST_PAUSE_SECONDS)
        each.process, each.probe, each.healthy_since = None, None, None
        each.start_at = time.monotonic() + pause
        each.restarts += 1
        each.state, each.note = "restarting", why

    def _end_all(self) -> None:
        """Those that use the others first, so that they can still report how their work ended."""
        for wave in ((state.DEPLOYMENTS, state.GATEWAY, state.CONSOLE), (state.PREFECT, state.MLFLOW)):
            ending = [each for each in self._all if each.service.name in wave and each.process is not None]
            for each in ending:
                each.state, each.note = "stopping", ""
                with contextlib.suppress(ProcessLookupError):
                    each.process.terminate()
            self._write_state()
            deadlines = {each.service.name: time.monotonic() + each.service.grace_seconds for each in ending}
            while left := [each for each in ending if each.process.poll() is None]:
                for each in left:
                    if self._hurry or time.monotonic() > deadlines[each.service.name]:
                        each.process.kill()
                time.sleep(0.05)
            for each in ending:
                process.sweep(
                    process.mark_of(self.home, os.getpid(), each.service.name), 0.0 if self._hurry else ORPHAN_SECONDS
                )
                each.state, each.process = "stopped", None
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._watcher is not None:
            self._watcher.stdin.close()  # it finds no process and ends
            self._watcher.wait()

    def _write_state(self) -> None:
        now = self.stack
        if now != self._written:
            with contextlib.suppress(OSError):  # tried again at the next tick
                state.write(self.home, now)
                self._written = now


def _own_port(each: _Supervised) -> bool:
    return each.service.url is None or process.listens(each.process.pid, urlsplit(each.service.url).port)


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Held while a supervisor runs in the home; the kernel releases it however the supervisor ends."""
    descriptor = try_lock(layout.stack_lock(home))
    if descriptor is None:
        other = state.read(home)
        owner = f"process {other.pid}" if other else "a process that is starting or ending"
        raise AlreadyRuns(f"a stack already runs in {home}: {owner}; `stemma status` shows it, `stemma down` ends it")
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, lambda *_: stop()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _unlock(each: _Supervised) -> None:
    if each.lock is not None:
        os.close(each.lock)
        each.lock = None

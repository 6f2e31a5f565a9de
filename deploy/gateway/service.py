"""Keeps one reference served: follows its alias, switches without losing a request, heals what dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from core.errors import StemmaError
from deploy.gateway.candidate import prepare
from deploy.gateway.catalog import Catalog
from deploy.gateway.engine import Running, Version
from deploy.gateway.engines import Engine
from deploy.gateway.errors import ApiError
from deploy.gateway.ledger import Entry, Ledger
from deploy.gateway.metrics import Metrics
from deploy.gateway.settings import Settings
from registry.errors import UnknownReference
from registry.lineage.deployments import State

log = logging.getLogger(__name__)

STABLE_SECONDS = 60.0  # an engine that lived so long died of something new
DRAIN_MARGIN_SECONDS = 30.0


@dataclass
class Failure:
    """How often a version failed in a row, and when it may be tried again (``time.monotonic``)."""

    count: int
    until: float


class Service:
    """One of the models that the gateway was told to serve."""

    def __init__(
        self, reference: str, catalog: Catalog, ledger: Ledger, engine: Engine, settings: Settings, metrics: Metrics
    ):
        self.reference = reference
        self.wanted: Version | None = None
        self.current: Running | None = None
        self.problem: str | None = "the registry is being asked"
        self.registry_problem: str | None = None
        self._catalog, self._ledger, self._engine, self._settings, self._metrics = (
            catalog, ledger, engine, settings, metrics,
        )  # fmt: skip
        self._last_good: Version | None = None
        self._failures: dict[int, Failure] = {}
        self._candidate: tuple[Version, Entry, asyncio.Task[Running]] | None = None
        self._entries: dict[Running, Entry] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()

    @property
    def model(self) -> str:
        return self.reference.partition("@")[0].partition(":")[0]

    @property
    def state(self) -> str:
        """``serving``, ``starting``, ``refused`` (see the problem), or ``waiting`` for somebody to hold the alias."""
        if self.current is not None and self.current.alive:
            return "serving"
        if self._candidate is not None:
            return "starting"
        return "waiting" if self.wanted is None else "refused"

    @property
    def names(self) -> list[str]:
        """What requests may call the model."""
        return [self.model, self.reference, *([self.current.version.name] if self.current else [])]

    def describe(self, *, told: bool) -> dict[str, Any]:
        """For /health; ``told``: whether the problem may be told, which may name paths."""
        running = self.current
        return {
            "reference": self.reference,
            "state": self.state,
            "version": running.version.name if running else None,
            "digest": running.version.digest if running else None,
            "engine": running.engine.name if running else None,
            "in_flight": running.in_flight if running else 0,
            "since": running.started if running else None,
            "wanted": self.wanted.name if self.wanted else None,
            "starting": self._candidate[0].name if self._candidate else None,
            "problem": self._told_problem() if told or self._told_problem() is None else "see the gateway's log",
        }

    def _told_problem(self) -> str | None:
        problems = [self.problem, self.registry_problem and f"the registry cannot be asked: {self.registry_problem}"]
        return "; ".join(filter(None, problems)) or None

    async def run(self) -> None:
        """Follow the alias until cancelled; nothing that goes wrong ends this."""
        while True:
            try:
                await self._step()
            except Exception:
                log.exception("%s: a step of following the registry failed; trying again", self.reference)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._settings.poll_seconds)

    async def stop(self) -> None:
        """End every engine of it."""
        self._cancel_candidate()
        running, self.current = self.current, None
        if running is not None:
            self._retire(running, "STOPPED", drain_seconds=0.0)
        while self._retiring:
            await asyncio.gather(*self._retiring, return_exceptions=True)
        await self._ledger.flush(self.reference)

    # -- following ----------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        await self._ask_registry()
        self._bury()
        if self._candidate is not None and (self._settled() or self._candidate[0] != self._target()):
            self._cancel_candidate()  # also one that is ready: nobody wants it any more
        await self._take_candidate()
        target = self._target()
        if target is not None and not self._settled() and self._candidate is None:
            self._start(target)
        await self._ledger.flush(self.reference)

    async def _ask_registry(self) -> None:
        try:
            wanted = await asyncio.to_thread(self._catalog.lookup, self.reference)
        except UnknownReference as error:
            if self.wanted is None:
                self.problem = str(error)
            return
        except StemmaError as error:
            self.registry_problem = str(error)
            return
        self.registry_problem = None
        if wanted != self.wanted:
            if self.wanted is not None:
                log.info("%s is now %s (was %s)", self.reference, wanted.name, self.wanted.name)
            self.wanted, self.problem = wanted, None
            self._failures.clear()

    def _target(self) -> Version | None:
        """What should run: what is wanted; while that is refused, what last did well."""
        now = time.monotonic()
        if self.wanted is not None and not self._blocked(self.wanted, now):
            return self.wanted
        if self.current is not None:
            return self.current.version
        if self._last_good is not None and not self._blocked(self._last_good, now):
            return self._last_good
        return None

    def _settled(self) -> bool:
        return self.current is not None and self.current.version == self._target()

    def _blocked(self, version: Version, now: float) -> bool:
        failure = self._failures.get(version.id)
        return failure is not None and now < failure.until

    def _start(self, version: Version) -> None:
        entry = self._ledger.open(self.reference, version)
        task = asyncio.create_task(
            prepare(self._catalog, version, self._engine, self._settings.start_seconds), name=f"start {version.name}"
        )
        task.add_done_callback(lambda _: self._wake.set())
        self._candidate = (version, entry, task)

    def _cancel_candidate(self) -> None:
        """The alias has moved again: nobody waits for it any more."""
        if self._candidate is None:
            return
        (_, entry, task), self._candidate = self._candidate, None
        task.cancel()

        async def end() -> None:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                running = await task
                await running.stop()  # it had become ready all the same
            entry.state = "STOPPED"

        self._keep(end())

    async def _take_candidate(self) -> None:
        if self._candidate is None or not self._candidate[2].done():
            return
        (version, entry, task), self._candidate = self._candidate, None
        try:
            running = task.result()
        except StemmaError as error:
            entry.state = "FAILED"
            self._refuse(version, str(error))
        except Exception as error:  # a defect, or something no one thought of: the old one keeps serving
            log.exception("%s could not be made ready", version.name)
            entry.state = "FAILED"
            self._refuse(version, f"{type(error).__name__}: {error}")
        else:
            await self._switch(running, entry)

    def _refuse(self, version: Version, why: str) -> None:
        failure = self._fail(version)
        seconds = max(0.0, failure.until - time.monotonic())
        self.problem = f"{version.name} is refused: {why}"
        self._metrics.switches.labels(self.reference, "refused").inc()
        kept = f"; {self.current.version.name} keeps serving" if self.current else ""
        log.error("%s: %s%s; next try in %.0f s, or when the alias moves", self.reference, self.problem, kept, seconds)

    def _fail(self, version: Version, *, at_once: bool = False) -> Failure:
        count = self._failures[version.id].count + 1 if version.id in self._failures else 1
        first, last = self._settings.first_retry_seconds, self._settings.last_retry_seconds
        wait = 0.0 if at_once and count == 1 else min(last, first * 2.0 ** (count - 1))
        self._failures[version.id] = Failure(count, time.monotonic() + wait)
        return self._failures[version.id]

    async def _switch(self, running: Running, entry: Entry) -> None:
        """From one request to the next, the new engine answers; the old one finishes what it has."""
        old, self.current = self.current, running
        self._last_good = running.version
        self._entries[running] = entry
        entry.state = "SERVING"
        if running.version == self.wanted:
            self.problem = None
        self._metrics.serves(self.reference, running.version)
        self._metrics.switches.labels(self.reference, "switched").inc()
        log.info("%s: %s serves (%s)", self.reference, running.version.name, running.version.digest)
        self._keep(self._wake_when_it_ends(running))
        if old is not None:
            self._retire(old, "STOPPED", drain_seconds=self._settings.limits.seconds + DRAIN_MARGIN_SECONDS)
        async with self._changed:
            self._changed.notify_all()

    async def _wake_when_it_ends(self, running: Running) -> None:
        await running.ended.wait()
        self._wake.set()

    def _bury(self) -> None:
        running = self.current
        if running is None or running.alive:
            return
        self.current = None
        if time.time() - running.started > STABLE_SECONDS:
            self._failures.pop(running.version.id, None)
        self._fail(running.version, at_once=True)
        self.problem = f"the engine of {running.version.name} died and is being restarted"
        self._metrics.deaths.labels(self.reference).inc()
        log.error("%s: the engine of %s died; its log: %s", self.reference, running.version.name, running.log)
        self._retire(running, "FAILED", drain_seconds=5.0)

    def _retire(self, running: Running, state: State, drain_seconds: float) -> None:
        entry = self._entries.pop(running, None)

        async def end() -> None:
            if not await running.drain(drain_seconds) and drain_seconds:
                log.warning("%s still had %d requests when its time was over", running.version.name, running.in_flight)
            await running.stop()
            if entry is not None:
                entry.state = state
            log.info("%s: %s ended", self.reference, running.version.name)

        self._keep(end())

    def _keep(self, work: Any) -> None:
        """A task that nobody awaits is kept from collection."""
        task = asyncio.create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    # -- serving ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Running]:
        """An engine for one request, with its turn in it; the engine is not stopped before the block ends.

        Raises:
            ApiError: none is there, or too many wait for it.
        """
        while True:
            running = await self.ready()
            waiting = running.in_flight - running.engine.concurrency
            if waiting >= self._settings.limits.queue:
                raise ApiError(503, f"{waiting} requests wait already; try again soon", "overloaded", retry_after=2)
            async with running.use():
                if running.alive:
                    yield running
                    return
                # it died before this request's turn came; the next one takes it

    async def ready(self) -> Running:
        """The engine that answers now; waits a while for one that is being started.

        Raises:
            ApiError: there is none, and why.
        """
        deadline = time.monotonic() + self._settings.limits.wait_seconds
        while self.current is None or not self.current.alive:
            left = deadline - time.monotonic()
            coming = self._candidate is not None or self._tried_within(left)
            if left <= 0 or not coming:
                raise self._unavailable()
            async with self._changed:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), min(left, 0.5))
        return self.current

    def _tried_within(self, seconds: float) -> bool:
        """Whether something that should run is only held back by back-off for so long."""
        version = self._last_good
        if version is None:
            return False
        failure = self._failures.get(version.id)
        return failure is None or failure.until - time.monotonic() < seconds

    def _unavailable(self) -> ApiError:
        waits = self._candidate is not None
        why = "it is being started" if waits and not self.problem else self._told_problem()
        return ApiError(
            503, f"{self.reference} is not served: {why}", "model_not_ready", retry_after=2 if waits else 10
        )

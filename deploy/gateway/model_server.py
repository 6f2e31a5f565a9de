"""Keeps one reference served: follows its alias, switches without losing a request, restarts what dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from core import adapted, layout
from core.errors import StemmaError
from deploy.gateway.adapter_hosts import AdapterEngine, AdapterHosts, takes
from deploy.gateway.backends import CLASSIFIER, Backend
from deploy.gateway.catalog import Catalog, Version
from deploy.gateway.client import READING
from deploy.gateway.deployment_log import DeploymentLog, LoggedDeployment
from deploy.gateway.engine_process import EngineFailed, EngineProcess
from deploy.gateway.errors import ApiError
from deploy.gateway.fair_queue import QueueFull
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_folder import read
from deploy.gateway.settings import GatewaySettings
from deploy.merging import merged_copy
from registry.errors import UnknownReference
from registry.lineage.deployments import State

log = logging.getLogger(__name__)

STABLE_SECONDS = 60.0  # an engine that served for so long did not fail for the earlier reason
DRAIN_MARGIN_SECONDS = 30.0


@dataclass
class Failure:
    """How often a version failed in a row, and when it may be tried again (``time.monotonic``)."""

    count: int
    until: float


class ModelServer:
    """One of the models that the gateway serves."""

    def __init__(
        self,
        reference: str,
        catalog: Catalog,
        deployments: DeploymentLog,
        backend: Backend,
        settings: GatewaySettings,
        metrics: Metrics,
        hosts: AdapterHosts,
    ):
        self.reference = reference
        self.wanted: Version | None = None
        self.current: EngineProcess | None = None
        self.problem: str | None = READING
        self.registry_problem: str | None = None
        self._catalog, self._deployments, self._backend, self._settings, self._metrics, self._hosts = (
            catalog, deployments, backend, settings, metrics, hosts,
        )  # fmt: skip
        self._last_good: Version | None = None
        self._failures: dict[int, Failure] = {}
        self._candidate: tuple[Version, LoggedDeployment, asyncio.Task[EngineProcess]] | None = None
        self._deployment_of: dict[EngineProcess, LoggedDeployment] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()

    @property
    def model(self) -> str:
        return self.reference.partition("@")[0].partition(":")[0]

    @property
    def state(self) -> str:
        """``serving``, ``starting``, ``refused`` (see the problem), or ``waiting`` until a version holds the alias."""
        if self.current is not None and self.current.alive:
            return "serving"
        if self._candidate is not None:
            return "starting"
        return "waiting" if self.wanted is None else "refused"

    @property
    def names(self) -> list[str]:
        """What requests may call the model."""
        return [self.model, self.reference, *([self.current.version.name] if self.current else [])]

    def describe(self, *, details: bool) -> dict[str, Any]:
        """For /health.

        Args:
            details: include the problem, which may name paths.
        """
        engine = self.current
        return {
            "reference": self.reference,
            "state": self.state,
            "version": engine.version.name if engine else None,
            "digest": engine.version.digest if engine else None,
            "engine": engine.backend.name if engine else None,
            "in_flight": engine.in_flight if engine else 0,
            "since": engine.started if engine else None,
            "wanted": self.wanted.name if self.wanted else None,
            "starting": self._candidate[0].name if self._candidate else None,
            "problem": self._problems() if details or self._problems() is None else "see the gateway's log",
        }

    def _problems(self) -> str | None:
        problems = [self.problem, self.registry_problem and f"the registry cannot be read: {self.registry_problem}"]
        return "; ".join(filter(None, problems)) or None

    async def run(self) -> None:
        """Follow the alias until cancelled; no error ends this."""
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
        engine, self.current = self.current, None
        if engine is not None:
            self._retire(engine, "STOPPED", drain_seconds=0.0)
        while self._retiring:
            await asyncio.gather(*self._retiring, return_exceptions=True)
        await self._deployments.flush(self.reference)

    # -- following ----------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        await self._read_registry()
        self._replace_dead()
        if self._candidate is not None and (self._settled() or self._candidate[0] != self._target()):
            self._cancel_candidate()  # also one that is ready: it is no longer wanted
        await self._take_candidate()
        target = self._target()
        if target is not None and not self._settled() and self._candidate is None:
            await self._start(target)
        await self._deployments.flush(self.reference)

    async def _read_registry(self) -> None:
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
        """The version that should run: the wanted one; while that is refused, the last one that served."""
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

    async def _start(self, version: Version) -> None:
        deployment = self._deployments.open(self.reference, version)
        try:
            await self._deployments.flush(self.reference)  # from now on no collection takes the version's files
        except asyncio.CancelledError:
            deployment.state = "STOPPED"
            raise
        task = asyncio.create_task(
            _prepare(self._catalog, version, self._backend, self._settings, self._hosts), name=f"start {version.name}"
        )
        task.add_done_callback(lambda _: self._wake.set())
        self._candidate = (version, deployment, task)

    def _cancel_candidate(self) -> None:
        """The alias has moved again, so this version is no longer wanted."""
        if self._candidate is None:
            return
        (_, deployment, task), self._candidate = self._candidate, None
        task.cancel()

        async def end() -> None:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                engine = await task
                await engine.stop()  # it had become ready all the same
            deployment.state = "STOPPED"

        self._keep(end())

    async def _take_candidate(self) -> None:
        if self._candidate is None or not self._candidate[2].done():
            return
        (version, deployment, task), self._candidate = self._candidate, None
        try:
            engine = task.result()
        except StemmaError as error:
            deployment.state = "FAILED"
            self._refuse(version, str(error))
        except Exception as error:  # a defect, or an unforeseen state: the old one keeps serving
            log.exception("%s could not be made ready", version.name)
            deployment.state = "FAILED"
            self._refuse(version, f"{type(error).__name__}: {error}")
        else:
            await self._switch(engine, deployment)

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

    async def _switch(self, engine: EngineProcess, deployment: LoggedDeployment) -> None:
        """New requests go to the new engine; the old one finishes those that it has."""
        old, self.current = self.current, engine
        self._last_good = engine.version
        self._deployment_of[engine] = deployment
        deployment.state = "SERVING"
        if engine.version == self.wanted:
            self.problem = None
        self._metrics.serves(self.reference, engine.version)
        self._metrics.switches.labels(self.reference, "switched").inc()
        log.info("%s: %s serves (%s)", self.reference, engine.version.name, engine.version.digest)
        self._keep(self._wake_when_it_ends(engine))
        if old is not None:
            self._retire(old, "STOPPED", drain_seconds=self._settings.limits.seconds + DRAIN_MARGIN_SECONDS)
        async with self._changed:
            self._changed.notify_all()

    async def _wake_when_it_ends(self, engine: EngineProcess) -> None:
        await engine.ended.wait()
        self._wake.set()

    def _replace_dead(self) -> None:
        engine = self.current
        if engine is None or engine.alive:
            return
        self.current = None
        if time.time() - engine.ready_at > STABLE_SECONDS:
            self._failures.pop(engine.version.id, None)
        self._fail(engine.version, at_once=True)
        self.problem = f"the engine of {engine.version.name} ended unexpectedly and is being restarted"
        self._metrics.deaths.labels(self.reference).inc()
        log.error(
            "%s: the engine of %s ended unexpectedly; its log: %s", self.reference, engine.version.name, engine.log
        )
        self._retire(engine, "FAILED", drain_seconds=5.0)

    def _retire(self, engine: EngineProcess, state: State, drain_seconds: float) -> None:
        deployment = self._deployment_of.pop(engine, None)

        async def end() -> None:
            if not await engine.drain(drain_seconds) and drain_seconds:
                log.warning("%s was stopped with %d requests still running", engine.version.name, engine.in_flight)
            await engine.stop()
            if deployment is not None:
                deployment.state = state
            log.info("%s: %s ended", self.reference, engine.version.name)

        self._keep(end())

    def _keep(self, work: Any) -> None:
        """Hold a reference to a task that is not awaited, so that it is not garbage-collected."""
        task = asyncio.create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    # -- serving ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(self, key: str) -> AsyncIterator[EngineProcess]:
        """An engine and one of its slots for one request; the engine is not stopped before the block ends.

        Args:
            key: whose request it is.

        Raises:
            ApiError: no engine is ready, or too many requests of this key wait for it.
        """
        while True:
            engine = await self.ready()
            try:
                async with engine.use(key):
                    if engine.alive:
                        yield engine
                        return
                    # it ended before this request had a slot; the next engine takes it
            except QueueFull:
                raise ApiError(
                    503, f"{engine.slots.waiting} requests are waiting already; try again soon", "overloaded",
                    retry_after=2,
                ) from None  # fmt: skip

    async def ready(self) -> EngineProcess:
        """The engine that answers now; waits up to ``wait_seconds`` for one that is being started.

        Raises:
            ApiError: there is none; the message says why.
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
        """Whether the last version that served will be tried again within so many seconds."""
        version = self._last_good
        if version is None:
            return False
        failure = self._failures.get(version.id)
        return failure is None or failure.until - time.monotonic() < seconds

    def _unavailable(self) -> ApiError:
        waits = self._candidate is not None
        why = "it is being started" if waits and not self.problem else self._problems()
        return ApiError(
            503, f"{self.reference} is not served: {why}", "model_not_ready", retry_after=2 if waits else 10
        )


async def _prepare(
    catalog: Catalog, version: Version, generator: Backend, settings: GatewaySettings, hosts: AdapterHosts
) -> EngineProcess:
    """An engine that answers with the version: verified first, then loaded; after a failure nothing is left of it.

    Args:
        generator: the backend for models that generate.
        hosts: the processes that adapters share.

    Raises:
        RegistryError: the version is refused, or no engine answered with it.
    """
    model = await asyncio.to_thread(catalog.verified, version)
    backend = CLASSIFIER if model.kind == "classifier" else generator
    log_file = layout.logs(catalog.workspace.home) / f"engine-{version.name.replace(':', '-')}.log"
    queue = settings.limits.queue
    log.info("%s verified (%s); starting %s", version.name, version.digest, backend.name)
    if adapted.is_adapted(model.path):
        if takes(backend, model.path):
            try:
                return await _started(AdapterEngine(version, model, backend, log_file, queue, hosts), settings)
            except EngineFailed as failed:  # not every model takes adapters there
                log.warning("%s: %s; it is served merged", version.name, failed)
        # The files beside an adapter are its base, which no engine may serve as the version.
        model = read(await asyncio.to_thread(merged_copy, catalog.workspace.home, model.path))
    return await _started(EngineProcess(version, model, backend, log_file, queue), settings)


async def _started(engine: EngineProcess, settings: GatewaySettings) -> EngineProcess:
    try:
        if engine.model.kind == "generator":
            await engine.prompts.start()
        await engine.start(settings.start_seconds)
    except BaseException:
        await engine.stop()
        raise
    return engine

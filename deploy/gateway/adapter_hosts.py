"""Many adapters over one base: versions whose files differ in the adapter alone share one engine process.

vLLM loads and unloads LoRA adapters while it runs (``/v1/load_lora_adapter``), so each version keeps its own life (it
is made ready, switched to, drained, ended) and only the process, with its base, is shared. What vLLM does not know
(DoRA, heads and other modules that were trained whole) is served merged.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from core import adapted, files
from deploy.gateway.backends import Backend
from deploy.gateway.catalog import Version
from deploy.gateway.engine_process import EngineFailed, EngineProcess
from deploy.gateway.model_folder import ModelFolder

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM makes room for
AT_ONCE = 8  # adapters in one batch; others are swapped in


@dataclass
class Host:
    """An engine process with a base, how many versions use it, and whether it is ready."""

    engine: EngineProcess
    ready: asyncio.Task[None]
    users: int = 0


class AdapterHosts:
    """The processes that serve adapters, by what their files have in common. All of it lives in one event loop."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}

    async def take(self, backend: Backend, version: Version, model: ModelFolder, log: Path, queue: int,
                   seconds: float) -> Host:  # fmt: skip
        """The process for a model with an adapter: one that runs, or a new one, ready to load the adapter.

        Raises:
            EngineFailed: a new one did not start.
        """
        key = common_digest(model.path)
        host = self._hosts.get(key)
        if host is None or host.engine.ended.is_set():
            engine = _Base(version, model, _with_adapters(backend, rank_of(model.path)), log, queue)
            host = self._hosts[key] = Host(engine, asyncio.create_task(engine.start(seconds)))
        host.users += 1
        try:
            await asyncio.shield(host.ready)
        except BaseException:
            await self.release(host)
            raise
        return host

    async def release(self, host: Host) -> None:
        """One version fewer uses it; without any it is ended."""
        host.users -= 1
        if host.users:
            return
        self._hosts = {key: other for key, other in self._hosts.items() if other is not host}
        await host.engine.stop()
        with contextlib.suppress(EngineFailed, asyncio.CancelledError):
            await host.ready


class AdapterEngine(EngineProcess):
    """A version that is an adapter in a process which it shares; otherwise as any engine."""

    def __init__(self, version: Version, model: ModelFolder, backend: Backend, log: Path, queue: int,
                 hosts: AdapterHosts):  # fmt: skip
        super().__init__(version, model, backend, log, queue)
        self._queue, self._hosts, self._own = queue, hosts, self.client
        self._host: Host | None = None
        self._follower: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._host.engine.pid if self._host else None

    @property
    def alive(self) -> bool:
        return self._host is not None and self._host.engine.alive and not self.ended.is_set()

    async def start(self, seconds: float) -> None:
        """Load the adapter into the process with its base, which is started where there is none.

        Raises:
            EngineFailed: the process did not start, or refuses the adapter.
        """
        host = await self._hosts.take(self.backend, self.version, self.model, self.log, self._queue, seconds)
        self._host, self.client, self.slots = host, host.engine.client, host.engine.slots
        self._follower = asyncio.create_task(self._end_with(host.engine))
        name = self.backend.argument(self.model.path)
        order = {"lora_name": name, "lora_path": str(self.model.path / adapted.FOLDER)}
        try:
            answer = await self.client.send(self.request("/v1/load_lora_adapter", order))
        except httpx.TransportError as error:
            raise EngineFailed(f"{self.backend.name} broke off while it loaded the adapter ({error})") from None
        if answer.status_code != 200:
            raise EngineFailed(f"{self.backend.name} refuses the adapter: {answer.text[:300]}")
        await self._warm_up()

    async def _end_with(self, engine: EngineProcess) -> None:
        await engine.ended.wait()
        self.ended.set()

    async def stop(self) -> None:
        """Unload the adapter; the process ends with the last of them."""
        host, self._host = self._host, None
        if self._follower is not None:
            self._follower.cancel()
        self.ended.set()
        if host is not None:
            with contextlib.suppress(httpx.HTTPError):
                order = {"lora_name": self.backend.argument(self.model.path)}
                await self.client.send(self.request("/v1/unload_lora_adapter", order))
            await self._hosts.release(host)
        await self.prompts.stop()
        await self._own.aclose()


class _Base(EngineProcess):
    """The process itself, which answers nobody before an adapter is in it."""

    async def _warm_up(self) -> None:
        return


def takes(backend: Backend, folder: Path) -> bool:
    """Whether the engine can load the adapter in ``folder`` as it is."""
    settings: dict[str, Any] = files.read_json(folder / adapted.FOLDER / adapted.CONFIG, {})
    whole = settings.get("use_dora") or settings.get("modules_to_save") or settings.get("bias", "none") != "none"
    return backend.adapters and settings.get("peft_type") == "LORA" and not whole and _rank(settings) <= RANKS[-1]


def rank_of(folder: Path) -> int:
    """The room that an adapter needs, as vLLM counts it."""
    needed = _rank(files.read_json(folder / adapted.FOLDER / adapted.CONFIG, {}))
    return next(rank for rank in RANKS if rank >= needed)


def common_digest(folder: Path) -> str:
    """sha256 over all that two versions have to share: base, configuration, tokenizer and template, and the rank."""
    found: dict[str, Any] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix != ".safetensors"
    }
    found["weights"] = files.read_json(folder / adapted.FOLDER / adapted.BASE, {})["weights"]
    found["rank"] = rank_of(folder)
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _rank(settings: dict[str, Any]) -> int:
    return max(settings.get("r", 0), *(settings.get("rank_pattern") or {"": 0}).values())


def _with_adapters(backend: Backend, rank: int) -> Backend:
    options = ("--enable-lora", "--max-lora-rank", str(rank), "--max-loras", str(AT_ONCE))
    return dataclasses.replace(
        backend,
        template=(*backend.template, *options),
        environment={**backend.environment, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"},
    )

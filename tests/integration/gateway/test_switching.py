"""Aliases move, files are altered and engines are killed, while clients ask."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from dataclasses import dataclass, field

import httpx

from registry.db.database import open as open_registry
from registry.db.schema import Deployment
from registry.lineage.impact import impact
from registry.promotion.rollback import rollback
from tests.integration.gateway.conftest import LENGTH, SMALL, eventually

ASKED = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}], "temperature": 0, "stream": True}
CLIENTS = 4
PAUSE_SECONDS = 0.1  # between a client's requests; without one, they leave the engine that starts no processor


@dataclass
class Load:
    """Clients that stream one answer after the other until they are told to end, and what became of every answer."""

    url: str
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=300, trust_env=False) as client:
            await asyncio.gather(*(self._ask(client) for _ in range(CLIENTS)))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        while not self.over.is_set():
            try:
                async with client.stream("POST", "/v1/chat/completions", json=ASKED) as answer:
                    lines = [line[6:] async for line in answer.aiter_lines() if line.startswith("data: ")]
                problem = _problem(answer, lines)
            except httpx.HTTPError as error:
                problem = repr(error)
            if problem:
                self.failures.append(problem)
            else:
                self.versions.append(answer.headers["x-stemma-model"])
            await asyncio.sleep(PAUSE_SECONDS)


def _problem(answer: httpx.Response, lines: list[str]) -> str | None:
    """What is wrong with a stream: it is to be whole, and all of it by the one version that its header names."""
    if answer.status_code != 200 or not lines or lines[-1] != "[DONE]":
        return f"{answer.status_code} {lines[-1:]}"
    chunks = [json.loads(line) for line in lines[:-1]]
    version = answer.headers["x-stemma-model"]
    tag = {"assistant:1": "one", "assistant:2": "two"}[version]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    if text.split() != [f"{tag}-{number}" for number in range(1, LENGTH + 1)]:
        return f"{version} said {text[-80:]}"
    return None if {chunk["model"] for chunk in chunks} == {version} else f"{version}: other names in its pieces"


def test_a_promotion_and_a_rollback_under_load_lose_nothing(lab, serving, first_champion):
    load = Load(serving.url)
    clients = threading.Thread(target=load.run)
    clients.start()
    try:
        eventually(lambda: len(load.versions) >= CLIENTS)
        lab.promote("assistant:2")
        eventually(lambda: "assistant:2" in load.versions)
        rollback(lab.workspace, "assistant", "the test asks for it", "Ada")
        promoted = len(load.versions)
        eventually(lambda: "assistant:1" in load.versions[promoted:] and serving.serves("assistant:1"))
    finally:
        load.over.set()
        clients.join(120)
    assert load.failures == [] and not clients.is_alive()
    assert set(load.versions) == {"assistant:1", "assistant:2"}
    print(f"{len(load.versions)} whole streams, none lost")
    # The old engines are gone, and the registry knows who served when.
    eventually(lambda: len(serving.engines()) == 3 and len(serving.prompt_workers()) == 2)

    def rows() -> list[tuple[str, str, bool]]:
        with open_registry(lab.workspace.registry_url) as registry, registry.read() as session:
            named = session.query(Deployment).filter(Deployment.name.like("assistant@champion on %"))
            return [(str(row.version), row.state, row.ended is None) for row in named.order_by(Deployment.id)][-3:]

    ended = [("assistant:1", "STOPPED", False), ("assistant:2", "STOPPED", False), ("assistant:1", "SERVING", True)]
    eventually(lambda: rows() == ended)
    with open_registry(lab.workspace.registry_url) as registry, registry.read() as session:
        services = impact(session, lab.workspace, "data/raw/a.txt").deployments
    assert {service.version for service in services if service.serving} >= {"assistant:1", "classifier:1", "base:1"}
    assert serving.url in {service.url for service in services}


def test_altered_files_are_refused_and_the_old_version_keeps_serving(lab, small):
    model = _folder(lab, "assistant:2")
    small.process.send_signal(signal.SIGSTOP)  # so that the files are altered before the gateway looks at them
    try:
        lab.promote("assistant:2", SMALL.partition("@")[2])
        weights = model / "model.safetensors"
        weights.chmod(0o644)
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    finally:
        small.process.send_signal(signal.SIGCONT)
    health = eventually(lambda: (found := small.health(SMALL))["problem"] and found)
    assert health["version"] == "assistant:1" and health["state"] == "serving" and "altered" in health["problem"]
    assert httpx.get(f"{small.url}/health", trust_env=False).json()["status"] == "degraded"
    assert _ask(small.url).headers["x-stemma-model"] == "assistant:1"
    metrics = httpx.get(f"{small.url}/metrics", trust_env=False).text
    assert f'switches_total{{model="{SMALL}",outcome="refused"}}' in metrics
    shutil.rmtree(model)  # as the message says: then the files are taken from DVC's cache
    eventually(lambda: small.serves("assistant:2"))
    assert small.health(SMALL)["problem"] is None


def test_a_killed_engine_is_started_again(small):
    killed = small.engine_of(SMALL)
    os.kill(killed.pid, signal.SIGKILL)
    eventually(lambda: not killed.is_running() or killed.status() == "zombie", 10)

    def asked() -> httpx.Response | None:
        answer = _ask(small.url)
        if answer.status_code == 200:
            return answer
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        return None

    assert eventually(asked).headers["x-stemma-model"] == "assistant:1"
    assert small.engine_of(SMALL).pid != killed.pid
    assert small.health(SMALL)["problem"] is None


def _ask(url: str) -> httpx.Response:
    body = {**ASKED, "stream": False, "max_tokens": 2}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60, trust_env=False)


def _folder(lab, version: str):
    from registry.store.materialize import materialize

    return materialize(lab.workspace, version)

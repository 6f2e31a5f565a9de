"""An engine's life: it may load as long as the start timeout says, and is killed when it falls silent afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from deploy.gateway import engine_process
from deploy.gateway.backends import Backend
from deploy.gateway.catalog import Version
from deploy.gateway.engine_process import EngineFailed, EngineProcess
from deploy.gateway.fair_queue import QueueFull
from deploy.gateway.model_folder import ModelFolder

# LOADS_FOR seconds pass before it listens, as an engine does that reads a large model; after SILENT_AFTER requests its
# answers stop, as those of an engine that hangs.
ENGINE = """
import http.server, sys, time
port, loads_for, silent_after = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
class Answer(http.server.BaseHTTPRequestHandler):
    served = 0
    def do_GET(self):
        Answer.served += 1
        if Answer.served > silent_after:
            time.sleep(60)
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"{}")
    do_POST = do_GET
    def log_message(self, *_): pass
print("loading", flush=True)
time.sleep(loads_for)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Liveness as ever, a hundred times as fast: an engine that is silent for 0.6 s is dead."""
    monkeypatch.setattr(engine_process, "HEALTH_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(engine_process, "HEALTH_SECONDS", 0.2)
    monkeypatch.setattr(engine_process, "POLL_SECONDS", 0.05)


def _engine(folder: Path, loads_for: float, silent_after: int = 10**6) -> EngineProcess:
    script = folder / "engine.py"
    script.write_text(ENGINE)
    command = (sys.executable, "-S", str(script), "{port}", str(loads_for), str(silent_after))
    model = ModelFolder(folder / "model", "generator", 128)
    return EngineProcess(Version(1, "assistant:1", "x"), model, Backend("slow", command, 1), folder / "log")


def test_an_engine_may_load_longer_than_a_silent_one_may_live(tmp_path):
    async def serve() -> None:
        engine = _engine(tmp_path, loads_for=2.5)  # four times as long as liveness allows
        try:
            await engine.start(60)
            assert engine.alive and engine.ready_at - engine.started >= 2.5
            await asyncio.sleep(1)
            assert engine.alive, "healthy, so it goes on"
        finally:
            await engine.stop()

    asyncio.run(serve())


def test_an_engine_that_falls_silent_once_it_was_ready_is_killed(tmp_path):
    async def serve() -> int:
        engine = _engine(tmp_path, loads_for=0, silent_after=2)  # one look at its health, one token
        try:
            await engine.start(60)
            await asyncio.wait_for(engine.ended.wait(), 30)
            return engine._process.returncode
        finally:
            await engine.stop()

    assert asyncio.run(serve()) == -signal.SIGKILL


def test_loading_ends_with_the_start_timeout_and_its_name(tmp_path):
    async def serve() -> None:
        engine = _engine(tmp_path, loads_for=60)
        began = time.monotonic()
        try:
            with pytest.raises(EngineFailed, match=r"did not answer within 0.5 s \(--start-timeout\).*loading"):
                await engine.start(0.5)
        finally:
            await engine.stop()
        assert time.monotonic() - began < 10 and not engine.alive

    asyncio.run(serve())


def test_three_hundred_requests_of_one_key_refuse_none_of_another(tmp_path):
    async def serve() -> None:
        engine = _engine(tmp_path, loads_for=0)  # which is not started: this is about its slots

        async def ask(key: str) -> None:
            async with engine.use(key):
                await asyncio.Event().wait()

        greedy = [asyncio.create_task(ask("greedy")) for _ in range(300)]
        await asyncio.sleep(0)
        modest = asyncio.create_task(ask("modest"))
        await asyncio.sleep(0.1)
        refused = [task for task in greedy if task.done()]
        assert len(refused) == 44 and all(isinstance(task.exception(), QueueFull) for task in refused)
        assert not modest.done() and engine.in_flight == 257
        for task in (*greedy, modest):
            task.cancel()
        await asyncio.gather(*greedy, modest, return_exceptions=True)
        assert await engine.drain(1) and engine.in_flight == 0

    asyncio.run(serve())


def test_an_engine_that_ends_while_it_loads_is_reported_with_its_log(tmp_path):
    async def serve() -> None:
        engine = _engine(tmp_path, loads_for=-1)  # time.sleep refuses it
        try:
            with pytest.raises(EngineFailed, match=r"ended while it loaded the model.*ValueError"):
                await engine.start(60)
        finally:
            await engine.stop()

    asyncio.run(serve())


def test_an_engine_has_no_secret_of_the_gateway_or_of_the_user(monkeypatch):
    secrets = ("PGPASSWORD", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "STEMMA_API_KEYS", "VLLM_API_KEY",
               "MLFLOW_TRACKING_TOKEN", "PREFECT_API_AUTH_STRING", "SOMETHING_ELSE")  # fmt: skip
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = engine_process._environment()
    assert not found.keys() & set(secrets) and "secret" not in found.values()
    assert found["CUDA_VISIBLE_DEVICES"] == "1" and found["HF_HUB_OFFLINE"] == "1"
    assert found["PATH"] == os.environ["PATH"]

"""Adapters over one base share an engine process, each with a life of its own; others are merged."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from core import adapted
from deploy.gateway import engine_process
from deploy.gateway.adapter_hosts import AdapterEngine, AdapterHosts, rank_of, takes
from deploy.gateway.backends import TRANSFORMERS, VLLM, Backend
from deploy.gateway.catalog import Version
from deploy.gateway.engine_process import EngineFailed
from deploy.gateway.model_folder import ModelFolder

# The part of vLLM that is asked here: adapters come and go by name, and a name that is not loaded is no model.
ENGINE = """
import http.server, json, os, sys
port, options = int(sys.argv[2]), sys.argv[3:]
assert "--enable-lora" in options and os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
room, loaded = int(options[options.index("--max-lora-rank") + 1]), set()
class Answer(http.server.BaseHTTPRequestHandler):
    def say(self, status, text):
        self.send_response(status); self.send_header("content-length", str(len(text))); self.end_headers()
        self.wfile.write(text.encode())
    def do_GET(self):
        self.say(200, json.dumps(sorted(loaded)))
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/load_lora_adapter":
            rank = json.load(open(os.path.join(body["lora_path"], "adapter_config.json")))["r"]
            if "broken" in body["lora_path"]:
                return self.say(400, "the adapter is broken")
            assert rank <= room
            loaded.add(body["lora_name"])
        elif self.path == "/v1/unload_lora_adapter":
            loaded.remove(body["lora_name"])
        elif body["model"] not in loaded:
            return self.say(404, "no such model")
        self.say(200, "{}")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    monkeypatch.setattr(engine_process, "POLL_SECONDS", 0.05)
    (tmp_path / "engine.py").write_text(ENGINE)
    command = (sys.executable, "-S", str(tmp_path / "engine.py"), "{model}", "{port}")
    return Backend("small vLLM", command, 4, adapters=True)


def folder(place: Path, base: bytes = b"base", **settings: object) -> Path:
    """Files of a model with an adapter; engines that load them are none of this test's business."""
    (place / adapted.FOLDER).mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(base)
    config = {"peft_type": "LORA", "r": 4, "bias": "none", **settings}
    (place / adapted.FOLDER / adapted.CONFIG).write_text(json.dumps(config))
    (place / adapted.FOLDER / adapted.WEIGHTS).write_bytes(place.name.encode())
    adapted.name_base(place)
    return place


def engine(place: Path, backend: Backend, hosts: AdapterHosts) -> AdapterEngine:
    model = ModelFolder(place, "generator", 128, chat_template="a template")
    return AdapterEngine(Version(1, f"{place.name}:1", "x"), model, backend, place.parent / "log", 8, hosts)


async def loaded(at: AdapterEngine) -> list[str]:
    return (await at.client.get("/loaded")).json()


def test_versions_of_one_base_share_a_process_and_come_and_go_alone(tmp_path, backend):
    async def serve() -> None:
        hosts = AdapterHosts()
        one, two = (engine(folder(tmp_path / name), backend, hosts) for name in ("one", "two"))
        other = engine(folder(tmp_path / "other", base=b"another base"), backend, hosts)
        await asyncio.gather(*(each.start(20) for each in (one, two, other)))
        try:
            assert one.pid == two.pid and other.pid not in (None, one.pid)
            assert await loaded(one) == ["adapter-one", "adapter-two"] and await loaded(other) == ["adapter-other"]
            pid = one.pid
            await one.stop()
            assert not one.alive and two.alive and await loaded(two) == ["adapter-two"]
        finally:
            await asyncio.gather(two.stop(), other.stop())
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    asyncio.run(serve())


def test_a_process_that_dies_ends_all_its_versions_and_the_next_has_a_new_one(tmp_path, backend):
    async def serve() -> None:
        hosts = AdapterHosts()
        one, two = (engine(folder(tmp_path / name), backend, hosts) for name in ("one", "two"))
        await asyncio.gather(one.start(20), two.start(20))
        before = one.pid
        os.kill(before, signal.SIGKILL)
        await asyncio.wait_for(asyncio.gather(one.ended.wait(), two.ended.wait()), 20)
        again = engine(tmp_path / "one", backend, hosts)
        await again.start(20)
        assert again.alive and again.pid != before and not one.alive
        await asyncio.gather(one.stop(), two.stop(), again.stop())

    asyncio.run(serve())


def test_an_adapter_that_the_engine_refuses_leaves_nothing_behind(tmp_path, backend):
    async def serve() -> None:
        hosts = AdapterHosts()
        broken = engine(folder(tmp_path / "broken"), backend, hosts)
        with pytest.raises(EngineFailed, match="refuses the adapter: the adapter is broken"):
            await broken.start(20)
        pid = broken.pid
        await broken.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        dead = engine(folder(tmp_path / "dead"), dataclasses.replace(backend, template=("false",)), hosts)
        with pytest.raises(EngineFailed, match="ended while it loaded"):
            await dead.start(20)
        await dead.stop()

    asyncio.run(serve())


def test_what_an_engine_cannot_load_is_left_to_merging(tmp_path):
    plain = folder(tmp_path / "plain", rank_pattern={"q_proj": 20})
    assert takes(VLLM, plain) and not takes(TRANSFORMERS, plain)
    assert rank_of(plain) == 32
    for place, wrong in enumerate(
        ({"use_dora": True}, {"modules_to_save": ["score"]}, {"bias": "all"}, {"r": 1024}, {"peft_type": "IA3"})
    ):
        assert not takes(VLLM, folder(tmp_path / str(place), **wrong))
    assert VLLM.argument(plain) == "adapter-plain" and VLLM.command(plain, 7)[2] == str(plain)

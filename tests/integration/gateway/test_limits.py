"""Keys, rates, sizes and times, before a small engine that is started by a command template."""

from __future__ import annotations

import contextlib
import json
import socket
import stat
import subprocess
import sys
import time

import httpx
import openai
import psutil
import pytest

from core import layout
from deploy.gateway import api_keys
from deploy.gateway.__main__ import USAGE, prepare, settings_of
from registry.db.database import open as open_registry
from registry.db.schema import Deployment
from registry.errors import RegistryError
from tests.integration.gateway.conftest import ENGINE, eventually, gateway

HI = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}


@contextlib.contextmanager
def own_gateway(lab, tmp_path, *arguments: str):
    """A gateway that serves the assistant by the small engine."""
    with gateway(lab.root, tmp_path / "log", "--engine", ENGINE, "--model", "assistant:1", *arguments) as running:
        eventually(lambda: running.serves("assistant:1"))
        yield running


def ask(url: str, key: str | None = None, **options) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(
        f"{url}/v1/chat/completions", json={**HI, **options}, headers=headers, timeout=60, trust_env=False
    )


def test_without_keys_it_answers_this_machine_only(small):
    assert ask(small.url).status_code == 200
    strange = httpx.get(f"{small.url}/health", headers={"host": "evil.example"}, trust_env=False)
    assert strange.status_code == 403


def test_keys_are_required_and_count_at_once_until_the_end(lab, tmp_path):
    """``tests/unit/gateway/test_access.py`` has what the last key's end means for a gateway that runs."""
    home = lab.workspace.home
    key, file = api_keys.add(home, "laptop"), layout.api_keys(home)
    try:
        assert key not in file.read_text() and stat.S_IMODE(file.stat().st_mode) == 0o600
        with own_gateway(lab, tmp_path) as running:
            refusal = ask(running.url)
            assert refusal.status_code == 401 and refusal.json()["error"]["code"] == "invalid_api_key"
            assert ask(running.url, key + "x").status_code == 401
            assert ask(running.url, key).status_code == 200
            assert httpx.get(f"{running.url}/health", trust_env=False).status_code == 200
            api_keys.revoke(home, "laptop")
            assert ask(running.url, key).status_code == ask(running.url).status_code == 401
            assert key not in running.log.read_text()
    finally:
        file.unlink()


def test_too_much_is_refused(lab, tmp_path):
    with own_gateway(lab, tmp_path, "--rate-limit", "6", "--max-body", "2000", "--max-tokens", "40") as running:
        assert ask(running.url, max_tokens=41).json()["error"]["code"] == "max_tokens_too_large"
        assert ask(running.url, messages=[{"role": "user", "content": "x" * 3000}]).status_code == 413

        def body():  # without a length beforehand
            for _ in range(30):
                yield b" " * 100

        sent = httpx.post(f"{running.url}/v1/chat/completions", content=body(), timeout=60, trust_env=False,
                          headers={"content-type": "application/json"})  # fmt: skip
        assert (sent.status_code, sent.json()["error"]["code"]) == (413, "request_too_large")
        codes = [ask(running.url) for _ in range(5)]
        assert codes[0].status_code == 200 and codes[-1].status_code == 429
        assert codes[-1].json()["error"]["type"] == "rate_limit_error" and int(codes[-1].headers["retry-after"]) >= 1


def test_answers_that_take_too_long_are_ended(lab, tmp_path):
    with own_gateway(lab, tmp_path, "--timeout", "2") as running:
        late = ask(running.url, max_tokens=150)
        assert late.status_code == 504 and late.json()["error"]["code"] == "timeout"
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0,
                               http_client=httpx.Client(trust_env=False))  # fmt: skip
        heard = []
        with pytest.raises(openai.APIError, match="not complete within 2 s"):
            for chunk in client.chat.completions.create(**{**HI, "max_tokens": 150}, stream=True):
                heard.append(chunk.choices[0].delta.content)
        assert len(heard) > 5
        with client.chat.completions.create(**{**HI, "max_tokens": 30}, stream=True) as stream:
            next(iter(stream))  # and hang up
        eventually(lambda: running.health("assistant:1")["in_flight"] == 0, 10)


def test_kill_9_of_the_gateway_leaves_no_engine(lab, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with own_gateway(lab, tmp_path, "--port", port) as running:
        engines = psutil.Process(running.process.pid).children(recursive=True)
        assert engines
        running.process.kill()
        running.process.wait()
        eventually(lambda: not any(each.is_running() and each.status() != "zombie" for each in engines), 20)
    with own_gateway(lab, tmp_path, "--port", port) as running, open_registry(lab.workspace.registry_url) as registry:

        def states() -> list[str]:
            with registry.read() as session:
                named = session.query(Deployment).filter_by(url=running.url).order_by(Deployment.id)
                return [row.state for row in named]

        eventually(lambda: states() == ["STOPPED", "SERVING"], 20)  # what the killed one left open was ended


def test_wrong_commands_are_refused(lab, monkeypatch):
    command = [sys.executable, "-m", "deploy.gateway", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, cwd=lab.root, capture_output=True, text=True, timeout=120)
    assert done.returncode == USAGE and "stemma keys add" in done.stderr

    monkeypatch.chdir(lab.root)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, told in (
            (["--port", str(taken.getsockname()[1])], "choose another with --port"),
            (["--engine", "no-such-engine {model} {port}"], "not on PATH"),
            (["--engine", "true"], "{model} and {port}"),
            (["--model", "a b"], "MODEL@ALIAS"),
        ):
            with pytest.raises(RegistryError) as refused:
                prepare(settings_of(arguments))
            assert told in str(refused.value)


def test_a_workspace_without_models_is_no_failure(tmp_path, lab):
    root = tmp_path / "empty"
    root.mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    with gateway(root, tmp_path / "log") as running:
        health = eventually(lambda: "promote" in str(found := httpx.get(f"{running.url}/health").json()) or ((
            "registry is empty" in str(found)) and found))  # fmt: skip
        assert health["status"] == "idle" and {model["state"] for model in health["models"]} == {"waiting"}
        answer = ask(running.url)
        assert answer.status_code == 503 and answer.headers["retry-after"] and "stemma run" in answer.text
        assert json.loads(httpx.get(f"{running.url}/v1/models").text)["data"] == []
        began = time.monotonic()
        running.process.terminate()
        assert running.process.wait(15) == 0 and time.monotonic() - began < 10

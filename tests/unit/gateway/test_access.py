"""Rates, hosts and keys."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import layout
from core.network import is_loopback
from deploy.gateway import api_keys
from deploy.gateway.access import AccessControl, TokenBucket
from deploy.gateway.api_keys import Keyring
from deploy.gateway.settings import GatewaySettings, Limits


@given(st.integers(1, 600), st.lists(st.floats(0, 30), min_size=1, max_size=80))
def test_a_bucket_never_lets_more_pass_than_its_rate(rate, pauses):
    bucket, now, passed = TokenBucket(rate, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        assert 0 <= wait <= 60 / rate + 1e-6
        passed += not wait
    assert passed <= rate + now * rate / 60 + 1e-6


def test_whoever_waits_as_told_may_pass():
    bucket = TokenBucket(60, 0.0)
    assert [bucket.take(0.0) for _ in range(60)] == [0.0] * 60
    wait = bucket.take(0.0)
    assert wait == pytest.approx(1.0) and bucket.take(wait + 1e-9) == 0.0


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.4", False), ("box.example", False), ("", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches(host, local):
    assert is_loopback(host) is local


def test_references_are_full_names_once():
    settings = GatewaySettings(models=("assistant", "assistant@champion", "base:3", "base@next"))
    assert settings.references == ["assistant@champion", "base:3", "base@next"]


def asked(
    home, path: str, *, loopback: bool = True, method: str = "GET", version: str = "1.1", keyring=None, **headers: str
) -> tuple[int, dict]:
    """(status, body) of the middleware's own answer; 200 where it lets the request pass."""

    async def behind(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({"key": scope["stemma.key"]}).encode()})

    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict:
        return {"type": "http.request", "body": b""}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": named, "method": method, "http_version": version}
    asyncio.run(AccessControl(behind, keyring or Keyring(home), Limits(), loopback)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_strange_hosts_are_refused_only_without_keys(tmp_path):
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"):
        assert asked(tmp_path, "/health", host=host)[0] == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert asked(tmp_path, "/health", host=host)[0] == 403
    key = api_keys.add(tmp_path, "laptop")
    assert asked(tmp_path, "/health", host="models.example")[0] == 200
    assert asked(tmp_path, "/v1/models", host="models.example")[0] == 401
    shown = asked(tmp_path, "/v1/models", host="models.example", authorization=f"Bearer {key}")
    assert shown == (200, {"key": "laptop"})
    assert asked(tmp_path, "/v1/models", host="models.example", authorization=f"Basic {key}")[0] == 401


def test_beyond_loopback_nobody_may_ask_once_the_last_key_is_gone(tmp_path):
    assert asked(tmp_path, "/v1/models", loopback=False, host="models.example")[0] == 401


def test_keys_once_used_stay_required(tmp_path):
    """On the loopback too: a proxy may stand before it that others reach, and whose requests name this machine."""
    running = Keyring(tmp_path)
    assert asked(tmp_path, "/v1/models", keyring=running, host="localhost")[0] == 200
    api_keys.add(tmp_path, "laptop")
    assert asked(tmp_path, "/v1/models", keyring=running, host="localhost")[0] == 401
    api_keys.revoke(tmp_path, "laptop")
    for keyring in (running, Keyring(tmp_path)):  # the one that runs, and one after it
        status, body = asked(tmp_path, "/v1/models", keyring=keyring, host="localhost")
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert asked(tmp_path, "/health", keyring=keyring, host="localhost") == (200, {"key": None})
    layout.api_keys(tmp_path).unlink()
    assert asked(tmp_path, "/v1/models", keyring=running, host="localhost")[0] == 401
    assert asked(tmp_path, "/v1/models", host="localhost")[0] == 200  # that file was deleted on purpose


@pytest.mark.parametrize(
    "given",
    [{"x_forwarded_for": "10.0.0.9"}, {"forwarded": "for=10.0.0.9"}, {"via": "1.1 proxy"}, {"x_real_ip": "10.0.0.9"},
     {"version": "1.0"}, {"origin": "https://evil.example"}, {"origin": "null"}],
)  # fmt: skip
def test_without_keys_no_proxy_and_no_page_from_elsewhere_is_answered(tmp_path, given):
    """nginx names its upstream, 127.0.0.1:8000, as the host of every request that it passes on."""
    status, body = asked(tmp_path, "/v1/models", host="127.0.0.1:8000", **given)
    assert (status, body["error"]["code"]) == (403, "unknown_host")
    key = api_keys.add(tmp_path, "laptop")
    shown = asked(tmp_path, "/v1/models", host="127.0.0.1:8000", authorization=f"Bearer {key}", **given)
    assert shown == (200, {"key": "laptop"})


def test_the_own_page_is_no_page_from_elsewhere(tmp_path):
    assert asked(tmp_path, "/v1/models", host="localhost:8000", origin="http://localhost:8000")[0] == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "application/jsonx", "", None])  # fmt: skip
def test_a_body_that_is_not_json_by_its_header_is_refused(tmp_path, kind):
    given = {} if kind is None else {"content_type": kind}
    status, body = asked(tmp_path, "/v1/chat/completions", method="POST", host="localhost", **given)
    assert status == 415 and body["error"]["code"] == "unsupported_type"
    assert "application/json" in body["error"]["message"]


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_body_that_is_json_by_its_header_is_read(tmp_path, kind):
    assert asked(tmp_path, "/v1/classify", method="POST", host="localhost", content_type=kind)[0] == 200

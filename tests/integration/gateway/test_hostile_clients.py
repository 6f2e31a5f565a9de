"""A gateway under clients that mean it harm: the others are answered meanwhile, within a second."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import statistics
import time
from pathlib import Path

import httpx

from tests.integration.gateway.test_limits import HI

LATEST_SECONDS = 1.0
HEADS, BODIES = 1100, 200
BOOK = "a " * 1_950_000  # 3.9 MB


def seconds_of_health(url: str) -> float:
    """How long ``/health`` takes, by a connection of its own."""
    began = time.monotonic()
    assert httpx.get(f"{url}/health", trust_env=False, timeout=30).status_code == 200
    return time.monotonic() - began


def assert_soon(latest: list[float]) -> None:
    """Half of them, since this machine may do much else; without bounds each took over ten seconds."""
    assert statistics.median(latest) < LATEST_SECONDS and max(latest) < 5 * LATEST_SECONDS, latest


def test_unfinished_requests_lock_nobody_out(small):
    """More of them than the gateway may have files."""
    address = ("127.0.0.1", int(small.url.rpartition(":")[2]))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    before = small.log.stat().st_size
    with contextlib.ExitStack() as held:
        small.process.send_signal(signal.SIGSTOP)  # so that it finds as many at once as the system keeps for it
        at_once = int(Path("/proc/sys/net/core/somaxconn").read_text())
        for number in range(HEADS + BODIES):
            if number == min(HEADS, at_once) - 1:
                small.process.send_signal(signal.SIGCONT)
            connection = held.enter_context(socket.create_connection(address, timeout=10))
            with contextlib.suppress(ConnectionError):
                connection.sendall(head if number < HEADS else head + b'Content-Length: 99999\r\n\r\n{"model')
        assert_soon([seconds_of_health(small.url) for _ in range(5)])
    assert small.log.stat().st_size - before < 100_000
    assert "Traceback" not in small.log.read_text()


def test_books_hold_up_neither_health_nor_a_short_request(small):
    async def ask(client: httpx.AsyncClient, text: str) -> float:
        began = time.monotonic()
        body = {**HI, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return time.monotonic() - began

    async def run() -> None:
        async with httpx.AsyncClient(base_url=small.url, timeout=60, trust_env=False) as client:
            await ask(client, "hi")
            books = [asyncio.create_task(ask(client, BOOK)) for _ in range(8)]
            await asyncio.sleep(1)  # until they are sent
            latest = [
                seconds
                for _ in range(10)
                for seconds in (await ask(client, "hi"), await asyncio.to_thread(seconds_of_health, small.url))
            ]
            assert_soon(latest)
            assert not all(each.done() for each in books)
            for each in books:
                each.cancel()
            await asyncio.gather(*books, return_exceptions=True)

    asyncio.run(run())


def test_what_is_not_json_or_not_one_request_is_refused_in_openais_shape(small):
    plain = httpx.post(f"{small.url}/v1/chat/completions", content="{}", headers={"content-type": "text/plain"},
                       trust_env=False)  # fmt: skip
    assert plain.status_code == 415 and plain.json()["error"]["code"] == "unsupported_type"

    async def smuggle() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(small.url.rpartition(":")[2]))
        writer.write(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
                     b"\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")  # fmt: skip
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    answer = asyncio.run(smuggle())
    assert answer.startswith(b"HTTP/1.1 400") and b'"invalid_http"' in answer and answer.count(b"HTTP/1.1") == 1


def test_strange_bodies_are_refused_without_a_failure(small):
    """Each once made a server of JSON fail: deep, wide, no object, no text, a name as long as the body."""
    bodies = [
        b"[" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"messages":' + b"[" * 960 + b"]" * 960 + b"}",
        *(b"[]", b"1", b'"\xff"', b'{"model":"\\ud800"}'),
        b"{" + b",".join(b'"%d":1' % number for number in range(300_000)) + b"}",
        b'{"' + b"x" * 3_000_000 + b'":1}',
        b'{"model":"m","messages":[' + b"1," * 1_000_000 + b"1]}",
        b'{"model":"m","input":[' + b"1," * 1_000_000 + b"1]}",
    ]
    for body in bodies:
        for path in ("chat/completions", "classify"):
            answer = httpx.post(f"{small.url}/v1/{path}", content=body, timeout=60, trust_env=False,
                                headers={"content-type": "application/json"})  # fmt: skip
            assert answer.status_code == 400 and len(answer.content) < 20_000, (body[:40], answer.status_code)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert "Traceback" not in small.log.read_text()

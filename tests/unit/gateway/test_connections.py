"""Hostile connections: a real server with the gateway's protocol, real sockets, an application that reads its body."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import AsyncIterator

import pytest
import uvicorn

from deploy.gateway.connections import protocol
from deploy.gateway.log_limits import LINES, RepeatLimit
from deploy.gateway.settings import ConnectionLimits

HEAD = b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = ConnectionLimits(head_seconds=0.4, body_seconds=0.4, read_seconds=0.4)


async def application(scope, receive, send) -> None:
    """Answers with the request's path and the size of its body; to ``/early`` before it has read one."""
    if scope["path"] != "/early":
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/large":
        size = 16 * 2**20
    answer = b"x" * size if scope["path"] == "/large" else scope["path"].encode()
    length = str(len(answer)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": answer})


@contextlib.asynccontextmanager
async def served(limits: ConnectionLimits) -> AsyncIterator[int]:
    """The port of a server with these limits."""
    config = uvicorn.Config(application, http=protocol(limits), ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        task = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await task


async def says(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """All that the server answers to the parts, until it closes; at most 5 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()

    async def read() -> None:
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65536):
                answer.extend(part)

    reading = asyncio.create_task(read())
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    await asyncio.wait({reading}, timeout=5)
    reading.cancel()
    writer.close()
    return bytes(answer)


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: 4\r\n" + CHUNKED + b"0\r\n\r\n" + GET,
        HEAD + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + GET,
        HEAD + b"Content-Length: 0, 0\r\n\r\n" + GET,
        HEAD + b"Content-Length: +0\r\n\r\n" + GET,
        HEAD + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n" + GET,
        HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + GET,
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + GET,
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + GET,
        HEAD + b"Transfer-Encoding: chunked\r\n" + CHUNKED + b"0\r\n\r\n" + GET,
        HEAD + b"X: a\nContent-Length: 0\r\n\r\n" + GET,
        HEAD + b"X: a\rContent-Length: 0\r\n\r\n" + GET,
        b"POST /v1/x HTTP/1.1\nHost: localhost\n\n" + GET,
        HEAD + b"\n" + GET,
        HEAD + b"Host: other\r\n\r\n" + GET,
        b"POST /v1/x HTTP/1.0\r\nHost: localhost\r\n" + CHUNKED + b"0\r\n\r\n" + GET,
        HEAD + CHUNKED + b"3\r\nabcXX0\r\n\r\n" + GET,
        HEAD + CHUNKED + b"1\r\na\r\n" * 2000 + b"0\r\n\r\n" + GET,
    ],
    ids=lambda raw: repr(raw[len(HEAD) : len(HEAD) + 40]),
)
def test_what_a_proxy_may_delimit_otherwise_is_refused_and_closed(request_):
    async def run() -> bytes:
        async with served(ConnectionLimits()) as port:
            return await says(port, request_)

    answer = asyncio.run(run())
    assert answer.count(b"HTTP/1.1") == 1 and answer.startswith(b"HTTP/1.1 400 "), answer[:300]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"
    assert b"/health" not in answer


def test_plain_requests_are_answered_one_after_the_other():
    async def run() -> bytes:
        async with served(SHORT) as port:
            body = HEAD + b"Content-Length: 3\r\n\r\nabc"
            return await says(port, body + HEAD + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", GET, b"GET /e", pause=0.2)

    answer = asyncio.run(run())
    assert answer.count(b"HTTP/1.1 200") == 3 and answer.count(b"/v1/x") == 2
    assert b"HTTP/1.1 408" in answer.partition(b"/health")[2]  # the fourth one has no end


@pytest.mark.parametrize(
    ("part", "status"),
    [(b"GET / HT", b"408"), (HEAD + b"Content-Length: 900\r\n\r\nabc", b"408"), (HEAD + CHUNKED + b"500\r\nab", b"408"),
     (b"", b""), (b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n", b"200")],
)  # fmt: skip
def test_who_does_not_finish_his_request_is_closed_in_time(part, status, monkeypatch):
    """Also whoever sends a byte now and then."""
    monkeypatch.setattr("deploy.gateway.connections.LINGER_SECONDS", 0.4)

    async def run() -> tuple[bytes, float]:
        async with served(SHORT) as port:
            began = time.monotonic()
            pieces = [part, *([b"a"] * 40 if part else [])]
            return await says(port, *pieces, pause=0.05), time.monotonic() - began

    answer, seconds = asyncio.run(run())
    assert answer[9:12] == status and seconds < 4


def test_who_does_not_read_his_answer_is_closed_in_time():
    async def run() -> int:
        async with served(SHORT) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(GET.replace(b"/health", b"/large"))
            await asyncio.sleep(1.2)
            with contextlib.suppress(ConnectionError):
                return len(await reader.read())
            return 0

    assert asyncio.run(run()) < 16 * 2**20


@pytest.mark.parametrize(("grace", "left"), [(30.0, 100), (0.0, 60)], ids=["in all", "of one address"])
def test_hundreds_of_unfinished_requests_make_room_for_a_whole_one(monkeypatch, grace, left):
    monkeypatch.setattr("deploy.gateway.connections.GRACE_SECONDS", grace)
    limits = ConnectionLimits(in_all=100, unfinished_per_address=60, head_seconds=30)

    async def run() -> None:
        async with served(limits) as port:
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
            for place, (_, writer) in enumerate(held):
                writer.write(b"GET / HT" if place % 2 else HEAD + b"Content-Length: 9\r\n\r\n")
            await asyncio.sleep(0.1)
            began = time.monotonic()
            assert b"/health" in await says(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert time.monotonic() - began < 1
            still = [await _is_open(reader) for reader, _ in held]
            assert left - 5 < sum(still) <= left and all(still[-50:])  # the oldest ones went
            for _, writer in held:
                writer.close()

    asyncio.run(run())


def test_a_burst_of_whole_requests_loses_none():
    limits = ConnectionLimits(in_all=200, unfinished_per_address=20)

    async def run() -> list[bytes]:
        async with served(limits) as port:
            request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            return await asyncio.gather(*(says(port, request) for _ in range(150)))

    assert all(b"/health" in answer for answer in asyncio.run(run()))


async def _is_open(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), 0.001) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def test_the_log_says_the_same_only_so_often(caplog):
    caplog.handler.addFilter(RepeatLimit())

    async def run() -> None:
        async with served(ConnectionLimits()) as port:
            for _ in range(LINES + 30):
                await says(port, b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade, close\r\n\r\n")

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert 0 < len(caplog.records) <= 2 * LINES  # two kinds of lines

"""Connections from hostile or broken clients: strict requests, deadlines to send and to read, and room for others.

uvicorn has no deadline for a request's head or body, and keeps every connection that is open. This is its protocol with

- a deadline for whatever the client has to do next: send a head, send a body, read its answer;
- a limit of connections in all and of unfinished requests of one address. Where it is reached, the oldest unfinished
  request makes room for a new connection, so that a client that holds a thousand of them locks no other out;
- a parser that refuses every request that a proxy before the gateway may delimit in another way (RFC 9112, sections
  2.2, 5.2, 6.1 and 6.3), since such a request can carry a second one past the proxy.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import resource
import socket
import time
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from deploy.gateway.errors import ApiError
from deploy.gateway.settings import ConnectionLimits

log = logging.getLogger(__name__)

HEAD_BYTES = 16 * 1024  # of a request's head at most
SMALL_CHUNKS = 1000  # so many may come, whatever their size; beyond, they must have SMALLEST_CHUNK bytes on average
SMALLEST_CHUNK = 64
GRACE_SECONDS = 5.0  # a client that sends hundreds of requests at once has them all unfinished for a moment
LINGER_SECONDS = 2.0  # for a client that still sends although it was answered
BACKLOG, ACCEPTED_AT_ONCE = 2048, 64
FILES = 4096  # open files that the gateway asks the system for; an answer needs two
_BLANK_LINE = re.compile(rb"\n\r?\n")


class StrictConnection(h11.Connection):
    """As h11's, without what it takes for robustness' sake and another server may understand otherwise."""

    _chunks = _bytes = 0

    def next_event(self) -> Any:
        """The next event.

        Raises:
            h11.RemoteProtocolError: the request is not valid, or ambiguous.
        """
        head = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            end = _BLANK_LINE.search(head)
            if problem := ambiguity(head[: end.end()] if end else head, event.http_version):
                raise h11.RemoteProtocolError(problem)
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > SMALL_CHUNKS and self._bytes < SMALLEST_CHUNK * self._chunks:
                raise h11.RemoteProtocolError("the body comes in too many small chunks")
        return event


def ambiguity(head: bytes, version: bytes) -> str | None:
    """Why a request's head may be understood in two ways; ``None`` where it cannot.

    Args:
        head: with the blank line that ends it.
        version: of HTTP, such as ``1.1``.
    """
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if any(b"\r" in line or b"\n" in line for line in lines):
        return "a line of the head does not end with CR LF"
    if any(line.startswith((b" ", b"\t")) for line in lines):
        return "a header is folded over two lines"
    fields = [line.partition(b":") for line in lines[1:]]
    lengths = [value for name, _, value in fields if name.lower() == b"content-length"]
    chunked = any(name.lower() == b"transfer-encoding" for name, _, _ in fields)
    if lengths and chunked:
        return "it has both Content-Length and Transfer-Encoding"
    if len(lengths) > 1 or any(b"," in value for value in lengths):
        return "it has several Content-Lengths"
    if chunked and version != b"1.1":
        return f"HTTP/{version.decode()} has no Transfer-Encoding"
    return None


class Room:
    """The open connections, and those whose clients have yet to send something."""

    def __init__(self, limits: ConnectionLimits):
        self.limits = limits
        self._open: set[GuardedProtocol] = set()
        # By address the unfinished ones, the oldest first, with the time since when they are.
        self._unfinished: dict[str, dict[GuardedProtocol, float]] = {}

    def enter(self, connection: GuardedProtocol) -> bool:
        """Whether there is room for a new connection, which may be made at the cost of an unfinished one."""
        if len(self._open) >= self.limits.in_all:
            address = max(self._unfinished, key=lambda each: len(self._unfinished[each]), default=None)
            if address is None:
                return False
            self._close_oldest(address)
        self._open.add(connection)
        return True

    def leave(self, connection: GuardedProtocol) -> None:
        self._open.discard(connection)
        self.finished(connection)

    def unfinished(self, connection: GuardedProtocol) -> None:
        """The client has to send something."""
        now = time.monotonic()
        of_address = self._unfinished.setdefault(connection.address, {})
        of_address.setdefault(connection, now)
        while len(of_address) > self.limits.unfinished_per_address:
            if now - next(iter(of_address.values())) < GRACE_SECONDS:
                return
            self._close_oldest(connection.address)

    def finished(self, connection: GuardedProtocol) -> None:
        of_address = self._unfinished.get(connection.address, {})
        of_address.pop(connection, None)
        if not of_address:
            self._unfinished.pop(connection.address, None)

    def _close_oldest(self, address: str) -> None:
        oldest = next(iter(self._unfinished[address]))
        log.warning("an unfinished request of %s is closed: there are too many of them", address)
        self.leave(oldest)
        oldest.transport.abort()


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with deadlines and limits."""

    room: ClassVar[Room]

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.conn = StrictConnection(h11.SERVER, HEAD_BYTES)
        self.address = ""
        self._due = ""  # what the client has to do next
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if self.room.enter(self):
            self._expect()
        else:
            self._refuse(503, "too many connections; try again soon", "overloaded")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.leave(self)
        for timer in (self._timer, self._reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(self.room.limits.read_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is no valid HTTP request, or an ambiguous one", "invalid_http")

    def _expect(self) -> None:
        """Set the deadline of what the client has to do next; it stays while that is the same thing."""
        limits, state = self.room.limits, self.conn.their_state
        if self.transport.is_closing():
            due, seconds = "read", limits.read_seconds
        elif state is h11.IDLE:
            due, seconds = "head", limits.head_seconds
        elif state is h11.SEND_BODY and self.cycle is not None and self.cycle.response_complete:
            due, seconds = "leave", LINGER_SECONDS
        elif state is h11.SEND_BODY:
            due, seconds = "body", limits.body_seconds
        else:
            due, seconds = "", 0.0
        if due == self._due:
            return
        self._due = due
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._late) if due else None
        if due:
            self.room.unfinished(self)
        else:
            self.room.finished(self)

    def _late(self) -> None:
        if self._due == "body" or (self._due == "head" and self.conn.trailing_data[0]):
            self._refuse(408, f"the {self._due} of the request did not arrive in time", "request_timeout")
        else:
            self.transport.abort()

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer by an error and close; where an answer has begun, only close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        refusal = ApiError(status, message, code, retry_after=2 if status == 503 else None)
        body = json.dumps(refusal.body).encode()
        headers = {**refusal.headers, "content-type": "application/json", "content-length": str(len(body)),
                   "connection": "close"}  # fmt: skip
        for event in (
            h11.Response(status_code=status, headers=list(headers.items())), h11.Data(data=body), h11.EndOfMessage(),
        ):  # fmt: skip
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._expect()


class Server(uvicorn.Server):
    """uvicorn's, with a long queue of new connections of which few are accepted at a time.

    asyncio accepts as many at once as the queue is long, before any of them is counted: a thousand new ones would use
    up the files although there is a limit. So ``config.backlog`` is :data:`ACCEPTED_AT_ONCE`.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(BACKLOG)


def protocol(limits: ConnectionLimits) -> type[GuardedProtocol]:
    """uvicorn's ``http``: a protocol whose connections share one room."""
    return type("Protocol", (GuardedProtocol,), {"room": Room(limits)})


def reserve_files(limits: ConnectionLimits) -> ConnectionLimits:
    """Raise the limit of open files as far as the system allows; fewer connections where it allows too few.

    A server that has no file left for ``accept`` answers nobody, and logs every attempt.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return limits
    return limits.within(soft // 3)

"""A server of OpenAI's API on this machine that answers as a judge, and misbehaves as real ones do."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class JudgingServer:
    """What the server was asked, and how it answers.

    Attributes:
        answer: the judge's words to a user's message.
        faults: how the next requests fail, one each; see :class:`_Handler`.
        always: how every request fails once ``faults`` is empty.
        asked: the bodies of the requests for a completion, in order; ``keys``: their authorization.
    """

    url: str = ""
    answer: Callable[[str], str] = lambda text: "Fine. [[7]]"
    faults: list[str] = field(default_factory=list)
    always: str | None = None
    models: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def judging_server() -> Iterator[JudgingServer]:
    state = JudgingServer()

    class Handler(_Handler):
        server_state = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_state: JudgingServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server_state
        if state.always in ("401", "403", "503", "drop"):
            self._fail(state.always)
            return
        name = self.path.rpartition("/")[2]
        if name in state.models:
            self._json(200, state.models[name])
        else:
            self._json(404, {"error": {"message": "not found"}})

    def do_POST(self) -> None:
        state = self.server_state
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with state.lock:
            state.asked.append(body)
            state.keys.append(self.headers.get("authorization"))
            fault = state.faults.pop(0) if state.faults else state.always
        if fault is None:
            self._completion({"content": state.answer(body["messages"][-1]["content"])})
        else:
            self._fail(fault)

    def _fail(self, fault: str) -> None:
        if fault.isdigit():
            self._json(int(fault), {"error": {"message": f"message of {fault}"}})
        elif fault == "busy":
            self._send(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "7"})
        elif fault == "drop":
            self.close_connection = True
        elif fault == "silent":
            time.sleep(0.5)
        elif fault == "drip":  # a byte at a time, for ever: no single read takes long
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.02)
        elif fault == "flood":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(9):
                    self.wfile.write(b" " * (1 << 20))
        elif fault == "html":
            self._send(200, b"<html>Sign in</html>", {})
        elif fault == "nothing":
            self._json(200, {"choices": []})
        elif fault == "list":
            self._json(200, [1, 2])
        elif fault == "empty":
            self._completion({"content": None})
        elif fault == "refusal":
            self._completion({"content": None, "refusal": "I do not judge people."})
        else:
            self._completion({"content": fault})

    def _completion(self, message: dict[str, Any]) -> None:
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self._json(200, {"model": "judge-2026", "choices": [choice], "usage": usage})

    def _json(self, status: int, body: Any) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(content)

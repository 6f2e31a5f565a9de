"""Whether a server answers is found out quickly, and no address is told with its password."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.errors import redacted
from registry.promotion.mirror import unreachable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ada:pw@host:5000/x", "http://host:5000/x"),
        ("API request to https://ada:p@:w@host/api failed", "API request to https://host/api failed"),
        ("postgresql+psycopg://u:p@db/stemma", "postgresql+psycopg://db/stemma"),
        ("sqlite:////home/a@b/registry.db", "sqlite:////home/a@b/registry.db"),
    ],
)
def test_credentials_are_left_out(text, shown):
    assert redacted(text) == shown


def test_a_server_that_refuses_answers():
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(401)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert unreachable(f"http://ada:pw@127.0.0.1:{server.server_port}") is None
    server.shutdown()
    server.server_close()
    assert unreachable("sqlite:////tmp/mlflow.db") is None and unreachable("https://127.0.0.1:1") is None


def test_a_server_that_is_down_or_hung_does_not():
    assert "http://127.0.0.1:9 does not answer" in unreachable("http://ada:pw@127.0.0.1:9")
    with socket.socket() as hung:
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        began = time.monotonic()
        assert "does not answer" in unreachable(f"http://127.0.0.1:{hung.getsockname()[1]}")
    assert time.monotonic() - began < 10

"""An S3-compatible server in a process of its own (moto's), and what its clients read."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from core.network import free_port
from tests.workspace import wait_until


def environment(url: str) -> dict[str, str]:
    """What clients of the server at ``url`` read."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


@pytest.fixture(scope="session")
def storage(tmp_path_factory) -> Iterator[str]:
    """URL of an S3-compatible server."""
    port = free_port()
    log = tmp_path_factory.mktemp("storage") / "log"
    with open(log, "w") as file:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens, timeout=60, what="the S3 server listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def credentials(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of clients of the server."""
    for name, value in environment(storage).items():
        monkeypatch.setenv(name, value)

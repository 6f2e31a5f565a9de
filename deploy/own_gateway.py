"""A gateway for as long as one command runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from deploy.gateway.process import die_with_parent
from registry.errors import RegistryError

HEAD = "Stemma gateway: "  # what the gateway's first line begins with; its URL follows
POLL_SECONDS = 0.2


class NotServed(RegistryError):
    """The gateway ended, or refuses the model; the message is its own."""


@contextmanager
def own_gateway(root: Path, reference: str, tell: Callable[[str], None]) -> Iterator[str]:
    """URL of a gateway on this machine that serves ``reference``; it ends with the block.

    Raises:
        NotServed: it does not serve it.
    """
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.gateway", "--port", "0", "--model", reference],
            cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C is not for it
        )  # fmt: skip
        try:
            url = _wait(process, lambda: _url(log), lambda: _said(log))
            tell(f"Verifying and loading {reference} …")
            _wait(process, lambda: _serves(url), lambda: _said(log))
            yield url
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], Any], said: Callable[[], str]) -> Any:
    while not (found := ready()):
        if process.poll() is not None:
            raise NotServed(said() or f"the gateway ended with exit code {process.returncode}")
        time.sleep(POLL_SECONDS)
    return found


def _said(log: Any) -> str:
    """What the gateway wrote, without moving where it writes on: they share the file's position."""
    return os.pread(log.fileno(), 1 << 20, 0).decode(errors="replace").strip()


def _url(log: Any) -> str | None:
    line = next((line for line in _said(log).splitlines() if line.startswith(HEAD)), None)
    return line.removeprefix(HEAD).split()[0] if line else None


def _serves(url: str) -> bool:
    try:
        (model,) = httpx.get(f"{url}/health", timeout=30, trust_env=False).json()["models"]
    except httpx.TransportError:
        return False
    if model["state"] in ("refused", "waiting") and model["problem"] and model["version"] is None:
        if model["problem"] != "the registry is being asked":
            raise NotServed(model["problem"])
    return model["state"] == "serving"

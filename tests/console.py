"""A console of a workspace, in a thread of the test's own process, with the keys of three people."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import uvicorn

from core.workspace import Workspace
from deploy.console.app import build
from deploy.console.console import Console
from deploy.gateway import api_keys
from deploy.gateway.api_keys import Keyring
from flows.console import gate
from tests.workspace import wait_until

PEOPLE = {"vera": "viewer", "otto": "operator", "ada": "admin"}


@dataclass
class RunningConsole:
    """``url`` is where it answers; ``keys`` are the people's."""

    url: str
    workspace: Workspace
    keys: dict[str, str] = field(default_factory=dict)

    def client(self, person: str | None = None, **headers: str) -> httpx.Client:
        """A program that shows a person's key and names itself a page of the console."""
        shown = {"Authorization": f"Bearer {self.keys[person]}"} if person else {}
        return httpx.Client(base_url=self.url, headers={"Origin": self.url, **shown, **headers}, timeout=120)


@contextlib.contextmanager
def console(workspace: Workspace) -> Iterator[RunningConsole]:
    """A console that has answered; it has ended when the block ends."""
    keys = {name: api_keys.add(workspace.home, name, role) for name, role in PEOPLE.items()}
    keys["robot"] = api_keys.add(workspace.home, "robot")  # of the gateway alone
    listener = socket.create_server(("127.0.0.1", 0))
    app = build(Console(workspace, gate(workspace)), Keyring(workspace.home), "Ada <ada@example.org>")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 60, "the console")
        yield RunningConsole(f"http://127.0.0.1:{listener.getsockname()[1]}", workspace, keys)
    finally:
        server.should_exit = True
        thread.join(30)

"""The services of a stack: a table that keeps up with them, or a line whenever something changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.screens.following import Following
from deploy.stack import tokens
from deploy.stack.process import memory
from deploy.stack.state import ServiceState, Stack

STYLES = {"healthy": "green", "unhealthy": "yellow", "restarting": "bold red", "stopping": "yellow"}
REFRESH_SECONDS = 1.0


def megabytes(service: ServiceState) -> str:
    """Resident memory of a service's processes."""
    return "" if service.pid is None else f"{memory(service.pid) / 2**20:,.0f} MB"


def table(stack: Stack) -> Table:
    """Service, URL, state and memory."""
    made = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("service", "URL", "state", "memory"):
        made.add_column(name, justify="right" if name == "memory" else "left", no_wrap=True)
    made.add_column("")
    for service in stack.services:
        again = f"started again {service.restarts}×" if service.restarts else ""
        made.add_row(
            service.name,
            service.url or "",
            Text(service.state, style=STYLES.get(service.state, "dim")),
            megabytes(service),
            Text(", ".join(filter(None, (service.note, again))), style="dim"),
        )
    return made


def pages(console: Console, stack: Stack, home: Path) -> Text:
    """The links that open the services' pages; empty where they would be kept (a pipe, a log): they hold tokens."""
    links = tokens.links(stack, tokens.read(home)) if console.is_terminal else {}
    shown = [f"\n  {url}" for url in links.values()]
    return Text("Open in a browser:" + "".join(shown), overflow="fold") if shown else Text()


def as_dict(stack: Stack | None) -> dict[str, Any] | None:
    """A stack for programs; memory in bytes."""
    if stack is None:
        return None
    services = [
        {**asdict(service), "memory": memory(service.pid) if service.pid else None} for service in stack.services
    ]
    return {**asdict(stack), "services": services}


class StackScreen(Following):
    """Shows the stack of a home while the block lasts; ``read`` gives it as it is now, ``None`` while there is none."""

    def __init__(self, console: Console, home: Path, read: Callable[[], Stack | None]):
        super().__init__(console, Live(console=console, auto_refresh=False, transient=True))
        self._home, self._read = home, read
        self._began = time.monotonic()
        self._ready = False

    def _follow(self) -> None:
        printed: dict[str, str] = {}
        drawn = 0.0
        while True:
            ending = self._stop.wait(0.1)
            stack = self._read()
            if stack is not None:
                if self.console.is_terminal:
                    if time.monotonic() - drawn >= REFRESH_SECONDS:
                        drawn = time.monotonic()
                        parts = (table(stack), pages(self.console, stack, self._home))
                        self._live.update(Group(*parts, Text(self._hint(stack), style="dim")), refresh=True)
                else:
                    self._print_changes(stack, printed)
                if stack.healthy and not self._ready:
                    self._ready = True
                    self.console.print(f"Ready after {time.monotonic() - self._began:.1f} s.", highlight=False)
            if ending:
                return

    def _print_changes(self, stack: Stack, printed: dict[str, str]) -> None:
        for service in stack.services:
            text = f"{service.state} ({service.note})" if service.note else service.state
            if printed.get(service.name) != text:
                printed[service.name] = text
                where = f" {service.url}" if service.state == "healthy" and service.url else ""
                self.console.print(f"{service.name}: {text}{where}", highlight=False, markup=False, soft_wrap=True)

    def _hint(self, stack: Stack) -> str:
        return "Ctrl-C ends it all" if stack.healthy else f"{time.monotonic() - self._began:.0f} s"

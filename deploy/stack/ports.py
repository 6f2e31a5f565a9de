"""Whether a port can be listened at, and who holds it otherwise."""

from __future__ import annotations

import contextlib
import errno
import socket

import psutil

LAST = 65535


def problem(option: str, host: str, port: int) -> str | None:
    """Why the port cannot be had, with the next step; ``None`` where it can."""
    if not 1 <= port <= LAST:
        return f"{option} {port}: a port is a number from 1 to {LAST}"
    refused = _refusal(host, port)
    if refused is None:
        return None
    if refused.errno == errno.EADDRINUSE:
        free = next((other for other in range(port + 1, LAST + 1) if _refusal(host, other) is None), None)
        hint = f"; {free} is free: {option} {free}" if free else ""
        return f"{option} {port} is taken by {holder(port)}; end that{hint}"
    if isinstance(refused, socket.gaierror) or refused.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: this machine has no such address; use 127.0.0.1, 0.0.0.0 or one of its own"
    return f"{option} {port}: {refused.strerror}; choose another port"


def holder(port: int) -> str:
    """Who listens at a port: process id and command where the system tells them."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.laddr.port != port:
                continue
            if connection.pid is None:
                return "a process of another account"
            with contextlib.suppress(psutil.Error):
                command = " ".join(psutil.Process(connection.pid).cmdline())
                return f"process {connection.pid} ({command[:200]})"
            return f"process {connection.pid}"
    return "a process that could not be found out"


def _refusal(host: str, port: int) -> OSError | None:
    """What the system says to listening there; asked as servers ask, so that a port just given up counts as free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        return error
    return None

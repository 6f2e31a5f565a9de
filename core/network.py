"""Addresses and ports of this machine."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket

import psutil

LAST_PORT = 65535


def free_port() -> int:
    """A port of the loopback on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_loopback(host: str) -> bool:
    """Whether an address to listen on belongs to this machine only; of names, only ``localhost`` is trusted to."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_url(host: str, port: int) -> str:
    """``http://host:port``, an IPv6 address in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def port_problem(option: str, host: str, port: int) -> str | None:
    """Why a server cannot listen on the port, and what to do; ``None`` where it can.

    Args:
        option: the command-line option that sets the port; it begins the message.
    """
    if not 1 <= port <= LAST_PORT:
        return f"{option} {port}: a port is a number from 1 to {LAST_PORT}"
    refused = _refusal(host, port)
    if refused is None:
        return None
    if refused.errno == errno.EADDRINUSE:
        free = next((other for other in range(port + 1, LAST_PORT + 1) if _refusal(host, other) is None), None)
        hint = f" or choose a free port: {option} {free}" if free else ""
        return f"{option} {port} is taken by {listener_of(port)}; end it{hint}"
    if isinstance(refused, socket.gaierror) or refused.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: this machine has no such address; use 127.0.0.1, 0.0.0.0 or one of its own"
    return f"{option} {port}: {refused.strerror}; choose another port"


def listener_of(port: int) -> str:
    """Which process listens on a port: its id and command, where the system gives them."""
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
    return "an unknown process"


def _refusal(host: str, port: int) -> OSError | None:
    """The system's error for listening there; tried as servers do, so that a port just released counts as free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        return error
    return None

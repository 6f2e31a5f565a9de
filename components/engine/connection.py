"""The connection of a process to a Ray cluster that is running, with the project's own code sent along."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import components
import core
from core.errors import InputProblem, said

VERSION = "2.60.0"


def connected(address: str | None, parameter: str) -> Any:
    """The library, connected to the cluster; the caller ends the connection by its ``shutdown``.

    Args:
        address: ``host:port`` of the head; ``None``: ``RAY_ADDRESS``, or the cluster on this machine.
        parameter: what asks for it, for messages.

    Raises:
        InputProblem: Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputProblem(
            f"{parameter}: needs Ray, which is not installed here: pip install 'stemma-llm[ray]' "
            f"(ray[data]=={VERSION}), or make it local"
        ) from error
    place = address or os.environ.get("RAY_ADDRESS") or "auto"
    _require_open(place, parameter)
    # On a node each of them lies in a folder of its own.
    packages = [str(Path(package.__file__ or "").parent) for package in (components, core)]
    try:
        ray.init(
            place,
            runtime_env={"py_modules": packages, "excludes": ["**/__pycache__"]},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _unreachable(place, parameter, error) from error
    return ray


def _require_open(address: str, parameter: str) -> None:
    """Ray would try for minutes to reach an address at which nothing listens."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise _unreachable(address, parameter, error) from error


def _unreachable(address: str, parameter: str, error: Exception) -> InputProblem:
    return InputProblem(
        f"{parameter}: no Ray cluster answers at {address} ({said(error)}): start one "
        "(docs/data.md), correct its address, give the token (RAY_AUTH_MODE=token and RAY_AUTH_TOKEN), or make it local"
    )

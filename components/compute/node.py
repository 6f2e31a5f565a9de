"""A stage's worker on one node of a Ray cluster: an actor that starts it, follows it and ends with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import components
import core
from components.harness import launch, outcomes
from components.harness.receipt import environment
from components.harness.scratch import Scratch
from core import locks, python
from core.files import private_folder, write_json
from core.processes import die_with_parent


@dataclass(frozen=True)
class State:
    """How far a worker is.

    Attributes:
        events: lines of its event log since the last time.
        code: exit code of the process; ``None`` while it runs.
        outcome: what it left, once it has ended.
        spoke: whether any of its processes said how it ended; one that was killed did not.
    """

    events: bytes
    code: int | None
    outcome: dict[str, Any] | None
    spoke: bool


@dataclass(frozen=True)
class Place:
    """A node.

    Attributes:
        host: its address.
        folder: in which its processes work.
        port: a free one, at which the processes of all nodes can meet.
        sees: whether a folder of the workspace is there too.
        versions: of Python and the libraries on which the numbers may depend.
    """

    host: str
    folder: str
    port: int
    sees: bool
    versions: Mapping[str, str]


def versions() -> dict[str, str]:
    """Those of this machine."""
    here = environment()
    return {"python": here["python"], **here["packages"]}


def disk() -> Path:
    """The folder of this account on the disk of this machine.

    Raises:
        PermissionError: another account made it.
    """
    base = Path(tempfile.gettempdir()) / f"stemma-{os.getuid()}"
    private_folder(base)
    if base.stat().st_uid != os.getuid() or base.is_symlink():
        raise PermissionError(f"{base} belongs to another account; remove it, or give Ray a TMPDIR of its own")
    return base


class Node:
    """One node's part of a stage. Every method returns at once, so that a node that is silent is one that is lost."""

    def __init__(self, fingerprint: str):
        base = disk()
        # A process that still saves the checkpoint of an attempt before this one, or another node of the same machine,
        # holds the first folders.
        for number in count():
            self._folder = base / f"{fingerprint}-{number}"
            lock = locks.try_lock(self._folder / "lock")
            if lock is not None:
                self._lock = lock
                break
        self._scratch = Scratch(self._folder)
        self._scratch.tracking.mkdir(exist_ok=True)
        self._outcome = self._scratch.outcome
        self._process: subprocess.Popen[bytes] | None = None

    def look(self, path: str) -> Place:
        """What this node is like; ``path`` is a folder of the workspace."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return Place(_address(), str(self._folder), probe.getsockname()[1], os.path.isdir(path), versions())

    def fetch(self, order: Mapping[str, Any]) -> None:
        """Start to bring the inputs of an order to this node's disk."""
        self._begin(["components.compute.apart", "fetch"], order, str(self._folder), {})

    def start(self, order: Mapping[str, Any], rank: int, meeting: str) -> None:
        """Start the worker of the order, as one that was started by hand on machine number ``rank``.

        Args:
            meeting: ``HOST:PORT`` of the first node.
        """
        variables = {
            "OMP_NUM_THREADS": str(order["compute"]["cpus"]),
            launch.NODE_RANK: str(rank),
            launch.MAIN_ADDRESS: meeting,
        }
        if "sent" in order:
            self._begin(["components.compute.apart", "work"], order, str(self._folder), variables)
        else:
            self._begin(["components.harness.worker"], order, order["root"], variables)

    def _begin(self, program: list[str], order: Mapping[str, Any], folder: str, variables: Mapping[str, str]) -> None:
        """Start a process in ``folder``, which finds the order behind its arguments."""
        for path in (self._scratch.events, self._outcome, self._outcome.with_name(outcomes.OF_A_RANK)):
            path.unlink(missing_ok=True)
        own: dict[str, Any] = {
            "events": str(self._scratch.events),
            "outcome": str(self._outcome),
            "supervisor": os.getpid(),
        }
        own |= {"host": _address(), "lock": self._lock}
        if order.get("copies"):
            own["copies"] = {**order["copies"], "address": _head()}
        path = self._folder / "order.json"
        write_json(path, {**order, **own, "compute": None}, private=True)
        sent = {str(Path(package.__file__ or "").parents[1]) for package in (components, core)}
        self._process = subprocess.Popen(
            python.command(*program, str(path)),
            cwd=folder,
            env={**os.environ, **order["environment"], "PYTHONPATH": os.pathsep.join(sorted(sent)), **variables},
            pass_fds=(self._lock,),
            preexec_fn=die_with_parent,  # it saves a checkpoint when Ray ends this actor
        )

    def poll(self, sent: int) -> State:
        """How far the worker is; ``sent`` bytes of its event log are known."""
        assert self._process is not None
        code = self._process.poll()
        lines = b""
        if self._scratch.events.exists():
            with open(self._scratch.events, "rb") as file:
                file.seek(sent)
                lines = file.read()
            lines = lines[: lines.rfind(b"\n") + 1]
        if code is None:
            return State(lines, None, None, False)
        outcome = outcomes.left(self._outcome)
        of_a_rank = self._outcome.with_name(outcomes.OF_A_RANK)
        return State(lines, code, outcome, outcome is not None or of_a_rank.exists())

    def stop(self) -> None:
        """Ask the worker to save a checkpoint and to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)


def _head() -> str:
    """The cluster's, as this node knows it: the address of the parameters may be that of another machine's loopback."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _address() -> str:
    import ray

    return str(ray.util.get_node_ip_address())

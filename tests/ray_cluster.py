"""A real Ray cluster of two nodes on this machine, with token authentication and ports of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from core.processes import die_with_parent

SPAN = 100  # ports of a node
MOST = 3  # nodes of a cluster, those that were killed among them
PATIENCE = 60  # seconds for a node to start


@dataclass
class Cluster:
    """The head's address, the variables of a process that may use it, and ``ray start --block`` of each node."""

    address: str
    variables: dict[str, str]
    folder: Path
    nodes: list[subprocess.Popen] = field(default_factory=list)

    def join(self) -> None:
        """Start one more node; the first one is the head."""
        base = int(self.address.rpartition(":")[2])
        head = ["--head", f"--port={base}", f"--temp-dir={self.folder}", "--include-dashboard=false"]
        options = [*([f"--address={self.address}"] if self.nodes else head), f"--labels=number={len(self.nodes)}"]
        # Two raylets count this machine's memory twice, and would end workers for it.
        environment = {**os.environ, **self.variables, "RAY_memory_monitor_refresh_ms": "0", "RAY_worker_niceness": "0"}
        environment.pop("PYTHONPATH", None)
        environment["TMPDIR"] = str(self.folder / f"node-{len(self.nodes)}")  # each node has a disk of its own
        os.mkdir(environment["TMPDIR"])
        for last in (False, False, True):  # Ray ends a node whose agent needs over 15 seconds to start
            try:
                self.nodes.append(_start(options, base + len(self.nodes) * SPAN, environment, self.folder))
                return
            except RuntimeError:
                if last:
                    raise

    def workers(self) -> list[psutil.Process]:
        """Processes that work on tasks of the engine; between two of them they are idle."""
        names = ("ray::_call", "ray::IDLE")
        return [process for node in self.nodes for process in _tree(node) if _command(process).startswith(names)]

    def at_work(self) -> list[psutil.Process]:
        """Those that work on one now."""
        return [process for process in self.workers() if _command(process).startswith("ray::_call")]

    def kill(self, node: int) -> None:
        """kill -9 of everything that belongs to a node."""
        _kill(self.nodes[node])


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """Two nodes with a processor each. Their processes know nothing of the project's folder."""
    base = _free_base()
    token = secrets.token_hex(32)
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    # Names of sockets may have 107 characters: pytest's own folders are too deep.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        found = Cluster(f"127.0.0.1:{base}", variables, Path(folder))
        try:
            found.join()
            found.join()
            yield found
        finally:
            for node in found.nodes:
                _kill(node)


def _start(options: list[str], base: int, environment: dict[str, str], folder: Path) -> subprocess.Popen:
    ports = {
        "node-manager-port": base + 1, "object-manager-port": base + 2, "runtime-env-agent-port": base + 3,
        "metrics-export-port": base + 4, "dashboard-agent-listen-port": base + 5, "dashboard-agent-grpc-port": base + 6,
        "min-worker-port": base + 10, "max-worker-port": base + SPAN - 1,
    }  # fmt: skip
    program = Path(sys.executable).with_name("ray")
    with open(folder.with_name(f"{folder.name}-{base}.log"), "w+") as log:
        os.unlink(log.name)
        node = subprocess.Popen(
            [program, "start", *options, "--block", "--num-cpus=1", "--object-store-memory=80000000",
             "--disable-usage-stats", *(f"--{name}={port}" for name, port in ports.items())],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        # Said once the head knows the node; the place at which the child writes is left as it is.
        while b"Ray runtime started" not in os.pread(log.fileno(), 1 << 16, 0):
            if node.poll() is not None or time.monotonic() > deadline:
                _kill(node)
                log.seek(0)
                raise RuntimeError(f"Ray does not start:\n{log.read()[-3000:]}")
            time.sleep(0.1)
    return node


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_base() -> int:
    """First of a range of ports that nobody uses: outside Ray's own for workers (10002 to 19999).

    Processes that look at the same time, such as pytest-xdist's, begin with ranges that have no port in common.
    """
    for base in range(20_000 + os.getpid() % 40 * MOST * SPAN, 32_000, MOST * SPAN):
        if not any(_answers(base + node * SPAN + port) for node in range(MOST) for port in range(12)):
            return base
    raise RuntimeError("no free ports for a Ray cluster")


def _tree(node: subprocess.Popen) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        own = psutil.Process(node.pid)
        return [own, *own.children(recursive=True)]
    return []


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _kill(node: subprocess.Popen) -> None:
    processes = _tree(node)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
    node.wait()

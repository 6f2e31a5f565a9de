"""Programs in processes that are forked from one that has imported their libraries: the prefork model of servers.

To import PyTorch and what trains with it takes longer than many a stage works. Only installed libraries are shared: a
program imports this project's packages anew from where it runs, and has arguments, variables, a folder and streams of
its own, as one that was started. Linux only. That process runs :mod:`core.prefork_server`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.messages import send
from core.processes import die_with_parent
from core.python import command

_SERVER = "core.prefork_server"


def is_possible() -> bool:
    """Whether processes can be forked from one that has loaded the libraries of a training.

    Not where there is a GPU: a process that is forked from one that has asked for its driver cannot use it.
    """
    return sys.platform == "linux" and not any(Path(each).exists() for each in ("/dev/nvidiactl", "/dev/kfd"))


def is_forked() -> bool:
    """Whether this process was forked from one of a :class:`Prefork`."""
    return sys.orig_argv[1:4] == ["-P", "-m", _SERVER]


class Program:
    """A program that was started by a :class:`Prefork`: as :class:`subprocess.Popen`, but no child of this process."""

    def __init__(self, reply: socket.socket):
        self._reply = reply
        self.returncode: int | None = None
        pid = reply.recv(32)
        if not pid:
            raise ConnectionResetError("the process that programs are forked from has ended")
        self.pid = int(pid)

    def poll(self) -> int | None:
        """Its exit code, as of :class:`subprocess.Popen`; ``None`` while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after ``timeout`` seconds.
        """
        if self.returncode is None:
            ready, _, _ = select.select([self._reply], [], [], timeout)
            if not ready:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = self._reply.recv(32)
            # Without an answer the process that it was forked from was killed, and the kernel kills it too.
            self.returncode = int(answer) if answer else -signal.SIGKILL
            self._reply.close()
        return self.returncode

    def terminate(self) -> None:
        """Ask it to end."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


class Prefork:
    """A process that imports libraries and forks programs from itself, also while it still imports."""

    def __init__(
        self, first: Sequence[str], then: Sequence[str], *, environment: Mapping[str, str], without: Sequence[str] = ()
    ):
        """Start it. It ends with :meth:`close`, and with the thread that made it.

        Args:
            first: names of modules that it imports before any program is started. One that is absent is left out.
            then: of those that it imports afterwards, between programs.
            environment: its own variables. What libraries read of them when they are imported holds for all programs.
            without: libraries that look absent to the others while these are imported.
        """
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                command(_SERVER, str(theirs.fileno())),
                env=dict(environment), pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
            )  # fmt: skip
        send(self._requests, {"first": list(first), "then": list(then), "without": list(without)})

    def program(
        self,
        module: str,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str],
        output: int,
        errors: int,
        libraries: Sequence[str] = (),
    ) -> Program:
        """Start ``python -m MODULE ARGUMENTS`` in a session of its own that is killed with this process.

        Args:
            libraries: modules that are imported before, if they are not yet.
            output: descriptor of its standard output.
            errors: descriptor of its standard error.

        Raises:
            OSError: the process that it would be forked from has ended.
        """
        reply, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            program = {"program": [module, *arguments], "cwd": str(cwd), "env": dict(env)}
            request = {"libraries": list(libraries), **program}
            send(self._requests, request, [output, errors, theirs.fileno()])
        return Program(reply)

    def close(self) -> None:
        """End it, and the programs that still run."""
        self._requests.close()
        self._process.kill()  # it may be importing
        self._process.wait()

"""The process of :mod:`core.prefork` that imports libraries, and forks programs from itself as it is asked to.

``python -P -m core.prefork_server DESCRIPTOR``: of the socket that its requests come by.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from setproctitle import getproctitle

from core.forks import LIBRARIES, end_with, fork, read_at_import, run_program
from core.messages import receive
from core.processes import follow_parent


def _serve(requests: socket.socket) -> None:
    """Fork a program for each request, and import meanwhile; ends with the requests."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    libraries: deque[str] = deque()
    seen: dict[str, Any] = {"variables": read_at_import(os.environ), "without": []}
    programs: dict[int, socket.socket] = {}
    while True:
        ready = select.select([requests.fileno(), woken], [], [], 0 if libraries else None)[0]
        if woken in ready:
            os.read(woken, 4096)
            _report_ends(programs)
        if requests.fileno() in ready:
            received = receive(requests)
            if received is None:
                return
            request, descriptors = received
            if "program" in request:
                _import(request.pop("libraries"), seen["without"])
                request["env"][LIBRARIES] = json.dumps(seen)
                output, errors, number = descriptors
                reply = socket.socket(fileno=number)
                programs[_start(request, output, errors, reply)] = reply
            else:
                seen["without"] = request["without"]
                _import(request["first"], seen["without"])
                libraries.extend(request["then"])
        elif libraries:
            _import([libraries.popleft()], seen["without"])


def _import(names: Sequence[str], without: Sequence[str]) -> None:
    hidden = [each for each in without if each not in sys.modules]
    for each in hidden:
        sys.modules[each] = None  # type: ignore[assignment]
    try:
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    finally:
        for each in hidden:
            del sys.modules[each]


def _start(request: dict[str, Any], output: int, errors: int, reply: socket.socket) -> int:
    server, pid = os.getpid(), fork()
    if pid == 0:

        def work() -> int:
            follow_parent(server, signal.SIGKILL)
            os.setsid()
            os.dup2(output, 1)
            os.dup2(errors, 2)
            reply.send(str(os.getpid()).encode())
            return run_program(**request)

        end_with(work)
    os.close(output)
    os.close(errors)
    return pid


def _report_ends(programs: dict[int, socket.socket]) -> None:
    while programs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with programs.pop(pid) as reply, contextlib.suppress(OSError):  # the process that asked may have ended
            reply.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    gc.set_threshold(50_000)
    getproctitle()  # it looks for its place once, which it finds only before the environment is changed
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)

"""Python programs in processes that are forked from one that has imported their libraries: imports take the longest.

Only installed libraries are shared. Each program imports this repository's packages anew from where it runs, and has
its own arguments, environment, folder and streams, as one that was started. What is about a program's process itself
(its command line, whether it is killed) is tested with one that was.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

DVC = ("dvc.cli", "dvc.cli.parser", "dvc.repo", "dvc.lock", "networkx", "pydot", "ruamel.yaml", "scmrepo.git",
       "dvc.compare", "dvc.data_cloud", "psutil")  # fmt: skip
LIBRARIES = (*DVC, "mlflow.store.tracking.sqlalchemy_store", "mlflow", "alembic.command", "typer", "rich.console",
             "rich.table", "pydantic")  # fmt: skip
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING", "DVC_NO_ANALYTICS": "true",
         "OPENBLAS_NUM_THREADS": "1"}  # fmt: skip


def run(
    module: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE ARGUMENTS` to its end, with captured output, as :func:`subprocess.run` does it."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        reply, theirs = socket.socketpair()
        with reply, theirs:
            request = json.dumps([module, *arguments]), str(cwd), dict(env)
            descriptors = [output.fileno(), errors.fileno(), theirs.fileno()]
            socket.send_fds(server(), [json.dumps(request).encode()], descriptors)
            theirs.close()
            pid = int(reply.recv(32))  # at once, or after the imports
            reply.settimeout(timeout)
            try:
                code = int(reply.recv(32))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(module, timeout or 0) from None
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess([module, *arguments], code, output.read(), errors.read())


def run_line(
    line: Sequence[str], *, cwd: Path, env: Mapping[str, str], **_: object
) -> subprocess.CompletedProcess[str]:
    """A command line that names a module after ``-m``; to stand for :func:`subprocess.run` in :mod:`core.dvc`."""
    module, *arguments = line[line.index("-m") + 1 :]
    return run(module, arguments, cwd=cwd, env=env)


@functools.cache
def server() -> socket.socket:
    """The end of a socket on which the process with the libraries, started once, takes requests.

    It may be used by processes that are forked from this one, too.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno())]
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env={**os.environ, **QUIET},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> None:
    """Fork a program for each request; in the program, return from here to run it."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    programs: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            while programs:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                with contextlib.suppress(BrokenPipeError), socket.socket(fileno=programs.pop(pid)) as reply:
                    reply.send(str(os.waitstatus_to_exitcode(status)).encode())
        if requests in ready:
            message, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
            if not message:
                sys.exit()
            output, errors, reply_to = descriptors
            _import_for(json.loads(json.loads(message)[0])[0])
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.dup2(output, 1)
                os.dup2(errors, 2)
                for descriptor in (*descriptors, *programs.values(), woken, wake):
                    os.close(descriptor)
                requests.close()
                return _become(*json.loads(message))
            os.close(output)
            os.close(errors)
            programs[pid] = reply_to
            with contextlib.suppress(BrokenPipeError):
                os.write(reply_to, str(pid).encode())


def _import_for(module: str) -> None:
    """Import the libraries that programs of a module use, once."""
    names = DVC if module in ("dvc", "core.guarded_dvc") else LIBRARIES
    if any(name not in sys.modules for name in names):
        for name in names:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # else a program's first collection copies all of the libraries' memory


def _become(command: str, folder: str, environment: dict[str, str]) -> None:
    """Take on the program's surroundings."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = json.loads(command)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    first = [] if environment.get("PYTHONSAFEPATH") else [folder]
    sys.path[:0] = [*first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]


def _run() -> int:
    """Run the program to its end; its exit code."""
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    # Neither this file's folder nor a PYTHONPATH of the one who asks: each program has its own.
    sys.path[:] = [path for path in sys.path[1:] if path not in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    _serve(socket.socket(fileno=int(sys.argv[1])))
    code = _run()
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to clear up all of the libraries takes longer than most programs

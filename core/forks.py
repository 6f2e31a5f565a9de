"""Forks of a process that has imported libraries, each of which becomes another program that needs them.

A fork shares what is installed and imported, and nothing of this project's: it takes on the program's arguments,
variables, folder and import path, and imports the project's packages anew.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from setproctitle import setproctitle

from core.messages import receive, send
from core.processes import follow_parent

_PROJECT = ("cli", "components", "core", "deploy", "flows", "registry")
# In the environment of programs: the variables that the libraries saw, and which ones looked absent to the others.
LIBRARIES = "STEMMA_PREFORK_LIBRARIES"
# Read where a library is loaded, so that what a forked process sets is too late.
_READ_AT_IMPORT = (
    "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "TORCH", "PYTORCH_", "CUDA_", "HIP_", "ROCR_", "LD_",
    "MALLOC_", "THP_", "GLIBC_", "HF_", "TRANSFORMERS_", "TQDM_", "PYTHONHASHSEED", "PYTHONWARNINGS",
)  # fmt: skip


class Reserve:
    """A child that was forked while this process had one thread, and waits to hear which program it shall be.

    It has ended when this process ends. As :class:`subprocess.Popen` once it has become a program.
    """

    def __init__(self) -> None:
        self._order, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.returncode: int | None = None
        with theirs:
            self.pid = fork()
            if self.pid == 0:
                end_with(lambda: self._wait(theirs))

    def _wait(self, order: socket.socket) -> int:
        self._order.close()
        follow_parent(os.getppid(), signal.SIGKILL)
        received = receive(order)
        if received is None:
            return 0
        program, kept = received
        return run_program(**program, keep={0, 1, 2, *kept})

    @staticmethod
    def would_do(environment: Mapping[str, str], without: set[str]) -> bool:
        """Whether a program with these variables, to which these libraries look absent, may be a forked process."""
        seen = json.loads(os.environ[LIBRARIES])
        return seen["variables"] == read_at_import(environment) and without.issuperset(seen["without"])

    def become(self, module: str, *arguments: str, cwd: Path, env: Mapping[str, str], keep: Sequence[int]) -> None:
        """Have it run ``python -m MODULE ARGUMENTS`` with these variables, and keep descriptors of this process.

        Raises:
            OSError: it has ended.
        """
        send(self._order, {"program": [module, *arguments], "cwd": str(cwd), "env": dict(env)}, keep)
        self._order.close()

    def dismiss(self) -> None:
        """Let it end without a program."""
        self._order.close()
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def poll(self) -> int | None:
        """Its exit code, as of :class:`subprocess.Popen`; ``None`` while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def run_in_fork(module: str, *arguments: str, cwd: Path, env: Mapping[str, str]) -> int:
    """Run ``python -m MODULE ARGUMENTS`` in a fork of this process, with its streams, to its end; its exit code.

    This process must have one thread.
    """
    pid = fork()
    if pid == 0:
        end_with(lambda: run_program([module, *arguments], str(cwd), env))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork() -> int:
    """As :func:`os.fork`, of a process that has imported much."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # else the child's first collection copies all of the libraries' memory
    return os.fork()


def end_with(work: Callable[[], int]) -> None:
    """Do a child's work, and end it: nothing of what its parent was doing may go on in it."""
    code = 1
    try:
        code = work()
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # to clear up all of the libraries takes longer than most programs


def run_program(program: list[str], cwd: str, env: Mapping[str, str], keep: set[int] | None = None) -> int:
    """Take on a program's surroundings, and run it to its end; its exit code.

    Args:
        program: a module and its arguments.
        keep: descriptors of its parent that it keeps, if not only its streams.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _let_go_of_files(keep or {0, 1, 2})
    before = _own_path(os.getcwd(), os.environ)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [*_own_path(cwd, env), *(each for each in sys.path if each not in before)]
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in env
    for name in [name for name in sys.modules if name.partition(".")[0] in _PROJECT]:
        del sys.modules[name]
    module, *arguments = program
    sys.argv = [module, *arguments]
    setproctitle(" ".join([*sys.orig_argv[:3], *program]))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of some variables that libraries read when they are imported."""
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_IMPORT)}


def _own_path(cwd: str, env: Mapping[str, str]) -> list[str]:
    """What ``python -m`` puts before the installed libraries."""
    first = [] if env.get("PYTHONSAFEPATH") else [cwd]
    return [*first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]


def _let_go_of_files(keep: set[int]) -> None:
    """Part with the files of the parent: of some the system looks whether a process still has them.

    Their numbers stay taken, since objects of the parent may close them yet.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in {*keep, nothing}:
            with contextlib.suppress(OSError):  # the listing's own
                os.fstat(int(name))
                os.dup2(nothing, int(name), inheritable=False)

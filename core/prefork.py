"""Programs in processes that are forked from one that has imported their libraries: the prefork model of servers.

To import PyTorch and what trains with it takes longer than many a stage works. Only installed libraries are shared: a
program imports this project's packages anew from where it runs, and has arguments, variables, a folder and streams of
its own, as one that was started. Linux only.
"""

from __future__ import annotations

import atexit
import contextlib
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
import threading
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from setproctitle import getproctitle, setproctitle

_MODULE = "core.prefork"
_PROJECT = ("cli", "components", "core", "deploy", "flows", "registry")
_DESCRIPTORS = 4  # that come with a message, at most
# In the environment of programs: the variables that the libraries saw, and which ones looked absent to the others.
_LIBRARIES = "STEMMA_PREFORK_LIBRARIES"
# Read where a library is loaded, so that what a forked process sets is too late.
_READ_AT_IMPORT = (
    "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "TORCH", "PYTORCH_", "CUDA_", "HIP_", "ROCR_", "LD_",
    "MALLOC_", "THP_", "GLIBC_", "HF_", "TRANSFORMERS_", "TQDM_", "PYTHONHASHSEED", "PYTHONWARNINGS",
)  # fmt: skip


def is_possible() -> bool:
    """Whether processes can be forked from one that has loaded the libraries of a training.

    Not where there is a GPU: a process that is forked from one that has asked for its driver cannot use it.
    """
    return sys.platform == "linux" and not any(Path(each).exists() for each in ("/dev/nvidiactl", "/dev/kfd"))


def is_forked() -> bool:
    """Whether this process was forked from one of a :class:`Prefork`."""
    return sys.orig_argv[1:4] == ["-P", "-m", _MODULE]


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
        from core.processes import die_with_parent
        from core.python import command

        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                command(_MODULE, str(theirs.fileno())),
                env=dict(environment), pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                preexec_fn=lambda: die_with_parent(signal.SIGKILL),
            )  # fmt: skip
        _send(self._requests, {"first": list(first), "then": list(then), "without": list(without)})

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
            _send(self._requests, request, [output, errors, theirs.fileno()])
        return Program(reply)

    def close(self) -> None:
        """End it, and the programs that still run."""
        self._requests.close()
        self._process.kill()  # it may be importing
        self._process.wait()


class Reserve:
    """A child that was forked while this process had one thread, and waits to hear which program it shall be.

    It has ended when this process ends. As :class:`subprocess.Popen` once it has become a program.
    """

    def __init__(self) -> None:
        self._order, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.returncode: int | None = None
        with theirs:
            self.pid = _fork()
            if self.pid == 0:
                _end_with(lambda: self._wait(theirs))

    def _wait(self, order: socket.socket) -> int:
        from core.processes import follow_parent

        self._order.close()
        follow_parent(os.getppid(), signal.SIGKILL)
        received = _receive(order)
        if received is None:
            return 0
        program, kept = received
        return _run(**program, keep={0, 1, 2, *kept})

    @staticmethod
    def would_do(environment: Mapping[str, str], without: set[str]) -> bool:
        """Whether a program with these variables, to which these libraries look absent, may be a forked process."""
        seen = json.loads(os.environ[_LIBRARIES])
        return seen["variables"] == _read_at_import(environment) and without.issuperset(seen["without"])

    def become(self, module: str, *arguments: str, cwd: Path, env: Mapping[str, str], keep: Sequence[int]) -> None:
        """Have it run ``python -m MODULE ARGUMENTS`` with these variables, and keep descriptors of this process.

        Raises:
            OSError: it has ended.
        """
        _send(self._order, {"program": [module, *arguments], "cwd": str(cwd), "env": dict(env)}, keep)
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
    pid = _fork()
    if pid == 0:
        _end_with(lambda: _run([module, *arguments], str(cwd), env))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _send(to: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message with descriptors of this process: in a file in memory, since a socket limits a message's length,
    and the variables of a program may be longer."""
    with os.fdopen(os.memfd_create(_MODULE), "w", encoding="utf-8") as file:
        json.dump(message, file)
        file.flush()
        socket.send_fds(to, [b"\0"], [file.fileno(), *descriptors])


def _receive(source: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A message of :func:`_send` and its descriptors; ``None`` once the other end is closed."""
    mark, received, _, _ = socket.recv_fds(source, 1, _DESCRIPTORS)
    if not mark:
        return None
    file, *descriptors = received
    with os.fdopen(file, encoding="utf-8") as opened:
        opened.seek(0)
        return json.load(opened), descriptors


def _fork() -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # else the child's first collection copies all of the libraries' memory
    return os.fork()


def _end_with(work: Any) -> None:
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


def _run(program: list[str], cwd: str, env: Mapping[str, str], keep: set[int] | None = None) -> int:
    """Take on a program's surroundings, and run it to its end; its exit code."""
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


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_IMPORT)}


def _serve(requests: socket.socket) -> None:
    """Fork a program for each request, and import meanwhile; ends with the requests."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    libraries: deque[str] = deque()
    seen: dict[str, Any] = {"variables": _read_at_import(os.environ), "without": []}
    programs: dict[int, socket.socket] = {}
    while True:
        ready = select.select([requests.fileno(), woken], [], [], 0 if libraries else None)[0]
        if woken in ready:
            os.read(woken, 4096)
            _report_ends(programs)
        if requests.fileno() in ready:
            received = _receive(requests)
            if received is None:
                return
            request, descriptors = received
            if "program" in request:
                _import(request.pop("libraries"), seen["without"])
                request["env"][_LIBRARIES] = json.dumps(seen)
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
    server, pid = os.getpid(), _fork()
    if pid == 0:

        def work() -> int:
            from core.processes import follow_parent

            follow_parent(server, signal.SIGKILL)
            os.setsid()
            os.dup2(output, 1)
            os.dup2(errors, 2)
            reply.send(str(os.getpid()).encode())
            return _run(**request)

        _end_with(work)
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

"""Python that nobody has read, run where it can do no harm: what a model writes, and a user's own scoring function; and
programs that read what nobody has read, such as PDF files.

bubblewrap (``bwrap``) gives it an empty world: of the machine's files the interpreter and the system's libraries, read
only; an empty folder in memory to write to; no home, no environment, no network, no other processes. The kernel bounds
each process's memory and processor time, the number of processes, the size of files, and :func:`run` the time in all.
It runs as an account of its own that owns nothing, or without rights in a user namespace where the caller is no root,
behind a filter of system calls (:mod:`core.seccomp`). Without bwrap nothing is run at all.

What it does not do: hide how fast the machine is, or defend against a fault of the kernel.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core import seccomp
from core.errors import InputProblem

_MEGABYTE = 1 << 20
_ACCOUNTS = range(30_000, 60_000)  # for a caller that is root: ids that systems give neither to people nor to services
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
_HINT = (
    "install the package bubblewrap, 0.8 or newer (Debian and Ubuntu: apt-get install bubblewrap; Fedora: dnf install "
    "bubblewrap), and see that user namespaces are allowed"
)

# Runs inside, before anything that is not trusted: gives up its account, sets the limits, then becomes the program.
_START = """
import os, resource, sys
account, limits, packages, size = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
source = sys.stdin.buffer.read(size)
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")
if account:
    os.setgroups([]); os.setresgid(account, account, account); os.setresuid(account, account, account)
for each in limits.split(","):
    name, _, most = each.partition("=")
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (int(most), int(most)))
sys.path += filter(None, [packages])
sys.argv = ["program.py"]
exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True)
class Bounds:
    """Bounds of a program.

    Attributes:
        seconds: time from start to end, and processor time of each process.
        memory_megabytes: address space of each process.
        processes: processes and threads at a time.
        file_megabytes: size of a file, of what it prints, and of all its files together.
    """

    seconds: float = 10.0
    memory_megabytes: int = 1024
    processes: int = 8
    file_megabytes: int = 8


@dataclass(frozen=True)
class Ended:
    """How a program ended. ``code`` is its exit status (negative: the signal), ``None`` where its time was up."""

    code: int | None
    output: str
    errors: str


def why_not(what: str = "generated code is run") -> str | None:
    """Why nothing can be run in a sandbox here, and what to do; ``None`` where it can. ``what``: is not done then."""
    if sys.platform != "linux" or not seccomp.is_supported():
        return f"{what} only on Linux, on x86-64 and ARM64 processors"
    if shutil.which("bwrap") is None:
        return f"{what} only in a sandbox, and bwrap is not installed: {_HINT}"
    return None if (said := _why_not_started()) is None else f"{what} {said}"


@functools.cache
def _why_not_started() -> str | None:
    ended = _run("print('started')", b"", Bounds(), packages=False)
    if ended.code == 0 and ended.output == "started\n":
        return None
    said = ended.errors.strip().rpartition("\n")[2] or f"exit status {ended.code}"
    return f"only in a sandbox, and bwrap cannot start one here ({said}): {_HINT}"


def run(source: str, given: bytes = b"", limits: Bounds | None = None, *, packages: bool = False) -> Ended:
    """Run the Python program ``source`` in a sandbox of its own, and wait for its end.

    Args:
        given: what it reads from standard input.
        packages: let it import the packages that are installed beside Stemma.

    Raises:
        InputProblem: there can be no sandbox here.
    """
    if reason := why_not():
        raise InputProblem(reason)
    return _run(source, given, limits or Bounds(), packages)


def _run(source: str, given: bytes, limits: Bounds, packages: bool) -> Ended:
    program = source.encode("utf-8", "surrogatepass")
    account = secrets.choice(_ACCOUNTS) if os.geteuid() == 0 else 0
    filter_end, write_end = os.pipe()
    os.write(write_end, seccomp.sandbox_filter())  # far smaller than a pipe holds
    os.close(write_end)
    # Files rather than pipes: the kernel ends endless output by the limit on a file's size, and nothing has to be read
    # while the program runs.
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(program + given)
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                _command(account, limits, packages, len(program), filter_end),
                stdin=stdin, stdout=stdout, stderr=stderr, env={}, cwd="/", pass_fds=[filter_end],
            )  # fmt: skip
        finally:
            os.close(filter_end)
        try:
            code = process.wait(limits.seconds)
            code = 128 - code if code > 128 else code  # bwrap's way to say that a signal ended the program
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # The kernel ends the sandbox's first process with bwrap, and all its others with that one.
            process.kill()
            process.wait()
        most = limits.file_megabytes * _MEGABYTE
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read(most).decode("utf-8", "replace"))
    return Ended(code, *texts)


def _command(account: int, limits: Bounds, packages: bool, size: int, filter_end: int) -> list[str]:
    bounds = {
        "AS": limits.memory_megabytes * _MEGABYTE,
        "CPU": int(limits.seconds) + 1,
        "NPROC": limits.processes,
        "FSIZE": limits.file_megabytes * _MEGABYTE,
        "NOFILE": 64,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }
    if account:  # bwrap, run by root, needs no user namespace; nobody is root inside after the start
        rights = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        rights = ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = sysconfig.get_path("purelib") if packages else ""
    return [
        shutil.which("bwrap") or "bwrap",
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *rights,
        *("--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *_files([sys.base_prefix, site]),
        *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
        *("--perms", "1777", "--size", str(limits.file_megabytes * _MEGABYTE), "--tmpfs", "/tmp", "--chdir", "/tmp"),
        *("--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8"),
        *("--setenv", "OMP_NUM_THREADS", "1", "--setenv", "OPENBLAS_NUM_THREADS", "1"),
        *("--remount-ro", "/", "--seccomp", str(filter_end), "--"),
        *(str(python), "-I", "-S", "-B", "-X", "utf8", "-c", _START),
        *(str(account), ",".join(f"{name}={most}" for name, most in bounds.items()), site, str(size)),
    ]


def _files(folders: list[str]) -> list[str]:
    """Options that show the system's libraries and ``folders``, all read-only."""
    options = ["--ro-bind", "/usr", "/usr", "--perms", "0755", "--dir", "/etc"]
    options += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for path in _SYSTEM:
        if os.path.islink(path):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            options += ["--ro-bind", path, path]
    for folder in filter(None, folders):
        if Path(folder).is_relative_to("/usr"):
            continue
        for parent in reversed(Path(folder).parents[:-1]):  # empty, and open to the sandbox's account
            options += ["--perms", "0755", "--dir", str(parent)]
        options += ["--ro-bind", folder, folder]
    return options

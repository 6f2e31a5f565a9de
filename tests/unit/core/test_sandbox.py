"""Programs that try to break out of the sandbox: each attempt is real, and fails."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core import sandbox
from core.errors import InputProblem
from core.sandbox import Bounds, run
from tests.sandboxes import needs_sandbox

ROOT = Path(__file__).parents[3]
QUICK = Bounds(seconds=5, memory_megabytes=256, file_megabytes=1)


@needs_sandbox
def test_a_program_runs_with_its_input_and_only_the_standard_library():
    ended = run("import sys, json\nprint(json.load(sys.stdin)['word'] * 2, sys.argv)", b'{"word": "ab"}')
    assert ended == sandbox.Ended(0, "abab ['program.py']\n", "")
    failed = run("import numpy")
    assert failed.code == 1 and "No module named 'numpy'" in failed.errors
    assert run("import numpy; print(numpy.arange(3).sum())", packages=True).output == "3\n"
    assert run("raise SystemExit(7)").code == 7


@needs_sandbox
def test_a_fork_bomb_ends_with_the_sandbox():
    bomb = """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
made = 0
for _ in range(500):
    try:
        if os.fork() == 0:
            while True: pass
    except OSError:
        break
    made += 1
print(made, flush=True)
while True:
    try: os.fork()
    except OSError: pass
"""
    ended = run(bomb, limits=Bounds(seconds=1.5, processes=8))
    assert ended.code is None and int(ended.output.split()[0]) < 8
    left = [each for each in psutil.process_iter(["uids"]) if each.info["uids"].real in sandbox._ACCOUNTS]
    _, alive = psutil.wait_procs(left, timeout=5)
    assert not alive


@needs_sandbox
@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
        "import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}', timeout=2)",
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0{abstract}')",
        "open('{outside}', 'w')",
        "open('{outside}')",
        "open('/usr/bin/new', 'w')",
        "open('/new', 'w')",
        "open('/dev/new', 'w')",
        "import os; os.symlink('{outside}', '/tmp/link'); open('/tmp/link')",
        "import os; os.symlink('/', '/tmp/root'); open('/tmp/root{outside}')",
        "open('/proc/1/environ').read()",
        "open('/proc/1/root{outside}')",
        "open('/proc/sys/kernel/core_pattern', 'w')",
        "import os; os.listdir('/home')",
        "open('{readme}')",
        "import os; os.environ['STEMMA_SECRET']",
        "import os; os.kill({parent}, 15)",
        "import os; os.kill(1, 9)",
        "import os; os.setuid(0); open('/usr/bin/new', 'w')",
        "x = bytearray(400 << 20)",
        "import os; os.memfd_create('hidden')",
        "import ctypes, os; l = ctypes.CDLL(None, use_errno=True); l.unshare(0x10000000) and os.abort()",
        "import ctypes, os; l = ctypes.CDLL(None); l.shmget(0, 1 << 20, 0o1600) == -1 and os.abort()",
        "open('/tmp/large', 'wb').write(bytes(2 << 20))",
        "for n in range(9): open(f'/tmp/{{n}}', 'wb').write(bytes(500_000))",
    ],
)
def test_an_attempt_to_get_out_fails(tmp_path, monkeypatch, attempt):
    monkeypatch.setenv("STEMMA_SECRET", "key")
    outside = tmp_path / "key.pem"
    outside.write_text("secret")
    tmp_path.chmod(0o777)
    outside.chmod(0o666)
    abstract = f"stemma-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0{abstract}")
        local.listen()
        attempt = attempt.format(port=listening.getsockname()[1], outside=outside, readme=ROOT / 'README.md',
                                 parent=os.getpid(), abstract=abstract)  # fmt: skip
        ended = run(f"import ctypes, os, socket, urllib.request\nprint('started', flush=True)\n{attempt}\nprint('out')",
                    limits=QUICK)  # fmt: skip
    assert ended.code not in (0, None) and ended.output == "started\n", ended
    assert outside.read_text() == "secret" and os.listdir(tmp_path) == ["key.pem"]


@needs_sandbox
def test_endless_output_ends_at_the_limit():
    ended = run("while True: print('x' * 1000)", limits=QUICK)
    assert ended.code != 0 and len(ended.output) == 1 << 20


@needs_sandbox
def test_signals_to_all_reach_only_the_sandbox():
    caught = []
    before = signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
    try:
        run("import os, signal\nos.kill(-1, signal.SIGTERM)\nos.killpg(0, signal.SIGTERM)", limits=QUICK)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not caught


@needs_sandbox
@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(60)"])
def test_time_is_bounded(program):
    assert run(program, limits=Bounds(seconds=0.5)).code is None


@needs_sandbox
def test_the_sandbox_ends_with_whoever_started_it(tmp_path):
    script = "from core import sandbox; sandbox.run('import time; time.sleep(60)', limits=sandbox.Bounds(seconds=60))"
    starter = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    own = psutil.Process(starter.pid)
    inside = []
    while len(inside) < 3:  # bwrap, the sandbox's first process, the program
        assert starter.poll() is None
        inside = own.children(recursive=True)
    starter.kill()
    starter.wait()
    _, alive = psutil.wait_procs(inside, timeout=5)
    assert not alive


def test_without_bwrap_nothing_is_run_and_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputProblem, match="apt-get install bubblewrap"):
        run("print(1)")


def test_a_bwrap_that_cannot_start_a_sandbox_is_refused_with_its_reason(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sandbox._why_not_started.cache_clear()
    try:
        with pytest.raises(InputProblem, match=r"\(bwrap: No permissions to create a new namespace\)"):
            run("print(1)")
    finally:
        sandbox._why_not_started.cache_clear()

"""Programs that are forked from a process with their libraries are as those that were started."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from core import prefork
from core.environment import child_environment
from core.prefork import Prefork

PROGRAM = """
import json, os, sys
import colorsys  # which the process that it is forked from has imported
json.dump({
    "argv": sys.argv[1:], "cwd": os.getcwd(), "variable": os.environ.get("GIVEN"), "other": os.environ.get("NOT_GIVEN"),
    "path": sys.path[:2], "main": sys.modules["__main__"].__spec__.name, "safe": os.environ.get("PYTHONSAFEPATH"),
    "leader": os.getsid(0) == os.getpid(), "mark": getattr(colorsys, "mark", 0),
    "forked": "core.prefork_server" in sys.orig_argv, "core": "core" in sys.modules,
}, sys.stdout)
print("a word for the log", file=sys.stderr)
sys.exit(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A process that programs are forked from, with a library of this test's own among what is installed."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "colorsys_mark.py").write_text("import colorsys\ncolorsys.mark = 1\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = child_environment({"PYTHONPATH": path, "NOT_GIVEN": "1", "OMP_NUM_THREADS": "3"})
    shared = Prefork(["colorsys_mark", "no_such_library"], [], environment=environment, without=["boto3"])
    yield shared
    shared.close()


def _run(shared, folder, text, **variables):
    (folder / "program.py").write_text(text)
    env = child_environment({"PYTHONPATH": str(folder), **variables})
    with open(folder / "out", "w+") as output, open(folder / "err", "w+") as errors:
        program = shared.program(
            "program", "one", "two words", cwd=folder, env=env, output=output.fileno(), errors=errors.fileno()
        )
        code = program.wait(60)
    return program, code, (folder / "out").read_text(), (folder / "err").read_text()


def test_it_has_its_own_surroundings_and_shares_what_is_imported(shared, tmp_path):
    _, code, output, errors = _run(shared, tmp_path, PROGRAM, GIVEN="é", CODE="75")
    found = json.loads(output)
    assert code == 75 and errors == "a word for the log\n"
    assert found["argv"] == ["one", "two words"] and found["cwd"] == str(tmp_path)
    assert found["variable"] == "é" and found["other"] is None and found["safe"] == "1"
    assert found["path"][0] == str(tmp_path) and found["main"] == "program" and found["leader"]
    assert found["mark"] == 1 and found["forked"] and not found["core"], "libraries are shared, the project's code not"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise ValueError('no')", 1),
        ("import sys; sys.exit('a reason')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import atexit; atexit.register(print, 'at the end')", 0),
        ("import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('last'))).start()", 0),
    ],
)
def test_it_ends_as_one_that_was_started(shared, tmp_path, text, code):
    program, ended, output, errors = _run(shared, tmp_path, text)
    line = [sys.executable, "-m", "program"]
    started = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended == code == started.returncode == program.poll()
    assert output == started.stdout and errors.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_a_program_is_waited_for_signalled_and_ends_with_the_process_it_was_forked_from(tmp_path):
    (tmp_path / "program.py").write_text("import time; time.sleep(600)")
    env = child_environment({"PYTHONPATH": str(tmp_path)})
    shared = Prefork([], [], environment=child_environment())
    with open(os.devnull, "w") as nothing:
        files = {"output": nothing.fileno(), "errors": nothing.fileno()}
        first, second = (shared.program("program", cwd=tmp_path, env=env, **files) for _ in range(2))
        assert first.poll() is None and f"{sys.executable} -P -m program" in _command_line(first.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(0.01)
        first.terminate()
        assert first.wait(30) == -signal.SIGTERM and second.poll() is None
        shared._process.kill()
        assert second.wait(30) == -signal.SIGKILL
        until = time.monotonic() + 30
        while os.path.exists(f"/proc/{second.pid}") and time.monotonic() < until:
            time.sleep(0.01)
        assert not os.path.exists(f"/proc/{second.pid}"), "the kernel kills what was forked"
        with pytest.raises(OSError):
            shared.program("program", cwd=tmp_path, env=env, **files)
    shared.close()


def _command_line(pid):
    deadline = time.monotonic() + 30
    while (
        b"core.prefork" in (line := pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()) and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    return line.decode()


RESERVE = """
import os, sys
from core.forks import Reserve

reserve = Reserve()
wanted = {**os.environ, "OMP_NUM_THREADS": sys.argv[1]}
if not reserve.would_do(wanted, {"boto3"}):
    reserve.dismiss()
    sys.exit(40 + abs(reserve.returncode))
with open("kept", "w") as kept:
    reserve.become("other", "three", cwd="sub", env={**wanted, "GIVEN": "more"}, keep=[kept.fileno()])
while reserve.poll() is None:
    pass
sys.exit(reserve.returncode)
"""
OTHER = """
import os, sys
print(sys.argv[1], os.path.basename(os.getcwd()), os.environ["GIVEN"], os.getppid() != os.getpid())
print(sum(os.path.basename(os.readlink(f"/proc/self/fd/{each}")) == "kept" for each in os.listdir("/proc/self/fd")
          if os.path.exists(f"/proc/self/fd/{each}")))
sys.exit(7)
"""


def test_a_reserve_becomes_a_program_unless_libraries_saw_other_variables(shared, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "other.py").write_text(OTHER)
    (tmp_path / "program.py").write_text(RESERVE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    large = {f"LARGE_{number}": "x" * 100_000 for number in range(6)}  # more than a message of a socket holds
    with open(tmp_path / "out", "w+") as output:
        for threads, code in (("3", 7), ("2", 40)):
            program = shared.program(
                "program", threads, cwd=tmp_path, env=child_environment({"PYTHONPATH": path, **large}),
                output=output.fileno(), errors=output.fileno(),
            )  # fmt: skip
            assert program.wait(60) == code, (tmp_path / "out").read_text()
    assert (tmp_path / "out").read_text().splitlines() == ["three sub more True", "1"]


def test_only_what_serves_and_its_forks_are_taken_for_them(monkeypatch):
    assert not prefork.is_forked()
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "components", "core.prefork_server"])
    assert not prefork.is_forked(), "a word of a command line is no module"

"""Processes are found and ended by their mark, whatever session they made for themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil

from core.files import last_lines
from core.network import free_port
from deploy.stack import process
from tests.workspace import wait_until

# A child in a session of its own whose parent ends at once, as an engine's or a trainer's may.
ORPHAN = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
)


def _start(tmp_path, code: str, mark: str) -> subprocess.Popen:
    log = tmp_path / "log"
    return process.start([sys.executable, "-c", code], os.environ, tmp_path, log, mark)


def test_an_orphan_in_another_session_is_found_and_ended(tmp_path):
    mark = process.mark_of(tmp_path, 7, "prefect")
    _start(tmp_path, ORPHAN, mark).wait()
    (orphan,) = wait_until(lambda: process.marked(mark), 20, "an orphan")
    assert process.marked(process.mark_of(tmp_path)) == [orphan], "the home's mark is wider"
    assert process.marked(process.mark_of(tmp_path, 7, "pre")) == [], "a name is not a part of another"
    assert process.marked(process.mark_of(tmp_path, 71)) == []
    process.sweep(mark, 5)
    assert not psutil.pid_exists(orphan.pid) or orphan.status() == psutil.STATUS_ZOMBIE


def test_who_does_not_end_when_told_is_killed(tmp_path):
    mark = process.mark_of(tmp_path)
    stubborn = _start(tmp_path, STUBBORN, mark)
    wait_until(lambda: "on" in (tmp_path / "log").read_text(), 20, "its start")
    began = time.monotonic()
    process.sweep(mark, 0.5)
    assert stubborn.wait() == -signal.SIGKILL
    assert 0.5 <= time.monotonic() - began < 10


def test_a_watcher_ends_what_a_killed_supervisor_left(tmp_path):
    mark = process.mark_of(tmp_path, 7)
    # The supervisor's end of the pipe goes with it; here it is closed by hand.
    watcher = subprocess.Popen(
        [sys.executable, "-m", "deploy.stack.process", mark, "1"], stdin=subprocess.PIPE, start_new_session=True
    )
    left = _start(tmp_path, STUBBORN, process.mark_of(tmp_path, 7, "mlflow"))
    other = _start(tmp_path, STUBBORN, process.mark_of(tmp_path, 8, "mlflow"))
    wait_until(lambda: (tmp_path / "log").read_text().count("on") == 2, 20, "their start")
    watcher.stdin.close()
    assert watcher.wait(30) == 0
    assert left.wait() in (-signal.SIGTERM, -signal.SIGKILL)
    assert other.poll() is None, "of another supervisor"
    other.kill()
    other.wait()


def test_who_listens_is_known_by_process_and_descendants(tmp_path):
    port = free_port()
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    mark = process.mark_of(tmp_path)
    started = _start(tmp_path, parent, mark)
    wait_until(lambda: process.listens(started.pid, port), 20, "a listener")
    other = _start(tmp_path, "import time; time.sleep(600)", mark)
    assert not process.listens(other.pid, port), "it is not the one that answers there"
    assert process.memory(started.pid) > psutil.Process(started.pid).memory_info().rss
    process.sweep(mark, 1)
    other.wait()
    started.wait()
    assert process.memory(started.pid) == 0


def test_a_log_that_grew_large_is_moved_while_its_writer_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LARGEST_LOG", 10)
    log = tmp_path / "service.log"
    with open(log, "ab") as writer:
        writer.write(b"a first line, rather long\n")
        writer.flush()
        process.rotate(log)
        writer.write(b"more\n")
    assert log.read_text() == "more\n"
    assert (tmp_path / "service.log.1").read_text() == "a first line, rather long\n"
    process.rotate(log)
    assert log.read_text() == "more\n", "not large"
    assert last_lines(log, 8) == ["more"]

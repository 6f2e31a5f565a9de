"""Locks are the kernel's: alone or shared, seen by others, and free again when their holder is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from core import locks

ROOT = Path(__file__).resolve().parents[3]


def test_one_holds_it_alone(tmp_path):
    path = tmp_path / "deep" / "lock"
    first = locks.try_lock(path)
    assert first is not None and locks.held(path) and locks.try_lock(path) is None
    os.close(first)
    assert not locks.held(path)
    with locks.holding(path, wait=False) as held:
        assert held is not None
        with locks.holding(path, wait=False) as other:
            assert other is None


def test_several_share_it_and_none_has_it_alone_meanwhile(tmp_path):
    path = tmp_path / "lock"
    with locks.holding(path, shared=True), locks.holding(path, shared=True):
        assert locks.try_lock(path) is None
        assert not locks.held(path)
    assert not locks.held(tmp_path / "missing") and not (tmp_path / "missing").exists()


def test_it_is_the_lock_that_filelock_takes(tmp_path):
    path = tmp_path / "lock"
    with FileLock(path):
        assert locks.held(path) and locks.try_lock(path) is None
    with locks.holding(path):
        try:
            FileLock(path, timeout=0.01).acquire()
        except Timeout:
            return
    raise AssertionError("two held the lock")


def test_a_killed_holder_gives_it_back(tmp_path):
    path = tmp_path / "lock"
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom core import locks\n"
        "locks.acquire(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n" and locks.held(path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not locks.held(path)

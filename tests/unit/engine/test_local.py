"""The pool of local processes: ordered, bounded, ended with its parent, and not brought down by a killed worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest
from pydantic import ValidationError

from components import engine
from components.engine import EngineParameters, local
from components.engine.local import AHEAD, WorkersLost
from tests.unit.engine import work

TWO = EngineParameters(workers=2)


def test_results_come_in_order_and_tasks_are_taken_as_work_goes_on():
    taken = []

    def tasks():
        for number in range(12):
            taken.append(number)
            yield number

    results = engine.run(work.square, tasks(), TWO, 0)
    assert next(results) == 0
    assert len(taken) <= AHEAD * 2 + 1
    assert list(results) == [number * number for number in range(1, 12)]


def test_a_small_job_stays_in_this_process_and_a_large_one_does_not():
    auto = EngineParameters()
    assert set(engine.run(work.process, range(3), auto, engine.POOL_FROM - 1)) == {os.getpid()}
    assert set(engine.run(work.process, range(3), EngineParameters(workers=1), 1 << 40)) == {os.getpid()}
    if local.processors() > 1:
        assert os.getpid() not in set(engine.run(work.process, range(3), auto, engine.POOL_FROM))


def test_an_error_comes_when_its_turn_comes_and_ends_the_workers():
    before = set(psutil.Process().children())
    results = engine.run(work.fail_at_three, range(6), TWO, 0)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    left = [
        child for child in set(psutil.Process().children()) - before if "resource_tracker" not in str(child.cmdline())
    ]
    assert not left


def test_a_killed_worker_changes_nothing(tmp_path):
    dying = partial(work.die_once, str(tmp_path / "died"))
    assert list(engine.run(dying, range(8), TWO, 0)) == [number * number for number in range(8)]
    assert (tmp_path / "died").exists()


def test_a_task_that_always_ends_its_worker_is_named():
    with pytest.raises(WorkersLost, match=r"3 times while it worked on 0.*set engine.workers to less than 2"):
        list(engine.run(work.die, range(2), TWO, 0))


def test_workers_end_with_their_parent():
    program = (
        "import time\nfrom components.engine import EngineParameters, run\nfrom tests.unit.engine import work\n"
        "if __name__ == '__main__':\n"
        "    for pid in run(work.process, range(100), EngineParameters(workers=2), 0):\n"
        "        print(pid, flush=True)\n        time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)


def test_parameters_that_make_no_sense_are_refused():
    with pytest.raises(ValidationError, match="set type to ray"):
        EngineParameters(address="head:6379")
    for workers in (0, True, "many"):
        with pytest.raises(ValidationError):
            EngineParameters(workers=workers)

"""One retraining at a time: one waits, more are not needed; a process that dies gives its turn back."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from flows.retraining.queue import NotNeeded, one_at_a_time
from tests.workspace import wait_until


def test_the_second_waits_and_the_third_is_told(tmp_path):
    said, order = [], []

    def second() -> None:
        with one_at_a_time(tmp_path, said.append):
            order.append("second")

    with one_at_a_time(tmp_path, said.append):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: said, what="the second waits")
        with pytest.raises(NotNeeded, match="will see the same data"), one_at_a_time(tmp_path, said.append):
            order.append("third")
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"] and len(said) == 1


def test_a_killed_process_gives_its_turn_back(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from flows.retraining.queue import one_at_a_time\n"
        "with one_at_a_time(Path(sys.argv[1]), print): print('mine', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    process.kill()
    process.wait()
    with one_at_a_time(tmp_path, pytest.fail):
        pass

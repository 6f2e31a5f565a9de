"""A process whose starter is gone ends, however early that happened; any other goes on. The notice of a machine."""

import os
import subprocess
import sys
import time

import pytest

from core.errors import InputProblem
from core.processes import NOTICE, notice_seconds

STAGE = "import time; time.sleep({delay}); from core.processes import follow_starter; follow_starter(); "


def test_a_process_that_lost_its_starter_before_it_could_follow_ends(tmp_path):
    written = tmp_path / "written"
    late = STAGE.format(delay=0.5) + f"open({str(written)!r}, 'w')"
    # The shell is the leader of the session, as DVC is; it ends before its child follows it.
    subprocess.run(["sh", "-c", '"$0" -c "$1" & exit', sys.executable, late], start_new_session=True, check=True)
    time.sleep(1.5)
    assert not written.exists()


def test_a_process_with_a_living_starter_goes_on():
    for leads in (False, True):
        done = subprocess.run([sys.executable, "-c", STAGE.format(delay=0) + "print('on')"], capture_output=True,
                              text=True, start_new_session=leads, check=True, env={**os.environ})  # fmt: skip
        assert done.stdout == "on\n"


def test_a_notice_that_is_no_number_of_seconds_is_refused(monkeypatch):
    monkeypatch.delenv(NOTICE, raising=False)
    assert notice_seconds() == 30
    monkeypatch.setenv(NOTICE, "120")
    assert notice_seconds() == 120
    for wrong in ("", "soon", "-3", "1e3", "9", "86400"):
        monkeypatch.setenv(NOTICE, wrong)
        with pytest.raises(InputProblem, match="seconds between SIGTERM and SIGKILL"):
            notice_seconds()

"""One process works for a flow run of a deployment."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core import layout
from flows.deployments.flow_run import StillAtWork, hold_run


def test_a_retry_of_a_run_whose_process_lives_is_refused_and_one_after_its_death_is_not(tmp_path):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path; from core import layout, locks\n"
            "held = locks.try_lock(layout.flow_run_lock(Path(sys.argv[1]), 'one')); print(flush=True); time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline()
        with pytest.raises(StillAtWork, match="still at work in another process"):
            hold_run(tmp_path, "one", patience=0.3)
        hold_run(tmp_path, "another")
    finally:
        holder.kill()
        holder.wait()
    hold_run(tmp_path, "one")
    assert layout.flow_run_lock(tmp_path, "one").is_file()

"""A state that is sharded over processes is saved whole and comes back sharded, to the last bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM

from tests.unit.pretrain import tiny


def test_a_sharded_state_comes_back_to_the_last_bit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(Path(__file__).with_name("sharded.py")), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tiny.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "scratch/checkpoints/step-0000000003")
    assert whole.num_parameters() > 20_000

"""Sharded trainings, as accelerate starts them with the shipped files: as one process does to rounding, and resumed."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from components.harness import launch
from tests.unit.pretrain import tiny
from tests.unit.pretrain.forked import Forked
from tests.unit.pretrain.launch_environment import launch_variables

pytestmark = pytest.mark.slow
# Both optimizers' parts, gradients of several micro-batches, validation, samples; no dropout, of which each process
# draws its own.
CHANGES = {
    "architecture": tiny.PARAMETERS["architecture"] | {"extra": {}},
    "per_device_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "steps": 4,
    "log_every": 1,
    "checkpoint_every": 2,
    "keep_last": 4,
    "evaluate_every": 2,
}


def forked(workspace, sharding: str, processes: int, **changes) -> str:
    """Run the stage in forked processes as `accelerate launch` would; what they printed."""
    given, new = arguments(workspace, sharding, processes, **changes), launch_variables(sharding, processes)
    return tiny.finish(Forked("tests.unit.pretrain.sharded_child", given, processes=processes, environment=new))


def arguments(workspace, sharding: str, processes: int, **changes) -> list[str]:
    divided = {"sharding": sharding, "devices": processes, "gradient_accumulation_steps": 8 // processes}
    parameters = tiny.PARAMETERS | CHANGES | divided | changes
    return [str(workspace), json.dumps(parameters)]


def shares(output: str) -> list[float]:
    """Of the weights, what each process keeps."""
    return [float(share) for share in re.findall(r"keeps (\S+) of the weights", output)]


def assert_same(workspace, reference) -> None:
    """Losses and gradient norms of every step, validation and samples are the reference's to rounding."""
    folder, other = (each / "reports/pretrain" for each in (workspace, reference))
    for name, columns in (("curve.csv", ("loss", "gradient_norm")), ("validation.csv", ("loss",))):
        with open(folder / name) as mine, open(other / name) as theirs:
            for row, expected in zip(csv.DictReader(mine), csv.DictReader(theirs), strict=True):
                for column in columns:
                    np.testing.assert_allclose(float(row[column]), float(expected[column]), rtol=2e-5)
    mine, theirs = (json.loads((each / "report.json").read_text()) for each in (folder, other))
    for name in ("validation_loss", "validation_loss_stderr"):
        np.testing.assert_allclose(mine[name], theirs[name], rtol=2e-5)
    assert mine["validation_tokens"] == theirs["validation_tokens"] and mine["samples"] == theirs["samples"]


def assert_resumed(workspace, resumed, sharding: str, processes: int, **changes) -> None:
    """From the first checkpoint of ``workspace``, an empty workspace comes to its weights and reports."""
    first = "scratch/pretrain/checkpoints/step-0000000002"
    shutil.copytree(workspace / first, resumed / first)
    forked(resumed, sharding, processes, **changes)
    assert tiny.weights(resumed) == tiny.weights(workspace)
    for path in (workspace / "reports/pretrain").iterdir():
        assert (resumed / "reports/pretrain" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.fixture(scope="module")
def reference(made, tmp_path_factory):
    """What one process makes of the same parameters."""
    folder = tiny.beside(tmp_path_factory.mktemp("reference"), made)
    tiny.pretrain(folder, **CHANGES)
    return folder


def test_a_real_launch_gives_its_processes_what_the_forked_ones_get(tmp_path):
    program = tmp_path / "show.py"
    program.write_text(
        f"import json, os\njson.dump(dict(os.environ), open({str(tmp_path / 'rank')!r} + os.environ['RANK'], 'w'))\n"
    )
    command = [sys.executable, "-m", "accelerate.commands.launch", *launch.accelerate_arguments("fsdp2", 2), program]
    done = subprocess.run(command, cwd=tiny.ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    for rank in ("0", "1"):
        found = json.loads((tmp_path / f"rank{rank}").read_text())
        assert launch_variables("fsdp2", 2).items() <= found.items()
        assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"]) == (rank, rank, "2")


@pytest.fixture(scope="module")
def in_halves(made, tmp_path_factory):
    """What two processes make with FSDP2."""
    folder = tiny.beside(tmp_path_factory.mktemp("halves"), made)
    assert shares(forked(folder, "fsdp2", 2)) == [0.5, 0.5]
    return folder


def test_fsdp2_trains_as_one_process_does_and_resumes_to_the_last_bit(in_halves, reference, workspace):
    assert_same(in_halves, reference)
    model = AutoModelForCausalLM.from_pretrained(in_halves / "models/base")
    assert model.num_parameters() == json.loads((in_halves / "reports/pretrain/report.json").read_text())["parameters"]

    assert_resumed(in_halves, workspace, "fsdp2", 2)


def test_fsdp2_goes_on_with_more_processes_where_it_may(in_halves, reference, workspace):
    first = "scratch/pretrain/checkpoints/step-0000000002"
    shutil.copytree(in_halves / first, workspace / first)
    asked = {"devices": 2, "gradient_accumulation_steps": 4, "elastic": True}
    assert shares(forked(workspace, "fsdp2", 4, **asked)) == [0.25] * 4
    assert_same(workspace, reference)


def test_zero3_trains_as_one_process_does_and_resumes_to_the_last_bit(workspace, made, tmp_path_factory):
    changes = {"optimizer": "adamw"}
    alone = tiny.beside(tmp_path_factory.mktemp("alone"), made)
    tiny.finish(tiny.start(alone, **CHANGES | changes))
    assert shares(forked(workspace, "zero3", 2, **changes)) == [0.5, 0.5]
    assert_same(workspace, alone)
    assert_resumed(workspace, tiny.beside(tmp_path_factory.mktemp("resumed"), made), "zero3", 2, **changes)


def test_context_parallel_trains_as_one_process_does(workspace, reference):
    assert shares(forked(workspace, "context_parallel", 2)) == [0.5, 0.5]
    assert_same(workspace, reference)


def test_tensor_parallel_trains_as_one_process_does(workspace, reference):
    # The blocks' matrices lie in quarters, the embedding and the norms in halves.
    assert all(0.25 < share < 0.4 for share in shares(forked(workspace, "tensor_parallel", 4)))
    assert_same(workspace, reference)

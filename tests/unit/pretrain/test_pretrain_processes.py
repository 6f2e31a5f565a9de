"""Two processes by gloo: the same training as one to rounding, and exact under faults in its own right."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

from tests.unit.pretrain import tiny

# Without dropout, of which each process draws its own; long enough to be interrupted on a busy machine.
CHANGES = {"architecture": tiny.PARAMETERS["architecture"] | {"extra": {}}, "steps": 240}


def losses(workspace, name="curve.csv"):
    with open(workspace / "reports/pretrain" / name) as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


@pytest.fixture(scope="module")
def pair(made, tmp_path_factory):
    folder = tiny.beside(tmp_path_factory.mktemp("pair"), made)
    tiny.finish(tiny.start(folder, processes=2, **CHANGES))
    return folder


def test_two_processes_train_as_one_does(pair, workspace):
    tiny.finish(tiny.start(workspace, **CHANGES))
    np.testing.assert_allclose(losses(pair), losses(workspace), rtol=2e-4)
    np.testing.assert_allclose(losses(pair, "validation.csv"), losses(workspace, "validation.csv"), rtol=2e-4)


def test_two_processes_killed_and_run_again_end_with_the_same_bytes(pair, workspace):
    tiny.kill_amid(workspace, tiny.start(workspace, processes=2, **CHANGES), 12, CHANGES["steps"])
    tiny.finish(tiny.start(workspace, processes=2, **CHANGES))
    assert tiny.weights(workspace) == tiny.weights(pair)
    for path in (pair / "reports/pretrain").iterdir():
        assert (workspace / "reports/pretrain" / path.name).read_bytes() == path.read_bytes(), path.name


def test_another_number_of_processes_is_refused(pair, workspace):
    shutil.copytree(pair / "scratch", workspace / "scratch")
    process = tiny.start(workspace, **CHANGES)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "was made by 2 processes and there are 1 now" in output

"""Kills and signals at the worst moment: nothing is left running, checkpoints are saved, the next run goes on."""

from __future__ import annotations

import os
import signal
import time
import urllib.request

import psutil
import pytest


def servers(workspace) -> set[int]:
    return {pid for pid, words in workspace.commands().items() if "deploy.stack.prefect_server" in words}


def test_kill_9_of_its_own_server_or_of_the_command(empty_workspace):
    """The run goes on with another server; nothing outlives the command."""
    workspace = empty_workspace
    workspace.told("curate", "steps", "100000")
    process = workspace.start("run")
    workspace.wait_for_process_of("curate")
    stage = [words for words in workspace.commands().values() if "--single-item" in words]
    assert any("dvc --wait-for-lock repro --single-item curate" in " ".join(words) for words in stage)
    (server,) = servers(workspace)
    os.kill(server, signal.SIGKILL)
    line = process.stdout.readline()
    while "own Prefect server was killed" not in line:
        assert line, "the run ended"
        line = process.stdout.readline()
    assert "the run goes on" in line
    port = int(next(c.laddr.port for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=60) as answer:  # waits for the next one
        assert answer.status == 200
    assert servers(workspace) - {server}
    assert [words for words in workspace.commands().values() if "--single-item" in words] == stage
    process.kill()
    process.wait()
    workspace.wait_for_silence()


@pytest.fixture
def forking(workspace):
    """A pipeline that has components too, so that the run forks its DVCs."""
    with open(workspace.root / "dvc.yaml", "a") as pipeline:
        pipeline.write("# One of python -m components could follow.\n")
    return workspace


def test_a_signal_lets_the_stage_save_its_checkpoint_first(forking):
    workspace = forking
    (workspace.home / "pretrain.pid").unlink()
    workspace.told("pretrain", "steps", "100000")
    process = workspace.start("run", "--set", "pretrain.steps=13")
    workspace.wait_for_process_of("pretrain")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "goes on from" in err and "Traceback" not in err
    assert (workspace.home / "pretrain.checkpoint").read_text() == "saved"
    workspace.wait_for_silence()


def test_kill_9_of_dvc_ends_its_stage_and_the_run_says_so(forking):
    workspace = forking
    (workspace.home / "pretrain.pid").unlink()
    workspace.told("pretrain", "steps", "100000")
    process = workspace.start("run", "--set", "pretrain.steps=14")
    workspace.wait_for_process_of("pretrain")
    dvc = next(pid for pid, words in workspace.commands().items() if "--single-item" in words)
    os.kill(dvc, signal.SIGKILL)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "stage pretrain failed" in err
    workspace.wait_for_silence()
    (workspace.behave / "pretrain.steps").unlink()
    assert "pretrain" in workspace.stemma("run", "--until", "pretrain")


def test_ctrl_c_while_dvc_only_starts_is_not_waited_for(workspace):
    workspace.told("pretrain", "steps", "100000")
    process = workspace.start("run", "--set", "pretrain.steps=16")
    deadline = time.monotonic() + 120
    while not any("--single-item" in words for words in workspace.commands().values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 130, err
    workspace.wait_for_silence()

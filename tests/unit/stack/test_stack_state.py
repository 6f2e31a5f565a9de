"""What a running stack tells of itself, and when it is believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from deploy.stack import state
from deploy.stack.state import ServiceState, Stack
from deploy.stack.storage import Storage, use_stack
from tests.workspace import wait_until


def _stack(pid: int, **changes) -> Stack:
    services = (
        ServiceState("prefect", "http://127.0.0.1:4200", 7, "healthy", "/log"),
        ServiceState("gateway", "http://127.0.0.1:8000", 8, "healthy", "/log"),
    )
    environment = {"PREFECT_API_URL": "http://127.0.0.1:4200/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}
    return Stack(pid, changes.pop("born", state.born(pid)), "127.0.0.1", environment, services, **changes)


@pytest.fixture
def variables(monkeypatch):
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "STEMMA_REGISTRY_URL"):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back, also where there was none before
        monkeypatch.delenv(name)
    return monkeypatch


def test_what_is_written_is_read(tmp_path):
    assert state.read(tmp_path) is None
    written = _stack(os.getpid())
    state.write(tmp_path, written)
    assert state.read(tmp_path) == written
    assert written.healthy and written.gateway_url == "http://127.0.0.1:8000"
    state.remove(tmp_path)
    assert state.read(tmp_path) is None


def test_a_stack_whose_supervisor_was_killed_does_not_run(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    state.write(tmp_path, _stack(process.pid))
    assert state.read(tmp_path) is not None
    process.kill()
    wait_until(lambda: state.read(tmp_path) is None, 20, "its end, though nobody has reaped it")
    process.wait()
    assert state.read(tmp_path) is None


def test_a_process_id_that_was_used_again_is_not_taken_for_the_supervisor(tmp_path):
    state.write(tmp_path, _stack(os.getpid(), born=state.born(os.getpid()) - 3600))
    assert state.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"services": [{}]}', '"x"'])
def test_a_damaged_file_is_no_stack(tmp_path, text):
    (tmp_path / "stack.json").write_text(text)
    assert state.read(tmp_path) is None


def test_commands_use_the_stack_unless_the_user_named_servers(tmp_path, variables):
    state.write(tmp_path, _stack(os.getpid()))
    variables.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    use_stack(tmp_path)
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://mlflow.example"


def test_databases_outside_the_home_are_used_while_no_stack_runs(tmp_path, variables):
    Storage("postgresql://ada@db/team").remember(tmp_path)
    use_stack(tmp_path)
    assert os.environ["STEMMA_REGISTRY_URL"] == "postgresql://ada@db/team_registry"
    assert os.environ["MLFLOW_TRACKING_URI"] == "postgresql+psycopg://ada@db/team_mlflow"
    assert "PREFECT_API_URL" not in os.environ


def test_sqlite_needs_no_variables(tmp_path, variables):
    Storage().remember(tmp_path)
    use_stack(tmp_path)
    assert "STEMMA_REGISTRY_URL" not in os.environ and "MLFLOW_TRACKING_URI" not in os.environ
    assert Storage.recall(tmp_path) == Storage()
    assert Storage().mlflow_backend(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db", "that of runs without a server"


def test_what_was_chosen_once_is_remembered(tmp_path):
    chosen = Storage("postgresql://ada@db/team", "s3://models/team/")
    chosen.remember(tmp_path)
    assert Storage.recall(tmp_path) == chosen
    assert json.loads((tmp_path / "storage.json").read_text()) == {
        "database": "postgresql://ada@db/team",
        "artifacts": "s3://models/team/",
    }
    assert chosen.artifact_root(tmp_path) == "s3://models/team"

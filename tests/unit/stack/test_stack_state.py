"""What a running stack tells of itself, and when it is believed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from cli.screens.stack import pages
from core import layout
from deploy.stack import state, tokens
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
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "STEMMA_REGISTRY_URL", "PREFECT_API_AUTH_STRING",
                 "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):  # fmt: skip
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


def test_a_token_is_shown_to_the_server_that_it_is_for_alone(tmp_path, variables):
    state.write(tmp_path, _stack(os.getpid()))
    tokens.write(tmp_path, {"prefect": "p" * 43, "mlflow": "m" * 43, "gateway": "g" * 43})
    variables.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    variables.setenv("MLFLOW_TRACKING_PASSWORD", "of mlflow.example")
    use_stack(tmp_path)
    assert os.environ["PREFECT_API_AUTH_STRING"] == f"stemma:{'p' * 43}"
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "of mlflow.example"
    variables.delenv("MLFLOW_TRACKING_URI")
    use_stack(tmp_path)
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == "m" * 43
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ, "MLflow's client would send that one"


def test_the_links_are_shown_to_a_person_and_never_written(tmp_path):
    tokens.write(tmp_path, {"prefect": "p" * 43, "browser": "b" * 43})
    assert layout.stack_tokens(tmp_path).stat().st_mode & 0o777 == 0o600
    stack = _stack(os.getpid())
    shown = Console(file=io.StringIO(), force_terminal=True, width=200)
    shown.print(pages(shown, stack, tmp_path))
    assert f"http://127.0.0.1:4200/?token={'b' * 43}" in shown.file.getvalue()
    assert "p" * 43 not in shown.file.getvalue() and "8000" not in shown.file.getvalue()
    assert not pages(Console(file=io.StringIO(), force_terminal=False), stack, tmp_path)


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

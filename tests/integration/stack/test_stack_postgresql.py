"""A stack in the background, on PostgreSQL, open to other machines: what it holds, whom it lets in, how it ends."""

from __future__ import annotations

import base64
import json
import sys
import urllib.error
import urllib.request

import psycopg
import pytest

from deploy.stack import state
from tests.stack import READY_SECONDS, log_of, port_options, processes_of
from tests.workspace import Workspace

STEMMA = (sys.executable, "-m", "cli")
PREFECT_USER, MLFLOW_USER = "ada:planted-for-prefect", "admin:planted-for-mlflow"
API_KEY = "sk-stemma-planted-for-the-gateway-0123456789"
SECRETS = {
    "PREFECT_SERVER_API_AUTH_STRING": PREFECT_USER,
    "MLFLOW_AUTH_ADMIN_PASSWORD": MLFLOW_USER.partition(":")[2],
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "planted-for-the-pages-of-mlflow",
    "STEMMA_API_KEYS": f"ada:{API_KEY}",
    "PGPASSWORD": "planted-for-postgresql",
}


@pytest.fixture(scope="module")
def workspace(made, postgresql, tmp_path_factory):
    """The workspace with its stack up in the background."""
    workspace = made.copy_to(tmp_path_factory.mktemp("detached") / "workspace")
    workspace.environment |= SECRETS
    options = ("--detach", "--host", "0.0.0.0", "--database", f"{postgresql}/team", *port_options())
    try:
        done = workspace.run(*STEMMA, "up", *options, timeout=READY_SECONDS)
        assert "Ready after" in done.stdout and "stemma down" in done.stdout
        yield workspace
    except AssertionError:
        print(log_of(workspace))
        raise
    finally:
        workspace.run(*STEMMA, "down", "--now", check=False)


def _status(url: str, user: str | None = None, body: dict | None = None, header: str = "Basic") -> int:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if user:
        token = base64.b64encode(user.encode()).decode() if header == "Basic" else user
        request.add_header("Authorization", f"{header} {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_three_databases_hold_what_the_services_remember(workspace: Workspace, postgresql):
    workspace.run(*STEMMA, "sync", PREFECT_API_AUTH_STRING=PREFECT_USER,
                  MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=MLFLOW_USER.partition(":")[2])  # fmt: skip
    counts = {
        "team_prefect": "SELECT count(*) FROM deployment WHERE name = 'lifecycle'",
        "team_mlflow": "SELECT count(*) FROM users WHERE username = 'admin'",
        "team_registry": "SELECT count(*) FROM executions WHERE state = 'COMPLETE'",
    }
    for name, question in counts.items():
        with psycopg.connect(f"{postgresql}/{name}") as connection:
            assert connection.execute(question).fetchone() == (1,), name
    assert not (workspace.home / "prefect" / "prefect.db").exists()
    assert not (workspace.home / "registry.db").exists()


def test_only_those_with_a_token_are_let_in(workspace: Workspace):
    stack = state.read(workspace.home)
    prefect, mlflow = f"{stack.prefect_api_url}/deployments/filter", f"{stack.mlflow_uri}/api/2.0/mlflow/runs/search"
    ours = {"experiment_ids": ["0"]}
    assert (_status(prefect, None, {}), _status(prefect, PREFECT_USER, {})) == (401, 200)
    assert (_status(mlflow, None, ours), _status(mlflow, MLFLOW_USER, ours)) == (401, 200)
    models = f"{stack.gateway_url}/v1/models"
    assert (_status(models), _status(models, API_KEY, header="Bearer")) == (401, 200)


def test_no_secret_is_in_arguments_files_or_logs(workspace: Workspace):
    planted = [secret.rpartition(":")[2] for secret in SECRETS.values()]
    lines = "\n".join(processes_of(workspace))
    written = [path for path in workspace.home.rglob("*") if path.is_file() and path.stat().st_size < 2**24]
    assert len(written) > 5 and len(lines) > 100
    for secret in planted:
        assert secret not in lines
        assert not [path for path in written if secret.encode() in path.read_bytes()]


def test_down_ends_everything_and_the_databases_are_not_forgotten(workspace: Workspace, postgresql):
    pid = state.read(workspace.home).pid
    assert "The stack has stopped" in workspace.run(*STEMMA, "down").stdout
    assert state.born(pid) is None and not processes_of(workspace)
    shown = json.loads(workspace.run(*STEMMA, "status", "--json").stdout)
    assert shown["stack"] is None
    workspace.run(*STEMMA, "models")
    assert not (workspace.home / "registry.db").exists(), "the registry is still PostgreSQL's"

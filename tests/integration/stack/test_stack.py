"""``stemma up`` with all its services, as processes: what dies is healed, and nothing is ever left behind.

The tests share one stack and stand in the order in which it lives; the last one kills it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
import pytest

from core import layout
from deploy.stack import state
from tests.prefect_database import give
from tests.stack import RunningStack, log_file, log_of, processes_of, stack
from tests.workspace import Workspace, wait_until

STEMMA = (sys.executable, "-m", "cli")
IDLE_BYTES = 1.5e9
SERVICES = ["prefect", "mlflow", "deployments", "gateway", "console"]


@pytest.fixture(scope="module")
def workspace(made, tmp_path_factory, prefect_database) -> Workspace:
    workspace = made.copy_to(tmp_path_factory.mktemp("stack") / "workspace")
    give(prefect_database, workspace.home / "prefect")
    return workspace


@pytest.fixture(scope="module")
def running(workspace):
    with stack(workspace) as running:
        yield running


def _get(url: str | urllib.request.Request):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def _status(url: str, body: object = None, **headers: str) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module", autouse=True)
def _credentials(running: RunningStack):
    """What the clients in this process show, as a command of the workspace does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", running.tokens["mlflow"])
        yield


def test_every_service_is_well_and_small(running: RunningStack):
    shown = json.loads(running.workspace.run(*STEMMA, "status", "--json").stdout)
    services = {service["name"]: service for service in shown["stack"]["services"]}
    assert list(services) == SERVICES
    assert {service["state"] for service in services.values()} == {"healthy"}
    assert 0 < sum(service["memory"] for service in services.values()) < IDLE_BYTES
    assert shown["stages"][0]["stage"] == "counter"
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    others = [services[name]["url"] for name in ("mlflow", "gateway", "console")]
    for url in (running.link("prefect"), *others):  # the first opens all
        with browser.open(url, timeout=60) as page:
            assert b"<html" in page.read().lower() and "token" not in page.url
    with browser.open(f"{services['console']['url']}/runs", timeout=60) as page:
        text = page.read().decode()
        assert "(admin)" in text
        assert all(f"{services[name]['url']}/" in text for name in ("prefect", "mlflow", "gateway"))
    with browser.open(f"{services['gateway']['url']}/v1/models", timeout=60) as answer:  # as the chat page asks
        assert json.loads(answer.read())["object"] == "list"
    assert _get(f"{services['mlflow']['url']}/health") == b"OK"
    assert json.loads(_get(f"{services['gateway']['url']}/health"))
    names = {deployment["name"] for deployment in running.prefect("/deployments/filter", {})}
    assert "lifecycle" in names
    text = running.workspace.run(*STEMMA, "status").stdout
    assert all(word in text for word in (*SERVICES, "MB", services["mlflow"]["url"], "counter"))


def test_a_page_elsewhere_and_another_account_get_nothing(running: RunningStack):
    now = running.now
    asked = {
        "prefect": (f"{now.prefect_api_url}/deployments/filter", {}),
        "mlflow": (f"{now.mlflow_uri}/api/2.0/mlflow/experiments/search", {"max_results": 5}),
        "gateway": (f"{now.gateway_url}/v1/models", None),
    }
    for name, (url, body) in asked.items():
        token = {"Authorization": f"Bearer {running.tokens[name]}"}
        assert _status(url, body) == 401, name
        assert _status(url, body, Authorization="Bearer " + "x" * 43) == 401, name
        for strange in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            assert _status(url, body, **strange) == _status(url, body, **strange, **token) == 403, name
            assert _status(now.service(name).url, **strange) == 403, name
        assert _status(url, body, **token) == 200, name
    console = f"{now.service('console').url}/models"
    for strange in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        assert _status(console, Authorization=f"Bearer {running.tokens['console']}", **strange) == 403
    with urllib.request.urlopen(console, timeout=60) as answer:
        assert urllib.parse.urlsplit(answer.url).path == "/sign-in"
    assert _status(f"{now.prefect_api_url}/flows/filter", {}, Authorization=f"Bearer {running.tokens['mlflow']}") == 401


def test_the_tokens_are_in_a_private_file_and_nowhere_else(running: RunningStack):
    kept = layout.stack_tokens(running.workspace.home)
    assert kept.stat().st_mode & 0o777 == 0o600 and len(set(running.tokens.values())) == 5
    files = [log_file(running.workspace), *running.workspace.root.rglob("*")]
    for token in running.tokens.values():
        assert not [line for line in processes_of(running.workspace) if token in line]
        found = [path for path in files if path.is_file() and path != kept and token.encode() in path.read_bytes()]
        assert not found


def test_prefects_sockets_open_to_its_clients_alone(running: RunningStack):
    import asyncio

    from prefect.events.clients import PrefectEventSubscriber
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    async def listen() -> None:
        async with PrefectEventSubscriber(running.now.prefect_api_url, reconnection_attempts=0):
            pass

    with temporary_settings({PREFECT_API_AUTH_STRING: f"stemma:{running.tokens['prefect']}"}):
        asyncio.run(asyncio.wait_for(listen(), 60))
    with temporary_settings({PREFECT_API_AUTH_STRING: "stemma:guess"}):
        with pytest.raises(Exception, match=r"(?i)authenticat|token|1008"):
            asyncio.run(asyncio.wait_for(listen(), 60))


def test_everything_listens_on_loopback_alone(running: RunningStack):
    for service in running.now.services:
        pid = psutil.Process(service.pid)
        addresses = {
            each.laddr.ip
            for process in [pid, *pid.children(recursive=True)]
            for each in process.net_connections(kind="tcp")
            if each.status == psutil.CONN_LISTEN
        }
        assert addresses <= {"127.0.0.1"}


def test_a_second_stack_is_refused_and_told_of_the_first(running: RunningStack):
    done = running.workspace.run(*STEMMA, "up", check=False)
    assert done.returncode == 2
    assert f"process {running.process.pid}" in done.stderr and "stemma down" in done.stderr


def test_a_run_is_shown_by_the_stacks_prefect_and_mlflow_beside_one_made_without(running: RunningStack):
    workspace = running.workspace
    done = workspace.run(*STEMMA, "run", "--name", "served", "--set", "counter.steps=25")
    assert "Note" not in done.stdout
    assert running.now.mlflow_uri in done.stdout  # where to look next
    (flow_run,) = running.prefect("/flow_runs/filter", {})
    assert (flow_run["state_type"], flow_run["parameters"]["run"]) == ("COMPLETED", "served")

    direct = f"sqlite:///{workspace.home / 'mlflow.db'}"
    for uri in (running.now.mlflow_uri, direct):
        assert _totals(uri) == {"alone": {"steps": 20}, "served": {"steps": 25}}
    for run_id in _run_ids(direct).values():  # as MLflow's page reads it
        query = urllib.parse.urlencode({"path": "report.json", "run_uuid": run_id})
        page = urllib.request.Request(f"{running.now.mlflow_uri}/get-artifact?{query}")
        page.add_header("Authorization", f"Bearer {running.tokens['mlflow']}")
        assert json.loads(_get(page))["steps"] in (20, 25)


def test_the_files_of_a_run_are_in_this_workspace_though_it_was_copied(running: RunningStack):
    """The run ``alone`` was made in another folder, of which this workspace is a copy."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=running.now.mlflow_uri)
    places = [client.get_run(run_id).info.artifact_uri for run_id in _run_ids(running.now.mlflow_uri).values()]
    assert len(places) == 2
    assert all(place.startswith((running.workspace.home / "mlartifacts").as_uri()) for place in places)


def _run_ids(uri: str) -> dict[str, str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("stemma")
    runs = client.search_runs([experiment.experiment_id], "tags.`stemma.stage` = 'counter'")
    return {run.data.tags["stemma.run"]: run.info.run_id for run in runs}


def _totals(uri: str) -> dict[str, dict]:
    """What each stage's run has kept as its report, read by MLflow's client."""
    from mlflow.artifacts import download_artifacts

    return {
        name: json.loads(
            Path(download_artifacts(run_id=run_id, artifact_path="report.json", tracking_uri=uri)).read_text()
        )
        for name, run_id in _run_ids(uri).items()
    }


def test_kill_9_of_each_service_is_healed(running: RunningStack):
    # Prefect alone first: the process that runs the deployments has to find it again. Then all the others at once.
    for names in (["prefect"], ["mlflow", "deployments", "gateway", "console"]):
        killed = {name: running.now.service(name).pid for name in names}
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)

        def healed(killed=killed) -> bool:
            now = running.now
            return now.healthy and all(now.service(name).pid != pid for name, pid in killed.items())

        wait_until(healed, 300, f"{', '.join(names)} started again")
    restarts = {service.name: service.restarts for service in running.now.services}
    assert restarts.pop("deployments") >= 1
    assert restarts == {"prefect": 1, "mlflow": 1, "gateway": 1, "console": 1}, log_of(running.workspace)
    assert len(running.prefect("/flow_runs/filter", {})) == 1, "Prefect has its memory back"
    assert _run_ids(running.now.mlflow_uri).keys() == {"alone", "served"}


def test_the_console_starts_a_run_in_its_stack(running: RunningStack):
    console = running.now.service("console").url
    headers = {"Authorization": f"Bearer {running.tokens['console']}", "Origin": console}
    asked = urllib.request.Request(f"{console}/runs/start", b"deployment=retrain", headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert "retrain starts" in answer.read().decode()
    tags = [run["tags"] for run in running.prefect("/flow_runs/filter", {})]
    assert [each for each in tags if any(tag.startswith("by ") for tag in each)]


def test_kill_9_of_the_supervisor_leaves_no_process(running: RunningStack):
    assert len(processes_of(running.workspace)) >= len(SERVICES) + 2
    os.kill(running.process.pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(running.workspace), 60, "the end of every process")
    assert state.read(running.workspace.home) is None
    assert "No stack runs here" in running.workspace.run(*STEMMA, "down").stdout


def test_taken_ports_are_told_with_their_holders_all_at_once_and_nothing_is_started(made, tmp_path):
    other = made.copy_to(tmp_path / "other")
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        taken = [listener.getsockname()[1] for listener in (first, second)]
        options = ("--prefect-port", str(taken[0]), "--mlflow-port", str(taken[1]), "--artifacts", "ftp://x")
        done = other.run(*STEMMA, "up", *options, check=False)
    assert done.returncode == 2
    for option, port in (("--prefect-port", taken[0]), ("--mlflow-port", taken[1])):
        assert f"{option} {port} is taken by process {os.getpid()} (" in done.stderr
    assert "--artifacts ftp://x" in done.stderr
    assert not (other.home / "logs").exists() and not (other.home / "storage.json").exists()


def test_beyond_loopback_nothing_starts_without_tokens(made, tmp_path):
    other = made.copy_to(tmp_path / "other")
    done = other.run(*STEMMA, "up", "--host", "0.0.0.0", check=False)
    assert done.returncode == 2
    for name in (
        "PREFECT_SERVER_API_AUTH_STRING",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "STEMMA_API_KEYS",
    ):
        assert name in done.stderr
    assert not processes_of(other)

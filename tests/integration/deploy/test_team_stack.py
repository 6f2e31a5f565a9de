"""``deploy/compose.yaml`` without containers: its services' commands as plain processes, in the environment it gives.

PostgreSQL is real and asks for the password; the S3 store is moto's server. Names of containers become addresses here.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
import pytest

from core.keys import public_key_of
from core.network import free_port
from deploy.backup.postgresql import program
from deploy.docker import make_secrets
from tests.integration.deploy.conftest import Server
from tests.team_stack import command_of, load_compose
from tests.workspace import make_workspace, wait_until

ROOT = Path(__file__).resolve().parents[3]
ENTRYPOINT = [sys.executable, "-m", "deploy.docker.workspace"]  # of the image that the last three share
ON_THE_VOLUME = ("registry", "worker", "gateway", "backup")
NO_ACCOUNTS = {f"{name}_S3_SECRET_KEY": "" for name in make_secrets.ACCOUNTS}  # the store here has none to be made


@dataclass
class Team:
    """The stack's services as processes."""

    folder: Path
    secrets: dict[str, str]
    ports: dict[str, int]
    server: Server
    storage: str
    services: dict[str, dict]
    running: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.folder / "data" / "workspace"

    @property
    def passwords(self) -> list[str]:
        """What no log, address or command line may show."""
        return [value.rpartition(":")[2] for name, value in self.secrets.items() if name != "S3_ACCESS_KEY"]

    def here(self, text: str) -> str:
        """An address between containers as one on this machine."""
        for name, port in self.ports.items():
            inside = {"prefect": 4200, "mlflow": 5000, "gateway": 8000}[name]
            text = text.replace(f"{name}:{inside}", f"127.0.0.1:{port}").replace(f":{inside}", f":{port}")
        text = text.replace("http://storage:7070", self.storage).replace(
            "@postgres/", f"@127.0.0.1:{self.server.port}/"
        )
        return text.replace("/keys/", f"{self.folder}/keys/")

    def environment(self, service: str, **more: str) -> dict[str, str]:
        """What the service has in its container, and nothing of this process's but where its programs are."""
        given = {name: self.here(str(value)) for name, value in self.services[service]["environment"].items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        image = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), "DO_NOT_TRACK": "1"}
        if service in ON_THE_VOLUME:
            image |= {"STEMMA_WORKSPACE": str(self.workspace), "DVC_SITE_CACHE_DIR": str(self.folder / "dvc-site")}
        if service == "prefect":
            image |= {"PREFECT_HOME": str(self.folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        if service == "mlflow":
            image |= {"STEMMA_HOME": str(self.folder / "mlflow"), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        return {**image, **{name: value for name, value in given.items() if value}, **more}

    def command(self, service: str) -> list[str]:
        words = [{"python": sys.executable}.get(word, word) for word in command_of(self.services[service])]
        if service in self.ports:
            words[words.index("--port") + 1] = str(self.ports[service])
        return [*(ENTRYPOINT if service in ON_THE_VOLUME else ()), *words]

    def run(self, service: str, *command: str, code: int = 0, **more: str) -> str:
        """A command to its end in the service's environment; its own command where none is given."""
        words = [*ENTRYPOINT, *command] if command and service in ON_THE_VOLUME else list(command)
        done = subprocess.run(
            words or self.command(service), env=self.environment(service, **more), cwd=self.folder, text=True,
            capture_output=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def make_databases(self) -> None:
        """What PostgreSQL's container does at its first start, as its administrator."""
        given = {name: str(value) for name, value in self.services["postgres"]["environment"].items()}
        administrator = {"PGHOST": "127.0.0.1", "PGPORT": str(self.server.port), "PGUSER": "stemma",
                         "PGPASSWORD": self.server.password, "PGDATABASE": "postgres"}  # fmt: skip
        script = ROOT / "deploy" / "k8s" / "base" / "databases.sql"
        subprocess.run([program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={script}"],
                       env={**os.environ, **given, **administrator}, check=True)  # fmt: skip

    def connect(self, service: str, database: str) -> psycopg.Connection:
        """The database as a service of the stack reaches it."""
        user = {"worker": "registry"}.get(service, service)
        return psycopg.connect(
            host="127.0.0.1", port=self.server.port, dbname=database, user=user, autocommit=True,
            password=self.services[service]["environment"]["PGPASSWORD"],
        )  # fmt: skip

    def start(self, service: str) -> None:
        with open(self.folder / f"{service}.log", "w") as log:
            self.running[service] = subprocess.Popen(
                self.command(service), env=self.environment(service), cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def url(self, service: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    def wait(self, service: str, condition) -> Any:
        def look() -> Any:
            log = (self.folder / f"{service}.log").read_text()
            assert self.running[service].poll() is None, f"{service} ended:\n{log[-4000:]}"
            return condition()

        return wait_until(look, timeout=240, what=f"{service} is well")


def ask(url: str, body: dict | None = None, **headers: str) -> tuple[int, Any]:
    """(status, answer)"""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
            return answer.status, json.loads(text) if text[:1] in "{[" else text
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, None


def basic(user_and_password: str) -> str:
    return f"Basic {base64.b64encode(user_and_password.encode()).decode()}"


@pytest.fixture(scope="module")
def team(server: Server, storage: str, tmp_path_factory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    repository = make_workspace(folder / "repository")
    secrets = {**make_secrets.generate(), "POSTGRES_PASSWORD": server.password}
    values = {**secrets, "STEMMA_WORKSPACE_REPOSITORY": str(repository.root)}
    ports = {name: free_port() for name in ("prefect", "mlflow", "gateway")}
    team = Team(folder, secrets, ports, server, storage, load_compose(values)["services"])
    team.make_databases()
    (folder / "mlflow").mkdir()
    try:
        team.run("buckets", **NO_ACCOUNTS)
        team.run("registry")
        for service in ("prefect", "mlflow"):
            team.start(service)
        team.wait("mlflow", lambda: ask(team.url("mlflow", "/health"))[0] == 200)
        team.wait("prefect", lambda: ask(team.url("prefect", "/api/health"))[0] == 200)
        for service in ("worker", "gateway"):  # both make the workspace ready; one waits for the other
            team.start(service)
        team.wait("gateway", lambda: ask(team.url("gateway", "/health"))[0] == 200)
        team.wait("worker", lambda: deployments(team))
        yield team
    finally:
        for process in team.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        for process in team.running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def deployments(team: Team) -> list[str]:
    status, found = ask(
        team.url("prefect", "/api/deployments/filter"), {}, Authorization=basic(team.secrets["PREFECT_AUTH"])
    )
    return sorted(each["name"] for each in found) if status == 200 else []


def test_prefect_wants_its_password_and_knows_the_deployments(team):
    assert ask(team.url("prefect", "/api/flows/filter"), {})[0] == 401
    assert ask(team.url("prefect", "/api/flows/filter"), {}, Authorization=basic("admin:wrong"))[0] == 401
    assert "lifecycle" in deployments(team)
    with team.server.connect("prefect") as connection:
        assert connection.execute("SELECT count(*) > 0 FROM deployment").fetchone() == (True,)


def test_mlflow_wants_a_password_refuses_strange_hosts_and_keeps_its_files_on_s3(team):
    experiments = team.url("mlflow", "/api/2.0/mlflow/experiments/search")
    admin = basic(f"admin:{team.secrets['MLFLOW_ADMIN_PASSWORD']}")
    assert ask(experiments, {"max_results": 5})[0] == 401
    assert ask(experiments, {"max_results": 5}, Authorization=admin)[0] == 200
    assert ask(experiments, {"max_results": 5}, Authorization=admin, Host="evil.example:5000")[0] == 403
    script = (
        "import mlflow\n"
        "mlflow.set_experiment('team')\n"
        "with mlflow.start_run(): mlflow.log_metric('loss', 1.5); mlflow.log_text('a figure', 'figure.txt')\n"
    )
    team.run("worker", sys.executable, "-c", script)
    client = boto3.client("s3", endpoint_url=team.storage, region_name="us-east-1", aws_access_key_id="k",
                          aws_secret_access_key="s")  # fmt: skip
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert [key for key in keys if key.endswith("artifacts/figure.txt")]
    with team.server.connect("mlflow") as connection:
        assert connection.execute("SELECT value FROM metrics WHERE key = 'loss'").fetchall() == [(1.5,)]


def test_a_service_reaches_its_own_database_and_no_other(team):
    for service, own in {"prefect": "prefect", "mlflow": "mlflow", "worker": "registry", "gateway": "registry"}.items():
        team.connect(service, own).close()
        for other in {"prefect", "mlflow", "registry"} - {own}:
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                team.connect(service, other)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=team.server.port, dbname="registry", user="gateway", password="wrong")


def test_the_gateway_records_what_it_deploys_and_cannot_promote(team):
    with team.connect("gateway", "registry") as connection:
        for statement in ("DELETE FROM promotions", "UPDATE model_versions SET id = 1", "DROP TABLE promotions",
                          "INSERT INTO signatures DEFAULT VALUES", "DELETE FROM deployments"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        assert connection.execute("SELECT count(*) FROM promotions").fetchone() == (0,)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):  # and not a matter of rights
            columns = "(name, version_id, state, started) VALUES ('x', 1, 'STARTING', 1)"
            connection.execute(f"INSERT INTO deployments {columns}")
        connection.execute("UPDATE deployments SET state = 'STOPPED'")


def test_the_signing_key_is_made_once_where_promotions_happen_and_trusted_by_all(team):
    key, trusted = team.folder / "keys" / "own" / "signing.pem", team.workspace / ".stemma" / "keys" / "trusted"
    assert key.stat().st_mode & 0o777 == 0o600 and "STEMMA_SIGNING_KEY" not in team.environment("gateway")
    assert [public_key_of(key)] == [path.read_text() for path in trusted.iterdir()]
    assert not (trusted.parent / "signing.pem").exists()


def test_the_gateway_listens_without_a_champion_and_wants_a_key(team):
    status, health = ask(team.url("gateway", "/health"))
    assert status == 200 and health
    assert ask(team.url("gateway", "/v1/models"))[0] == 401
    key = team.secrets["STEMMA_API_KEYS"].partition(":")[2]
    assert ask(team.url("gateway", "/v1/models"), Authorization=f"Bearer {key}")[0] == 200
    refused = team.run("gateway", *team.command("gateway")[len(ENTRYPOINT) :], code=2, STEMMA_API_KEYS="")
    assert "no API keys" in refused


def test_the_containers_tell_whether_they_are_well(team):
    check = team.services["worker"]["healthcheck"]["test"][1:]
    team.run("worker", *(sys.executable if word == "python" else word for word in check))
    health = (sys.executable, "-m", "deploy.docker.health")
    team.run("gateway", *health, "gateway", STEMMA_HEALTH_URL=team.url("gateway", "/health"))
    unwell = team.run("worker", *health, "deployments", code=1, PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api")
    assert unwell.startswith("deployments: ")


def test_a_server_without_its_secrets_does_not_start(team):
    """MLflow makes no account whose password nobody chose."""
    words = team.command("mlflow")
    words[words.index("--port") + 1] = str(free_port())
    refused = team.run("mlflow", *words, code=1, MLFLOW_FLASK_SERVER_SECRET_KEY="")
    assert "MLFLOW_FLASK_SERVER_SECRET_KEY" in refused


def test_the_workspace_is_a_clone_and_its_bytes_go_to_the_store(team):
    git = subprocess.run(["git", "-C", str(team.workspace), "status", "--porcelain"], capture_output=True, text=True)
    assert (git.returncode, git.stdout) == (0, "")
    assert not (team.workspace / ".stemma" / "workspace.partial").exists()
    (team.workspace / "data" / "raw").mkdir(parents=True, exist_ok=True)
    (team.workspace / "data" / "raw" / "letters.txt").write_text("a letter\n")
    dvc = (sys.executable, "-m", "dvc")
    team.run("worker", *dvc, "add", "-q", "data/raw")
    team.run("worker", *dvc, "push", "-q")
    (digest,) = [
        line.split()[-1] for line in (team.workspace / "data" / "raw.dvc").read_text().splitlines() if " md5: " in line
    ]
    client = boto3.client("s3", endpoint_url=team.storage, region_name="us-east-1", aws_access_key_id="k",
                          aws_secret_access_key="s")  # fmt: skip
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="dvc")["Contents"]]
    assert f"files/md5/{digest[:2]}/{digest[2:]}" in keys


def test_a_kubernetes_work_pool_is_registered_with_its_job_template(team):
    template = str(ROOT / "deploy" / "k8s" / "base" / "job-template.json")
    register = (sys.executable, "-m", "deploy.k8s.register", template)
    team.run("worker", *register, STEMMA_JOB_GPUS="2", STEMMA_JOB_IMAGE="example.org/stemma:1-cuda")
    status, pool = ask(team.url("prefect", "/api/work_pools/stemma"), Authorization=basic(team.secrets["PREFECT_AUTH"]))
    assert status == 200 and pool["type"] == "kubernetes"
    variables = pool["base_job_template"]["variables"]["properties"]
    assert variables["gpus"]["default"] == 2 and variables["image"]["default"] == "example.org/stemma:1-cuda"
    path = "/api/v2/concurrency_limits/train"
    status, limit = ask(team.url("prefect", path), Authorization=basic(team.secrets["PREFECT_AUTH"]))
    assert status == 200 and limit["limit"] == 1


def test_the_backup_of_the_three_databases_restores_into_empty_ones(team, tmp_path):
    backups = tmp_path / "backups"
    words = [{"/backups": str(backups)}.get(word, word) for word in command_of(team.services["backup"])]
    told = team.run("backup", *words)
    for name in ("registry", "mlflow", "prefect"):
        assert f"{name}: postgresql" in told
        with team.server.connect() as connection:
            connection.execute(f"CREATE DATABASE restored_{name} OWNER {name}")
            connection.execute(f"ALTER ROLE backup IN DATABASE restored_{name} SET role = '{name}'")
    there = f"backup@127.0.0.1:{team.server.port}"
    new = {
        "STEMMA_REGISTRY_URL": f"postgresql://{there}/restored_registry",
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://{there}/restored_mlflow",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{there}/restored_prefect",
        "STEMMA_WORKSPACE": str(tmp_path / "workspace"),
        "STEMMA_DVC_REMOTE": "",
    }
    (key,) = re.findall(r"signed by key (\w{64})", told)
    told = team.run("backup", "stemma", "backup", "restore", str(backups), "--signed-by", key, **new)
    assert "Restored the back-up of" in told
    for name, query in {
        "prefect": "SELECT array_agg(name ORDER BY name) FROM deployment",
        "mlflow": "SELECT array_agg(username) FROM users",
        "registry": "SELECT version_num FROM alembic_version",
    }.items():
        with team.server.connect(name) as old, team.server.connect(f"restored_{name}") as restored:
            assert old.execute(query).fetchone() == restored.execute(query).fetchone() != (None,)
            owners = restored.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
            assert owners.fetchall() == [(name,)], "the service can use what was restored"


def test_no_secret_is_on_a_command_line_in_a_log_or_on_the_volume(team):
    for process in team.running.values():
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        lines = " ".join(word for each in family for word in each.cmdline())
        assert not [secret for secret in team.passwords if secret in lines]
    for path in team.folder.rglob("*"):
        if path.is_file() and path.name != "mlflow-accounts.ini":
            content = path.read_bytes()
            assert not [secret for secret in team.passwords if secret.encode() in content], path

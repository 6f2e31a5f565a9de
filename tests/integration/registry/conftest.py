"""A real workspace (git, DVC, MLflow on SQLite) with three quick stages that leave real receipts; both databases."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from core import dvc
from core.workspace import Workspace
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from tests import warm_python
from tests.made_once import made_once
from tests.workspace import init_dvc

STAGES = Path(__file__).parent / "stages.py"
DECODER = Path(__file__).parents[2] / "tiny_decoder.py"
Prepared = Callable[[str, str | None], Path]

PIPELINE = """
stages:
  curate:
    cmd: exec python stages.py curate
    deps: [data/raw, stages.py]
    params: [seed, curate]
    outs: [data/corpus]
    metrics: [receipts/curate.json: {cache: false}]
  pretrain:
    cmd: exec python stages.py pretrain
    deps: [data/corpus, stages.py]
    params: [seed, pretrain]
    outs: [models/base]
    metrics: [receipts/pretrain.json: {cache: false}]
  evaluate:
    foreach: [base]
    do:
      cmd: exec python stages.py evaluate@${item}
      deps: ["models/${item}", data/corpus, stages.py]
      params: [evaluate]
      outs: ["reports/evaluate-${item}"]
      metrics: ["receipts/evaluate-${item}.json": {cache: false}]
"""

PARAMETERS = """seed: 1
curate: {keep: 10}
pretrain: {quality: 0.8, weights: safetensors}
evaluate: {limit: 100}
promotion:
  base:
    accuracy: {min: 0.5, max_drop: 0.0}
"""


@dataclass
class Project:
    """A workspace that tests drive as a user would."""

    root: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace.find(self.root)

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, check=check, capture_output=True, text=True, env={**os.environ, **env}
        )

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments).stdout.strip()

    def dvc(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = warm_python.run("dvc", arguments, cwd=self.root, env={**os.environ, **env})
        assert done.returncode == 0, f"dvc {arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def stemma(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return warm_python.run("cli", arguments, cwd=self.root, env=os.environ)

    def repro(self, run: str | None = None, *, tracked: tuple[str, ...] = (), **env: str) -> None:
        """A real ``dvc repro``; ``run`` names the pipeline run, as the flow does by an environment variable.

        Args:
            tracked: stages that will be executed, each with an MLflow run of its own under the pipeline run's.
        """
        named = {"TEST_RUN": run} if run else {}
        with mlflow_runs(self.root, run, tracked) as runs:
            self.dvc("repro", "-q", **named, TEST_MLFLOW=json.dumps(runs), **env)

    def set(self, old: str, new: str) -> None:
        """Edit ``params.yaml``."""
        path = self.root / "params.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@contextlib.contextmanager
def mlflow_runs(root: Path, run: str | None, stages: tuple[str, ...]) -> Iterator[dict[str, dict[str, str]]]:
    """MLflow's runs of ``stages`` under the pipeline run's, as the harness makes them; described by the receipts after.

    Made by this process and not by the stages: importing MLflow takes far longer than such a stage.
    """
    if not stages:
        yield {}
        return
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    home = root / ".stemma"
    home.mkdir(exist_ok=True)
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    found = client.get_experiment_by_name("stemma")
    location = (home / "mlartifacts").as_uri()
    experiment = found.experiment_id if found else client.create_experiment("stemma", artifact_location=location)
    parent = client.create_run(experiment, tags={"stemma.pipeline_run": run}, run_name=run).info.run_id
    runs = {
        stage: {
            "run_id": client.create_run(
                experiment, tags={"stemma.stage": stage, "mlflow.parentRunId": parent}
            ).info.run_id,
            "experiment_id": experiment,
            "parent_run_id": parent,
        }
        for stage in stages
    }
    yield runs
    for stage, made in runs.items():
        receipt = json.loads((root / "receipts" / f"{stage.replace('@', '-')}.json").read_text())
        assert receipt["mlflow"] == made, f"{stage} was not executed"
        client.set_tag(made["run_id"], "stemma.fingerprint", receipt["fingerprint"])
        for name, value in receipt["parameters"].items():
            client.log_param(made["run_id"], name, value)
        client.set_terminated(made["run_id"])
    # The workspace is copied while this process holds the database open: all of it is to be in the one file.
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "STEMMA_HOME",
        "STEMMA_REGISTRY_URL",
        "MLFLOW_TRACKING_URI",
        "STEMMA_SIGNING_KEY",
        "STEMMA_TRUSTED_KEYS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setattr(dvc, "subprocess", SimpleNamespace(run=warm_python.run_line))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose pipeline ran once, as pipeline run ``first``; copied for each test. No registry yet."""

    def make(folder: Path) -> None:
        root = folder / "workspace"
        (root / "data" / "raw").mkdir(parents=True)
        (root / "data" / "raw" / "a.txt").write_text("the raw text\n")
        (root / "dvc.yaml").write_text(PIPELINE)
        (root / "params.yaml").write_text(PARAMETERS)
        (root / ".gitignore").write_text("/.stemma/\n/data/corpus\n/models/\n/reports/\n__pycache__/\n")
        shutil.copy(STAGES, root / "stages.py")
        shutil.copy(DECODER, root / "tiny_decoder.py")
        project = Project(root)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        project.git("init", "-q", "-b", "main")
        project.git("config", "user.name", "Ada")
        project.git("config", "user.email", "ada@example.org")
        init_dvc(root)
        project.git("add", ".")
        project.git("commit", "-qm", "A workspace")
        project.repro("first", tracked=("curate", "pretrain", "evaluate@base"), PATH=path, DVC_NO_ANALYTICS="true")

    return made_once(tmp_path_factory, "pipeline-ran-once", make) / "workspace"


@pytest.fixture
def project(made: Path, tmp_path: Path, registry_url: str | None, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the workspace of its own, on the database under test."""
    root = tmp_path / "workspace"
    shutil.copytree(made, root, symlinks=True)
    if registry_url is not None:
        monkeypatch.setenv("STEMMA_REGISTRY_URL", registry_url)
    return Project(root)


@pytest.fixture(scope="session")
def improved(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same workspace after a second pipeline run, ``second``, with a better model of the same data."""

    def make(folder: Path) -> None:
        project = Project(shutil.copytree(made, folder / "workspace", symlinks=True))
        project.set("quality: 0.8", "quality: 0.95")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        project.repro("second", tracked=("pretrain", "evaluate@base"), PATH=path, DVC_NO_ANALYTICS="true")

    return made_once(tmp_path_factory, "pipeline-ran-twice", make) / "workspace"


@pytest.fixture
def two_versions(
    prepared: Prepared, tmp_path: Path, registry_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A workspace whose registry knows base:1 (0.8) and base:2 (0.95); nothing is promoted yet."""
    return copy_of("known", prepared, tmp_path, registry_url, monkeypatch)


def know_both(project: Project, made: Path, improved: Path) -> Project:
    """Sync a copy of ``improved`` with its first run, then with its second."""
    for source, run in ((made, "first"), (improved, "second")):
        for name in ("dvc.lock", "params.yaml"):
            shutil.copy(source / name, project.root / name)
        for name in ("receipts", "models", "reports", "data/corpus"):
            shutil.rmtree(project.root / name)
            shutil.copytree(source / name, project.root / name)
        sync(project.workspace, run=run)
    return project


@pytest.fixture(scope="session")
def prepared(made: Path, improved: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A function that makes what tests take copies of, once on each database.

    ``known``: the registry knows base:1 and base:2; ``judged``: one and then the other became champion. Its second
    argument is the PostgreSQL server, on which the database has the state's name, or ``None`` for SQLite in the
    workspace's home.
    """

    def make(state: str, server: str | None, folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
            for name in ("STEMMA_REGISTRY_URL", "MLFLOW_TRACKING_URI"):
                patched.delenv(name, raising=False)
            before = improved if state == "known" else prepare("known", server)
            project = Project(shutil.copytree(before, folder / "workspace", symlinks=True))
            if server is not None:
                create_database(server, state, template=None if state == "known" else "known")
                patched.setenv("STEMMA_REGISTRY_URL", f"{server}/{state}")
            know_both(project, made, improved) if state == "known" else promote_both(project)

    @functools.cache
    def prepare(state: str, server: str | None) -> Path:
        fill = functools.partial(make, state, server)
        if server is None:
            return made_once(tmp_path_factory, state, fill) / "workspace"
        folder = tmp_path_factory.mktemp(state)  # a server is one process's own
        fill(folder)
        return folder / "workspace"

    return prepare


def copy_of(
    state: str, prepared: Prepared, folder: Path, registry_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A workspace of its own in ``folder`` with a copy of the prepared registry at ``registry_url``."""
    server = None
    if registry_url is not None:
        server, _, name = registry_url.rpartition("/")
        monkeypatch.setenv("STEMMA_REGISTRY_URL", registry_url)
    root = shutil.copytree(prepared(state, server), folder / "workspace", symlinks=True)
    if server is not None:
        create_database(server, name, template=state)
    return Project(root)


def create_database(server: str, name: str, template: str | None = None) -> None:
    """A new database, or in the place of an empty one a copy of another."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        if template is None:
            connection.execute(f"CREATE DATABASE {name}")
            return
        # Those who made it may keep connections open, and then it cannot be copied.
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [template])
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")


@pytest.fixture
def promoted(prepared: Prepared, tmp_path: Path, registry_url: str | None, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A workspace of its own in which base:1 and then base:2 became champion, on the database under test."""
    return copy_of("judged", prepared, tmp_path, registry_url, monkeypatch)


def promote_both(project: Project) -> Project:
    for version in (1, 2):
        promote(project.workspace, f"base:{version}", "champion", "better", "Ada")
    return project


@pytest.fixture(scope="session")
def collected(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models of raw data in DVC: ``base:1`` of {a}, ``base:2`` of {a, b}, ``base:3`` of {changed a, b}."""
    from registry.lineage.sync import sync

    root = tmp_path_factory.mktemp("collected") / "workspace"
    shutil.copytree(made, root, symlinks=True)
    project = Project(root)
    project.git("rm", "-r", "-q", "--cached", "data/raw")
    raw = root / "data" / "raw"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name, write in {
        "first": lambda: None,
        "second": lambda: (raw / "b.txt").write_text("more raw text\n"),
        "third": lambda: (raw / "a.txt").write_text("the raw text, corrected\n"),
    }.items():
        write()
        project.dvc("add", "-q", "data/raw")
        project.dvc("repro", "-q", TEST_RUN=name, PATH=path)
        sync(project.workspace, run=name, update_mlflow=False)
    return root


@pytest.fixture
def grown(collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of :func:`collected` of its own, on SQLite, and the current folder."""
    root = tmp_path / "grown"
    shutil.copytree(collected, root, symlinks=True)
    monkeypatch.chdir(root)
    return Project(root)


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest) -> str | None:
    """``None`` for SQLite in the workspace's home, else a fresh PostgreSQL database."""
    if request.param == "sqlite":
        return None
    server: str = request.getfixturevalue("postgresql")
    name = f"stemma_{uuid.uuid4().hex}"
    create_database(server, name)
    return f"{server}/{name}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a throwaway PostgreSQL cluster, without a database name."""
    program = shutil.which("pg_ctl") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), default=None)
    if program is None:
        pytest.fail("PostgreSQL is needed for these tests: apt-get install postgresql (or brew install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="stemma-postgresql-"))  # pytest's own folders are closed to other accounts
    as_owner: tuple[str, ...] = ()
    if os.geteuid() == 0:  # the server refuses to run as root
        as_owner = ("runuser", "-u", "postgres", "--")
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def control(*arguments: str) -> None:
        command = (*as_owner, program, "-D", str(folder / "data"), "-s", *arguments)
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off -c shared_buffers=16MB"
    control("initdb", "-o", "--auth=trust -U stemma")
    control("start", "-w", "-l", str(folder / "log"), "-o", options)
    try:
        yield f"postgresql://stemma@127.0.0.1:{port}"
    finally:
        control("stop", "-m", "immediate")
        shutil.rmtree(folder, ignore_errors=True)


def live(project: Project) -> None:
    """Three generations of a model, and half a run between them whose corpus no model was trained on.

    Runs ``first`` (base:1), ``second`` (base:2, another parameter), ``half``, ``third`` (base:3, other raw data).
    """
    from registry.lineage.sync import sync

    def run(name: str, *stages: str, tracked: tuple[str, ...] = ()) -> None:
        with mlflow_runs(project.root, name, tracked) as runs:
            project.dvc("repro", "-q", *stages, TEST_RUN=name, TEST_MLFLOW=json.dumps(runs))
        assert sync(project.workspace, run=name, stages=stages or None, update_mlflow=False).problems == []

    assert sync(project.workspace, run="first", update_mlflow=False).versions == ["base:1"]
    project.set("quality: 0.8", "quality: 0.9")
    run("second")
    project.set("keep: 10", "keep: 13")
    run("half", "curate", tracked=("curate",))
    project.set("keep: 13", "keep: 10")
    (project.root / "data" / "raw" / "b.txt").write_text("more raw text\n")
    run("third")


@pytest.fixture(scope="session")
def lived(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace after :func:`live`, its registry on SQLite; copied for each test."""
    root = tmp_path_factory.mktemp("lived") / "workspace"
    shutil.copytree(made, root, symlinks=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patched.setenv("DVC_NO_ANALYTICS", "true")
        patched.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        live(Project(root))
    return root


@pytest.fixture
def generations(lived: Path, tmp_path: Path) -> Project:
    """Three generations of a model, in a workspace of their own, its registry on SQLite."""
    root = tmp_path / "workspace"
    shutil.copytree(lived, root, symlinks=True)
    return Project(root)

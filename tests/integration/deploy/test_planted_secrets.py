"""Secrets that are in the environment of a whole lifecycle are in nothing that it writes, and on nothing that it shows.

One workspace runs the flow to a promotion, with a registry on PostgreSQL, a Prefect server that asks for a password and
a webhook that nobody answers; in the other one a real stage runs under the harness and is told to MLflow.
"""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from core.network import free_port
from deploy.backup.postgresql import program
from tests.counter import install_counter
from tests.integration.flows.conftest import ToyWorkspace
from tests.integration.flows.conftest import make_workspace as make_toy_workspace
from tests.prefect_database import give
from tests.workspace import make_workspace

REMOTE = "a git remote with a token in its address"


@dataclass
class Planted:
    """Values that must not be found, by where they were planted; and the environment that holds them."""

    environment: dict[str, str]
    values: dict[str, str]

    @classmethod
    def make(cls) -> Planted:
        values = {
            name: f"planted{secrets.token_hex(12)}"
            for name in (
                "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD",
                "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", "HF_TOKEN", "PGPASSWORD",
                "PREFECT_API_AUTH_STRING", "STEMMA_API_KEYS", "STEMMA_WEBHOOK_URL", "OPENLINEAGE_API_KEY", REMOTE,
            )
        }  # fmt: skip
        environment = {name: value for name, value in values.items() if name.isupper()} | {
            "PREFECT_API_AUTH_STRING": f"admin:{values['PREFECT_API_AUTH_STRING']}",
            "PREFECT_SERVER_API_AUTH_STRING": f"admin:{values['PREFECT_API_AUTH_STRING']}",
            "STEMMA_API_KEYS": f"team:{values['STEMMA_API_KEYS']}",
            "STEMMA_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}/hooks/{values['STEMMA_WEBHOOK_URL']}",
        }
        # As HTTP sends a name and password.
        values["Authorization"] = base64.b64encode(environment["PREFECT_API_AUTH_STRING"].encode()).decode()
        return cls(environment, values)

    def in_(self, content: bytes) -> list[str]:
        return [name for name, value in self.values.items() if value.encode() in content]


@dataclass
class Written:
    """Everything that a workspace's commands wrote or showed: where, and what."""

    root: Path
    shown: dict[str, str] = field(default_factory=dict)

    def everything(self) -> Iterator[tuple[str, bytes]]:
        for command, text in self.shown.items():
            yield f"the output of {command}", text.encode()
        for path in self.root.rglob("*"):
            # git keeps a remote's address as it was given; its objects are compressed and read below.
            if path.is_file() and path.relative_to(self.root).parts[:2] not in (
                (".git", "config"),
                (".git", "objects"),
            ):
                yield str(path.relative_to(self.root)), path.read_bytes()
        command = ["git", "cat-file", "--batch-all-objects", "--batch"]
        objects = subprocess.run(command, cwd=self.root, capture_output=True, check=True).stdout
        yield "git's objects", objects

    def leaks(self, planted: Planted) -> list[str]:
        return [f"{name} in {where}" for where, content in self.everything() for name in planted.in_(content)]

    def mentions(self, text: str) -> set[str]:
        return {where for where, content in self.everything() if text.encode() in content}


@pytest.fixture(scope="module")
def planted(server) -> Planted:
    made = Planted.make()
    made.values["the registry's password"] = server.password
    made.environment["STEMMA_REGISTRY_URL"] = server.url("planted").replace("stemma@", f"stemma:{server.password}@")
    server.create("planted")
    return made


def run(root: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.nightly  # a whole run; a stage of it is below
def test_a_lifecycle_to_a_promotion_writes_and_shows_none(planted, server, tmp_path, prefect_database):
    make_toy_workspace(tmp_path / "ws")
    give(prefect_database, tmp_path / "ws" / ".stemma" / "prefect")
    toy = ToyWorkspace(tmp_path / "ws", tmp_path / "behave", None)
    yaml = YAML()
    body = yaml.load(toy.root / "params.yaml")
    body["notifications"] = {"webhook_variable": "STEMMA_WEBHOOK_URL"}
    yaml.dump(body, toy.root / "params.yaml")
    environment = {**toy.environment(), **planted.environment}
    run(toy.root, environment, "git", "remote", "add", "origin", f"https://bot:{planted.values[REMOTE]}@git.example/x")
    written = Written(toy.root)
    stemma = (sys.executable, "-m", "cli")
    verbs = ("run --name planted-run", "models", "trace assistant@champion")
    for verb in verbs:
        try:
            written.shown[verb] = run(toy.root, environment, *stemma, *verb.split())
        except AssertionError as failed:  # what a failure shows counts as well; only the first may not fail
            assert verb != verbs[0], failed
            written.shown[verb] = str(failed)
    dumped = subprocess.run(
        [program("pg_dump"), "--format=plain", server.url("planted")], capture_output=True, text=True, check=True,
        env={**environment, "PGPASSWORD": server.password},
    )  # fmt: skip
    written.shown["pg_dump"] = dumped.stdout

    # What is looked through holds what the run wrote.
    mentioned = written.mentions("planted-run")
    assert {"git's objects", "the output of pg_dump"} <= mentioned
    assert any(where.startswith(".stemma/prefect/prefect.db") for where in mentioned), "there, or in its log beside it"
    assert "Notification" in written.shown[
        "run --name planted-run"
    ] or ".stemma/prefect/server.log" in written.mentions("")
    assert written.leaks(planted) == []


def test_a_stage_under_the_harness_and_its_record_in_mlflow_hold_none(planted, tmp_path):
    workspace = make_workspace(tmp_path / "ws")
    install_counter(workspace)
    workspace.git("remote", "add", "origin", f"https://bot:{planted.values[REMOTE]}@git.example/x")
    environment = dict(planted.environment)
    del environment["STEMMA_REGISTRY_URL"]  # this one on SQLite
    written = Written(workspace.root)
    for module, *arguments in (("dvc", "repro", "-v"), ("cli", "sync")):
        done = workspace.run(sys.executable, "-m", module, *arguments, check=False, **environment)
        written.shown[" ".join((module, *arguments))] = done.stdout + done.stderr
        assert done.returncode == 0, written.shown
    mentioned = written.mentions("counter")
    assert {".stemma/mlflow.db", ".stemma/registry.db", "git's objects"} <= mentioned
    assert written.leaks(planted) == []


def test_what_is_planted_would_be_found(planted, tmp_path):
    """Compressed in git, in a database's file, in an output: the search sees each."""
    import sqlite3

    run(tmp_path, planted.environment | {"PATH": "/usr/bin:/bin"}, "git", "init", "-q")
    (tmp_path / "settings.txt").write_text(planted.values["HF_TOKEN"])
    run(tmp_path, {"PATH": "/usr/bin:/bin"}, "git", "add", "settings.txt")
    (tmp_path / "settings.txt").unlink()
    with sqlite3.connect(tmp_path / "kept.db") as connection:
        connection.execute("CREATE TABLE t (x TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", (planted.values["PGPASSWORD"],))
    written = Written(tmp_path, {"command": planted.values["Authorization"]})
    assert sorted(written.leaks(planted)) == [
        "Authorization in the output of command", "HF_TOKEN in git's objects", "PGPASSWORD in kept.db",
    ]  # fmt: skip

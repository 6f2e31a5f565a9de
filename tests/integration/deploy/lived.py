"""A workspace whose model was promoted, with all that a back-up takes; and the same on another machine."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from core import layout
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.db.references import current_aliases, resolve
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from tests.integration.registry.conftest import Project

REASON = "the first that works"


@pytest.fixture(scope="session")
def promoted(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A promoted model, its run's snapshot, and databases of Prefect and of sweeps (as commands leave in the home)."""
    root = tmp_path_factory.mktemp("promoted") / "workspace"
    shutil.copytree(made, root, symlinks=True)
    project = Project(root)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        sync(project.workspace, run="first", update_mlflow=False)
        promote(project.workspace, "base:1", "champion", REASON, "ada")
    prefect = project.workspace.home / "prefect" / "prefect.db"
    prefect.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(prefect) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE flow_run (name TEXT)")
        connection.execute("INSERT INTO flow_run VALUES ('first')")
    with sqlite3.connect(layout.sweeps_database(project.workspace.home)) as connection:
        connection.execute("CREATE TABLE studies (name TEXT)")
        connection.execute("INSERT INTO studies VALUES ('rates')")
    artifacts = project.workspace.home / "mlartifacts" / "1" / "figure.txt"
    artifacts.parent.mkdir(parents=True)
    artifacts.write_text("a figure")
    return root


@pytest.fixture
def lived(promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of that of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow's client sets it for its own process
    shutil.copytree(promoted, tmp_path / "workspace", symlinks=True)
    return Project(tmp_path / "workspace")


def elsewhere(project: Project, folder: Path) -> Workspace:
    """A clone on a new machine: code and branches, and neither databases, keys, snapshots nor bytes."""
    subprocess.run(["git", "clone", "-q", str(project.root), str(folder)], check=True)
    return Workspace.find(folder)


def holder(workspace: Workspace) -> tuple[str, str]:
    """(champion, who decided why) as the registry of ``workspace`` has it."""
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        (promotion,) = current_aliases(session)
        return str(resolve(session, "base@champion")), promotion.reason

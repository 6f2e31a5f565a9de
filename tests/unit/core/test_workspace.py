"""A workspace works wherever it lies: whatever signs its path holds, and with a proxy in the environment."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from core import environment
from core.errors import WorkspaceError
from core.workspace import Workspace, find_root, sqlite_path, sqlite_url


@pytest.mark.parametrize("name", ["plain", "100%", "a?b", "a b", "é#1", "x%20y?z=1&k"])
def test_sqlite_opens_the_file_that_was_meant(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    engine = create_engine(sqlite_url(folder / "some.db"))
    with engine.begin() as connection:
        connection.execute(text("create table t (a int)"))
    engine.dispose()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.db")] == [Path(name) / "some.db"]
    assert sqlite_path(make_url(sqlite_url(folder / "some.db"))) == folder / "some.db"
    assert sqlite_path(make_url("sqlite://")) is None


def test_it_is_found_from_any_folder_below(tmp_path, monkeypatch):
    monkeypatch.delenv("STEMMA_HOME", raising=False)
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match=r"no dvc\.yaml here or above"):
        find_root(tmp_path / "a" / "b")
    (tmp_path / "dvc.yaml").touch()
    with pytest.raises(WorkspaceError, match="not a git repository"):
        Workspace.find(tmp_path / "a")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert Workspace.find(tmp_path / "a" / "b") == Workspace(tmp_path, tmp_path / ".stemma")


def test_the_loopback_is_reached_without_the_proxy_of_the_environment(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    monkeypatch.setenv("no_proxy", "internal.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    child = environment.child_environment()
    monkeypatch.setenv("no_proxy", child["no_proxy"])
    monkeypatch.setenv("NO_PROXY", child["NO_PROXY"])
    assert urllib.request.proxy_bypass("127.0.0.1:4200") and urllib.request.proxy_bypass("localhost:5000")
    assert urllib.request.proxy_bypass("internal.example")
    assert not urllib.request.proxy_bypass("example.org")


def test_telemetry_is_off_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    child = environment.child_environment()
    assert child["DO_NOT_TRACK"] == "0" and child["MLFLOW_DISABLE_TELEMETRY"] == "true"

"""The signed history while several processes decide at once: each entry comes into git once, and no reader takes what
was decided beside it for a history that was lost."""

from __future__ import annotations

import subprocess

import pytest
from sqlalchemy import select

from core.workspace import Workspace, sqlite_url
from registry.db.database import open as open_registry
from registry.db.schema import SignedStatement
from registry.integrity import anchor, history, statements


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for name in ("STEMMA_SIGNING_KEY", "STEMMA_TRUSTED_KEYS", "STEMMA_HOME", "STEMMA_REGISTRY_URL"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return Workspace(tmp_path, tmp_path / ".stemma")


@pytest.fixture
def registry(workspace):
    with open_registry(sqlite_url(workspace.home / "registry.db")) as opened:
        yield opened


def begin(workspace, registry) -> None:
    with registry.write() as session:
        statements.begin(workspace, session)


def test_two_that_bring_the_same_entry_into_git_write_it_once(workspace, registry, monkeypatch):
    begin(workspace, registry)
    trusted_keys = anchor.trusted_keys

    def quicker(of):  # another process does it all while this one checks signatures
        monkeypatch.setattr(anchor, "trusted_keys", trusted_keys)
        assert anchor.extend(workspace, registry) is None
        return trusted_keys(of)

    monkeypatch.setattr(anchor, "trusted_keys", quicker)
    assert anchor.extend(workspace, registry) is None
    assert len(anchor.read(workspace.root)) == 1 and anchor.extend(workspace, registry) is None


def test_a_reader_that_began_before_the_newest_entry_misses_nothing(workspace, registry):
    with registry.read() as session:
        assert session.scalars(select(SignedStatement)).all() == []  # from here on it sees what was there now
        begin(workspace, registry)
        assert anchor.extend(workspace, registry) is None
        history.require(workspace, session)

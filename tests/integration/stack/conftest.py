"""A workspace of one quick stage, and PostgreSQL."""

from __future__ import annotations

import pytest

from tests.counter import install_counter
from tests.integration.registry.conftest import postgresql  # noqa: F401
from tests.workspace import Workspace, make_workspace


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Workspace:
    """A workspace of one quick stage that has run once, without any server. Not to be changed: copies are made."""
    workspace = make_workspace(tmp_path_factory.mktemp("made") / "workspace")
    install_counter(workspace)
    del workspace.environment["PYTHONDONTWRITEBYTECODE"]  # all services run this code
    workspace.dvc("repro", "-q", STEMMA_RUN="alone")
    return workspace

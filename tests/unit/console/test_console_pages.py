"""What the pages about comparisons and data show, and that they read nothing outside of the workspace."""

from __future__ import annotations

import os

import pytest
from fastapi.testclient import TestClient

from deploy.console.app import build
from deploy.console.console import Console, Gate
from deploy.gateway import api_keys
from deploy.gateway.api_keys import Keyring
from tests.unit.cli.test_compare import workspace  # noqa: F401  (a fixture)
from tests.unit.corpora.corpus import document, write
from tests.unit.registry.conftest import finished  # noqa: F401  (a fixture)


@pytest.fixture
def viewer(workspace, monkeypatch) -> TestClient:  # noqa: F811
    monkeypatch.delenv(api_keys.VARIABLE, raising=False)
    key = api_keys.add(workspace.home, "vera", "viewer")
    app = build(Console(workspace, Gate()), Keyring(workspace.home), "Ada")
    return TestClient(app, base_url="http://127.0.0.1:8001", headers={"Authorization": f"Bearer {key}"})


def test_two_versions_are_compared_item_by_item_and_by_what_made_them(viewer):
    page = viewer.get("/compare", params={"a": "assistant:1", "b": "assistant"})
    assert page.status_code == 200
    assert "accuracy: 12 of 40 items differ" in page.text and "version 2 says 0" in page.text
    assert "B is better than A" in page.text or "McNemar" in page.text
    assert viewer.get("/compare", params={"a": "made/x", "b": "assistant"}).status_code == 404  # the command reads it
    table = viewer.get("/evaluate", params={"model": "assistant"})
    assert "evaluate@assistant accuracy" in table.text and "0.8 ± 0.07" in table.text and "0.5 ± 0.07" in table.text


def test_a_page_reads_corpora_of_the_workspace_and_no_other_folder(viewer, workspace, tmp_path_factory):  # noqa: F811
    write(workspace.root / "texts", {"train": [document(f"secret {n}", f"f{n}") for n in range(4)]})
    page = viewer.get("/data/documents", params={"corpus": "texts", "phrase": "secret 3"})
    assert page.status_code == 200 and "<mark>secret 3</mark>" in page.text
    assert "f2" in viewer.get("/data/documents", params={"corpus": "texts"}).text
    assert "MIT" in viewer.get("/data", params={"corpus": "texts"}).text
    without = viewer.get("/data/card", params={"corpus": "texts"})
    assert without.status_code == 400 and "no report of curate" in without.text
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "texts"
    write(elsewhere, {"train": [document(f"secret {n}", f"f{n}") for n in range(4)]})
    (workspace.root / "link").symlink_to(elsewhere)
    for name in (str(elsewhere), "link", os.path.relpath(elsewhere, workspace.root)):
        for path in ("/data", "/data/documents", "/data/card"):
            answer = viewer.get(path, params={"corpus": name})
            assert answer.status_code in (400, 404) and "secret" not in answer.text, name

"""``stemma keys``."""

from __future__ import annotations

import subprocess

import pytest
from typer.testing import CliRunner

from cli.main import app
from deploy.gateway import api_keys


@pytest.fixture
def home(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(api_keys.VARIABLE, raising=False)
    monkeypatch.delenv("STEMMA_HOME", raising=False)
    return tmp_path / ".stemma"


def stemma(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_key_from_making_to_revoking(home):
    assert "No keys" in stemma("keys", "list")
    key = stemma("keys", "add", "laptop").split()[0]
    assert api_keys.match(api_keys.load(home), key).name == "laptop"
    listed = stemma("keys", "list")
    assert "laptop" in listed and key not in listed
    assert '"name": "laptop"' in stemma("keys", "list", "--json")
    stemma("keys", "add", "ada", "--role", "operator")
    assert [key.role for key in api_keys.load(home)] == [None, "operator"] and "operator" in stemma("keys", "list")
    stemma("keys", "revoke", "ada")
    assert "the last one: the gateway refuses every request" in stemma("keys", "revoke", "laptop")
    assert api_keys.load(home) == [] and "refuses every request" in stemma("keys", "list")
    with pytest.raises(api_keys.KeysProblem):
        stemma("keys", "revoke", "laptop")
    for verb in ("add", "list", "revoke"):
        assert "Usage" in stemma("keys", verb, "--help")

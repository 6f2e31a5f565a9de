"""An empty volume becomes a workspace, once, also when two containers start at the same moment or one was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.keys import public_key_of
from deploy.docker.workspace import make_signing_key, prepare


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "opt"
    (folder / "components").mkdir(parents=True)
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("")
    for name, text in {"dvc.yaml": "stages: {}\n", "params.yaml": "seed: 1\n", ".gitignore": "/.stemma/\n"}.items():
        (folder / name).write_text(text)
    (folder / "components" / "__pycache__").mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("STEMMA_WORKSPACE_REPOSITORY", raising=False)
    monkeypatch.delenv("STEMMA_DVC_REMOTE", raising=False)
    (tmp_path / "data" / ".stemma").mkdir(parents=True)
    return tmp_path / "data"


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def test_without_a_repository_it_is_a_copy_of_what_the_image_ships(shipped, root):
    prepare(root, shipped)
    assert git(root, "status", "--porcelain") == ""
    assert set(git(root, "ls-files").splitlines()) == {".dvc/config", ".gitignore", "dvc.yaml", "params.yaml"}
    first = git(root, "rev-parse", "HEAD")
    (root / "params.yaml").write_text("seed: 2\n")
    prepare(root, shipped)
    assert (root / "params.yaml").read_text() == "seed: 2\n" and git(root, "rev-parse", "HEAD") == first


def test_what_a_killed_start_left_is_done_again(shipped, root):
    (root / ".stemma" / "workspace.partial" / "half").mkdir(parents=True)
    (root / "components").mkdir()
    (root / "dvc.yaml").write_text("half")
    prepare(root, shipped)
    assert (root / "dvc.yaml").read_text() == "stages: {}\n"
    assert git(root, "status", "--porcelain") == "" and not (root / ".stemma" / "workspace.partial").exists()


def test_a_repository_that_cannot_be_cloned_is_told_and_ends_with_1(root, monkeypatch):
    monkeypatch.setenv("STEMMA_WORKSPACE", str(root))
    monkeypatch.setenv("STEMMA_WORKSPACE_REPOSITORY", str(root / "nowhere"))
    done = subprocess.run([sys.executable, "-m", "deploy.docker.workspace", "true"], capture_output=True, text=True)
    assert done.returncode == 1 and "nowhere" in done.stderr and not (root / ".git").exists()


def test_the_signing_key_is_made_once_and_a_lost_one_is_told(tmp_path):
    key, trusted = tmp_path / "keys" / "signing.pem", tmp_path / "trusted" / "containers.pem"
    make_signing_key(key, trusted)
    assert key.stat().st_mode & 0o777 == 0o600 and public_key_of(key) == trusted.read_text()
    made = key.read_bytes()
    make_signing_key(key, trusted)
    assert key.read_bytes() == made
    key.unlink()
    with pytest.raises(OSError, match="is gone"):
        make_signing_key(key, trusted)
    assert not key.exists()

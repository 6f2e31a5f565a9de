"""Snapshots hold the exact tree of a run and leave the user's own git as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.errors import WorkspaceError
from core.workspace import Workspace
from registry.store import secrets
from registry.store.snapshot import LARGE_BYTES, large_untracked, not_kept, snapshot

pytestmark = pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)


def state(project) -> tuple:
    index = (project.root / ".git" / "index").read_bytes()
    return project.git("status", "--porcelain"), project.git("rev-parse", "HEAD"), project.git("branch", "-a"), index


def test_uncommitted_edits_are_kept_and_nothing_moves(project):
    (project.root / ".gitignore").write_text(
        "/.stemma/\n/data/corpus\n/models/\nreports\n__pycache__\nreceipts/\ndvc.lock\n"
    )
    (project.root / "notes.txt").write_text("not added yet\n")
    project.git("add", "notes.txt")
    (project.root / "notes.txt").write_text("staged, then edited\n")
    project.git("status")  # lets git refresh its index before it is compared
    before = state(project)
    commit = snapshot(project.workspace, "first")
    assert state(project) == before
    kept = project.git("ls-tree", "-r", "--name-only", commit).splitlines()
    for name in (
        "dvc.lock",
        "dvc.yaml",
        "params.yaml",
        "receipts/pretrain.json",
        "receipts/evaluate-base.json",
        "notes.txt",
    ):
        assert name in kept
    assert not [name for name in kept if name.startswith(("models/", ".stemma/", "data/corpus"))]
    assert project.git("show", f"{commit}:notes.txt") == "staged, then edited"
    assert project.git("rev-parse", "refs/stemma/runs/first") == commit
    assert project.git("rev-parse", f"{commit}^") == project.git("rev-parse", "HEAD")


def test_same_tree_same_commit_other_tree_keeps_the_first(project):
    first = snapshot(project.workspace, "run")
    assert snapshot(project.workspace, "run") == first
    (project.root / "notes.txt").write_text("more\n")
    second = snapshot(project.workspace, "run")
    assert first in project.git("rev-list", "--parents", "-1", second).split()[1:]


def test_without_any_commit_or_identity(tmp_path, registry_url, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    root = tmp_path / "young"
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    commit = snapshot(Workspace.find(root), "first")
    shown = subprocess.run(["git", "-C", str(root), "log", "--format=%an %P", commit], capture_output=True, text=True)
    assert shown.stdout.strip() == "stemma"


def test_two_processes_at_once(project):
    code = (
        "from registry.store.snapshot import snapshot; from core.workspace import Workspace; "
        "print(snapshot(Workspace.find(), 'r'))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=project.root, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    commits = {process.communicate()[0].strip() for process in started}
    assert commits == {project.git("rev-parse", "refs/stemma/runs/r")}


def test_names_that_git_cannot_keep(project):
    with pytest.raises(WorkspaceError, match="cannot name a run"):
        snapshot(project.workspace, "two words..")


def test_worktrees_share_the_home(project):
    project.git("worktree", "add", "-q", str(project.root.parent / "other"))
    other = Workspace.find(project.root.parent / "other" / "data")
    assert other.root == project.root.parent / "other"
    assert other.home == project.workspace.home == project.root / ".stemma"
    snapshot(other, "isolated")
    assert project.git("rev-parse", "refs/stemma/runs/isolated")


def test_what_is_no_workspace(tmp_path, registry_url):
    with pytest.raises(WorkspaceError, match=r"no dvc\.yaml here or above"):
        Workspace.find(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(WorkspaceError, match="git init"):
        Workspace.find(tmp_path)


def test_keys_and_large_untracked_files_stay_out(project, monkeypatch):
    monkeypatch.setenv("STEMMA_HOME", str(project.root / "own" / "home"))
    (project.root / "own" / "home" / "keys").mkdir(parents=True)
    (project.root / "own" / "home" / "keys" / "signing.pem").write_text("secret")
    with open(project.root / "corpus [all].jsonl", "wb") as file:
        file.truncate(LARGE_BYTES + 1)
    commit = snapshot(project.workspace, "first")
    kept = project.git("ls-tree", "-r", "--name-only", "-z", commit).split("\0")
    assert not [name for name in kept if name.startswith(("own", "corpus"))]
    assert large_untracked(project.root) == ["corpus [all].jsonl"]


def test_a_model_that_dvc_keeps_as_the_parent_is_not_missing(project):
    folder, parent = project.root / "their-model", project.root / "models" / "parent"
    for place in (folder, parent):
        place.mkdir(parents=True)
        with open(place / "model.safetensors", "wb") as file:
            file.truncate(LARGE_BYTES + 1)
    (project.root / "models" / "parent.dvc").write_text("meta: {init: their-model, source: their-model}\nouts: []\n")
    assert large_untracked(project.root) == ["their-model/model.safetensors"]
    assert not_kept(project.root) == []
    with open(folder / "model.safetensors", "ab") as file:
        file.write(b"changed since")
    assert not_kept(project.root) == ["their-model/model.safetensors"]


SECRETS = {  # assembled here, so that no scanner of this repository's own takes them for real ones
    ".env": "DATABASE_URL=anything",
    "deploy/service-account.json": '{"type": "service_account"}',
    "keys/id_ed25519": "anything",
    ".aws/credentials": "anything",
    "notes.txt": "it is AKIA" + "IOSFODNN7EXAMPLQ, in the third account",
    "connect.py": "connect(\n    password=" + '"hunter2' + 'hunter2"\n)\n',
    "run.sh": "curl -H 'Authorization: gh" + "p_0123456789abcdefghijABCDEFGHIJ012345'\n",
    "long.txt": "a line of a text\n" * 20_000 + "-----BEGIN RSA " + "PRIVATE KEY-----\n",
}
HARMLESS = {
    "model.py": "import secrets\n\nsecret = read_secret()\npassword = os.environ['PASSWORD']\n",
    ".env.example": "PASSWORD=\n",
    "id_rsa.pub": "ssh-rsa AAAA",
    "digests.txt": "5d41402abc4b2a76b9719d911017c592\n" * 20,
}


def test_what_appears_after_it_was_looked_for_secrets_is_in_no_snapshot(project, monkeypatch):
    find = secrets.find
    (project.root / ":odd *.txt").write_text("a name that git takes for a pattern\n")

    def beside_an_editor(*arguments):
        found = find(*arguments)
        (project.root / ".env").write_text("TOKEN=hunter2\n")
        return found

    monkeypatch.setattr(secrets, "find", beside_an_editor)
    kept = project.git("ls-tree", "-r", "--name-only", snapshot(project.workspace, "first"))
    assert ".env" not in kept and ":odd *.txt" in kept


def test_untracked_secrets_are_left_out_and_said(project, tmp_path):
    from registry.lineage.sync import sync

    for name, content in {**SECRETS, **HARMLESS}.items():
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text(content)
    report = sync(project.workspace, run="first", update_mlflow=False)
    commit = report.snapshots["first"]
    kept = set(project.git("ls-tree", "-r", "--name-only", commit).splitlines())
    assert not kept & SECRETS.keys() and kept >= HARMLESS.keys()
    (words,) = [line for line in report.problems if "secrets" in line]
    note = project.git("log", "-1", "--format=%B", commit)
    for name in SECRETS:
        assert name in words and name in note
    for rule in ("AWS Access Key, line 1", "Secret Keyword, line 2", "GitHub Token", "Private Key, line 20001"):
        assert rule in words
    assert snapshot(project.workspace, "first") == commit
    project.git("add", "connect.py")  # a person's decision
    assert "connect.py" in project.git("ls-tree", "-r", "--name-only", snapshot(project.workspace, "first"))

"""DVC: its cache folder as it says it itself; two commands in one process; no manifest that leads out of its folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core import dvc
from core.errors import DvcError
from tests.workspace import init_dvc


def settings(file: Path, folder: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[core]\n    analytics = false\n['remote \"r\"']\n    url = /r\n[cache]\n    dir = {folder}\n")


def test_the_folder_is_the_one_that_dvc_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    personal = tmp_path / "personal"
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(personal))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "system"))
    root = tmp_path / "a workspace"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    init_dvc(root)
    assert dvc.cache_folder(root) == (root / ".dvc" / "cache").resolve()
    settings(personal / "config", "shared")
    assert dvc.cache_folder(root) == personal / "shared"
    settings(root / ".dvc" / "config", "../own #1")
    settings(root / ".dvc" / "config.local", '"../local, %20"')
    expected = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert dvc.cache_folder(root) == Path(root, expected).resolve() == root / "local, %20"
    dvc.use_cache(root, tmp_path / "größe, %s #1")
    assert "['remote \"r\"']" in (root / ".dvc" / "config.local").read_text()
    expected = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert dvc.cache_folder(root) == Path(expected) == tmp_path / "größe, %s #1"


def test_a_folder_without_dvc_and_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DvcError, match="`dvc init`"):
        dvc.cache_folder(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[cache\n")
    with pytest.raises(DvcError, match=f"{os.sep}.dvc{os.sep}config is not readable"):
        dvc.cache_folder(tmp_path)


def test_two_commands_of_one_start(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    init_dvc(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {one: {cmd: touch x, outs: [x]}, two: {cmd: touch y, deps: [x]}}\n")
    dot, status = dvc.run_both(tmp_path, ["dag", "--dot"], ["status", "--json"])
    assert '"one" -> "two"' in dot and dvc.parse_status(status).keys() == {"one", "two"}
    (tmp_path / "dvc.yaml").write_text("stages: [\n")
    with pytest.raises(DvcError, match=r"^dvc dag, status: './dvc.yaml' is invalid"):
        dvc.run_both(tmp_path, ["dag", "--dot"], ["status", "--json"])


@pytest.mark.slow
def test_dvc_writes_nothing_that_a_manifest_names_outside_its_folder(tmp_path: Path) -> None:
    root, remote = tmp_path / "home" / "root", tmp_path / "remote"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "a").write_text("a key of the attacker's")
    subprocess.run(["git", "init", "-q", root], check=True)
    init_dvc(root)
    dvc.run(root, "remote", "add", "--quiet", "--default", "remote", str(remote))
    dvc.run(root, "add", "--quiet", "folder")
    pointer = root / "folder.dvc"
    digest = next(line.split()[-1] for line in pointer.read_text().splitlines() if "md5: " in line)
    manifest = dvc.object_path(root / ".dvc" / "cache", digest)
    edited = json.loads(manifest.read_bytes())
    edited[0]["relpath"] = "../../trusted.pem"
    content = json.dumps(edited).encode()
    forged = hashlib.md5(content).hexdigest() + ".dir"  # a digest that fits: whoever forges the pointer too has it

    for name in (digest, forged):
        pointer.write_text(pointer.read_text().replace(digest, name))
        shutil.rmtree(root / "folder", ignore_errors=True)
        place = dvc.object_path(root / ".dvc" / "cache", name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_bytes(content)
        with pytest.raises(DvcError):
            dvc.run(root, "checkout", "--force")
    shutil.move(root / ".dvc" / "cache", remote)  # the same, from a remote
    with pytest.raises(DvcError):
        dvc.run(root, "pull")
    assert not list(tmp_path.rglob("trusted.pem"))


@pytest.mark.slow
def test_a_list_of_paths_in_use_that_a_kill_left_half_written_stops_no_command(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    init_dvc(tmp_path)
    (tmp_path / ".dvc" / "tmp").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo made > made\n    outs: [made]\n")
    for left in ("", '{"read": {}, "wri', "[]"):
        (tmp_path / ".dvc" / "tmp" / "rwlock").write_text(left)
        assert list(dvc.status(tmp_path)) == ["one"]
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text("")
    dvc.run(tmp_path, "repro")
    assert (tmp_path / "made").read_text() == "made\n" and dvc.status(tmp_path) == {}

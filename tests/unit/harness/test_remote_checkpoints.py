"""Checkpoints in a store: whole or not there, this home's or refused, and of the newest only as many as are kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from components.harness.remote_checkpoints import MANIFEST_BYTES, RemoteCheckpoints
from core import keys
from core.errors import InputProblem
from core.workspace import Workspace

FILES = {"model.safetensors": bytes(range(256)) * 40, "training.json": b"{}\n"}
WORK = "pretrain/0123456789abcdef0123"


def never() -> bool:
    return False


@pytest.fixture
def remote(tmp_path) -> RemoteCheckpoints:
    return RemoteCheckpoints(f"file://{tmp_path}/store", WORK, b"s" * 32)


@pytest.fixture
def place(tmp_path) -> Path:
    """Where they lie."""
    return tmp_path / "store" / WORK


def saved(remote: RemoteCheckpoints, tmp_path: Path, *steps: int) -> None:
    """Upload checkpoints of these steps, whose files begin with the step."""
    for step in steps:
        folder = tmp_path / f"made-{step}"
        folder.mkdir()
        for name, body in FILES.items():
            (folder / name).write_bytes(str(step).encode() + body)
        assert remote.upload(folder, f"step-{step:010d}", never)


def fetched(remote: RemoteCheckpoints, tmp_path: Path, warnings: list[str] | None = None) -> dict[str, bytes] | None:
    """The files that an empty scratch folder gets."""
    into = tmp_path / "checkpoints"
    name = remote.fetch_newer(into, pytest.fail if warnings is None else warnings.append, never)
    assert sorted(path.name for path in into.glob("*")) == ([name] if name else [])
    return {path.name: path.read_bytes() for path in (into / name).iterdir()} if name else None


def of(step: int) -> dict[str, bytes]:
    return {name: str(step).encode() + body for name, body in FILES.items()}


def manifest(place: Path, step: int) -> Path:
    [path] = place.glob(f"step-{step:010d}-*.json")
    return path


def test_an_empty_folder_gets_the_newest_and_one_that_has_it_nothing(remote, tmp_path):
    assert remote.fetch_newer(tmp_path / "checkpoints", pytest.fail, never) is None
    saved(remote, tmp_path, 8, 16)
    assert fetched(remote, tmp_path) == of(16)
    assert remote.fetch_newer(tmp_path / "checkpoints", pytest.fail, never) is None
    (tmp_path / "checkpoints" / "step-0000000016").rename(tmp_path / "checkpoints" / "step-0000000009")
    assert remote.fetch_newer(tmp_path / "checkpoints", pytest.fail, never) == "step-0000000016"


def test_without_its_manifest_an_upload_is_no_checkpoint(remote, tmp_path, place):
    saved(remote, tmp_path, 8, 16)
    manifest(place, 16).unlink()
    assert fetched(remote, tmp_path) == of(8)


@pytest.mark.parametrize("harm", ["changed", "cut", "longer", "missing"])
def test_a_damaged_file_is_said_and_the_checkpoint_before_is_taken(harm, remote, tmp_path, place):
    saved(remote, tmp_path, 8, 16)
    path = manifest(place, 16).with_suffix("") / "model.safetensors"
    body = path.read_bytes()
    path.write_bytes({"changed": body[:99] + b"?" + body[100:], "cut": body[:99], "longer": body + b"?"}.get(harm, b""))
    if harm == "missing":
        path.unlink()
    warnings: list[str] = []
    assert fetched(remote, tmp_path, warnings) == of(8)
    assert len(warnings) == 1 and "step-0000000016" in warnings[0] and "is damaged" in warnings[0]


def test_what_another_key_wrote_is_refused_with_the_remedy_and_nothing_is_fetched(remote, tmp_path):
    """Never silently: the training would begin again, for hours, beside its checkpoints."""
    saved(RemoteCheckpoints(remote.url, WORK, b"t" * 32), tmp_path, 16)
    with pytest.raises(InputProblem, match=r"step-0000000016.*set STEMMA_SIGNING_KEY"):
        fetched(remote, tmp_path)
    saved(remote, tmp_path, 8)
    warnings: list[str] = []
    assert fetched(remote, tmp_path, warnings) == of(8)
    assert len(warnings) == 1 and "this home's key" in warnings[0]


def test_a_checkpoint_of_another_training_or_step_is_none_of_this_one(remote, tmp_path, place):
    other = RemoteCheckpoints(remote.url, "pretrain/ffff", remote.secret)
    saved(other, tmp_path, 99)
    saved(remote, tmp_path, 8)
    shutil.copytree(tmp_path / "store" / "pretrain/ffff", place, dirs_exist_ok=True)
    newer = manifest(place, 8)
    shutil.copytree(newer.with_suffix(""), place / newer.stem.replace("08-", "77-"))
    shutil.copy(newer, place / newer.name.replace("08-", "77-"))
    warnings: list[str] = []
    assert fetched(remote, tmp_path, warnings) == of(8)
    assert sum("another checkpoint's" in warning for warning in warnings) == 2


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "folder/../../file", "C:\\escaped", ""])
def test_no_name_leads_out_of_the_folder_whoever_signed_it(name, remote, tmp_path, place):
    saved(remote, tmp_path, 8)
    content = remote._manifest("step-0000000016", {name: ("0" * 64, 3)})
    (place / f"step-0000000016-{hashlib.sha256(content).hexdigest()[:16]}.json").write_bytes(content)
    warnings: list[str] = []
    assert fetched(remote, tmp_path, warnings) == of(8)
    assert len(warnings) == 1 and "cannot be used" in warnings[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"hmac": 3}', b"[" * 100_000, b" " * (MANIFEST_BYTES + 1), b'{"hmac": "\xff"}'],
    ids=["empty", "cut", "list", "unsigned", "number", "nested", "large", "encoding"],
)  # fmt: skip
def test_a_manifest_that_is_none_is_passed_over(content, remote, tmp_path, place):
    saved(remote, tmp_path, 8)
    (place / "step-0000000016-0123456789abcdef.json").write_bytes(content)
    warnings: list[str] = []
    assert fetched(remote, tmp_path, warnings) == of(8)
    assert len(warnings) == 1


def test_a_changed_manifest_is_not_ours_any_more(remote, tmp_path, place):
    saved(remote, tmp_path, 8)
    path = manifest(place, 8)
    body = json.loads(path.read_bytes())
    body["files"]["extra.py"] = ["0" * 64, 1]
    path.write_text(json.dumps(body))
    with pytest.raises(InputProblem, match="were changed"):
        fetched(remote, tmp_path)


def test_the_newest_stay_and_what_killed_uploads_left_of_older_ones_goes(remote, tmp_path, place):
    saved(remote, tmp_path, 8)
    manifest(place, 8).unlink()  # killed before it was written
    saved(remote, tmp_path, 16, 24, 32)
    under_way = place / "step-0000000040-0123456789abcdef"
    under_way.mkdir()
    (under_way / "model.safetensors").write_bytes(b"half")
    remote.prune(2)
    assert sorted({path.name[:15] for path in place.iterdir()}) == [f"step-{step:010d}" for step in (24, 32, 40)]
    remote.clear()
    assert not place.exists()
    remote.clear()


def test_the_secret_of_a_training_is_its_own_and_the_same_wherever_the_key_is(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    here, there = (Workspace(tmp_path, tmp_path / name) for name in ("here", "there"))
    secret = keys.secret(here, "checkpoints of a")
    assert keys.secret(here, "checkpoints of a") == secret != keys.secret(here, "checkpoints of b")
    assert len(secret) == 32 and keys.secret(there, "checkpoints of a") != secret
    monkeypatch.setenv("STEMMA_SIGNING_KEY", str(keys.key_path(here)))
    assert keys.secret(there, "checkpoints of a") == secret

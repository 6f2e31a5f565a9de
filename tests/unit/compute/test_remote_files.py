"""Files that travel by object storage: none is sent twice, none is used that is not what was sent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from components import compute
from components.compute import Compute, travel
from components.compute.remote_files import RemoteFiles
from components.harness import offsite, outcomes
from components.harness.remote_checkpoints import RemoteCheckpoints
from components.instruct_finetune import component as instruct
from core import python
from core.errors import InputProblem
from core.transfers import NotAsWritten, Stopped


def never() -> bool:
    return False


@pytest.fixture
def files(tmp_path) -> RemoteFiles:
    return RemoteFiles(f"file://{tmp_path / 'store'}")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three files, of which two are the same."""
    found = tmp_path / "made"
    (found / "deep/er").mkdir(parents=True)
    for name, content in (("a", b"one"), ("deep/b", b"one"), ("deep/er/c", b"other" * 1000)):
        (found / name).write_bytes(content)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects(tmp_path: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (tmp_path / "store/objects").rglob("*") if path.is_file()}


def test_a_folder_comes_back_and_nothing_is_sent_twice(files, folder, tmp_path):
    sent = files.upload(folder, never)
    before = objects(tmp_path)
    assert len(before) == 2
    (folder / "d").write_bytes(b"new")
    known = {}
    assert files.upload(folder, never, known).items() > sent.items()
    assert len(objects(tmp_path)) == 3 and objects(tmp_path).items() > before.items()
    files.fetch(files.upload(folder, never, json.loads(json.dumps(known))), tmp_path / "there", never)
    assert contents(tmp_path / "there") == contents(folder)


def test_a_file_that_changed_is_read_again(files, folder, tmp_path):
    known = {}
    files.upload(folder, never, known)
    (folder / "a").write_bytes(b"two")
    os.utime(folder / "a", ns=(0, 0))
    files.fetch(files.upload(folder, never, known), tmp_path / "there", never)
    assert (tmp_path / "there/a").read_bytes() == b"two"


def test_an_upload_that_was_cut_short_is_done_again_and_a_changed_object_is_not_used(files, folder, tmp_path):
    sent = files.upload(folder, never)
    largest = max(objects(tmp_path), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"other")
    with pytest.raises(NotAsWritten):
        files.fetch(sent, tmp_path / "there", never)
    files.upload(folder, never)
    files.fetch(sent, tmp_path / "there", never)
    assert contents(tmp_path / "there") == contents(folder)


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "a/../../b"])
def test_no_name_leads_out_of_the_folder(name, files, folder, tmp_path):
    (digest, size) = files.upload(folder, never)["a"]
    with pytest.raises(InputProblem, match="a list of files names"):
        files.fetch({name: (digest, size)}, tmp_path / "there", never)
    with pytest.raises(InputProblem, match="no SHA-256"):
        files.fetch({"a": ("../../made/a", size)}, tmp_path / "there", never)


def test_a_transfer_ends_when_it_is_not_wanted(files, folder):
    with pytest.raises(Stopped):
        files.upload(folder, lambda: True)


def order(tmp_path: Path, folder: Path) -> dict:
    """As the harness gives it to what drives the nodes."""
    (tmp_path / "scratch/tracking").mkdir(parents=True)
    return {
        "component": "pretrain", "compute": {"storage": f"file://{tmp_path / 'store'}"}, "checkpoints": None,
        "scratch": str(tmp_path / "scratch"), "inputs": {"tokens": str(folder)},
        "outputs": {"model": str(tmp_path / "model")}, "events": str(tmp_path / "events.jsonl"),
    }  # fmt: skip


def fetch(sent: dict, folder: Path) -> tuple[int, dict | None]:
    """What a node does first, in ``folder``: its exit code and the outcome that it leaves."""
    folder.mkdir(parents=True)
    path, outcome = folder / "order.json", folder / "outcome.json"
    own = {"supervisor": os.getpid(), "host": "192.0.2.7", "outcome": str(outcome)}
    path.write_text(json.dumps({**sent, **own}))
    done = subprocess.run(python.command("components.compute.apart", "fetch", str(path)), check=False)
    return done.returncode, json.loads(outcome.read_text()) if outcome.exists() else None


def test_a_node_has_the_inputs_on_its_disk_and_fetches_them_once(folder, tmp_path):
    sent = travel.sent(order(tmp_path, folder), never)
    assert fetch(sent, tmp_path / "node/first") == (0, None)
    assert contents(tmp_path / "node/first/inputs/tokens") == contents(folder)
    for path in objects(tmp_path):
        path.unlink()
    assert fetch(sent, tmp_path / "node/second") == (0, None), "another work of this machine has them already"
    code, outcome = fetch(sent, tmp_path / "other/first")
    assert code == outcomes.EXIT_CODES[outcomes.PROBLEMS] and outcome is not None
    (problem,) = outcome["problems"]
    assert problem.startswith("node 192.0.2.7: file://") and "does not hold what was sent" in problem


def test_outputs_that_are_not_as_they_were_made_are_not_taken(files, folder, tmp_path):
    asked = order(tmp_path, folder) | {"storage": files.url}
    made = {"state": outcomes.COMPLETE, "made": {"model": files.upload(folder, never)}, "attached": [("model", "a")]}
    assert travel.fetched(asked, dict(made), never) == {"state": outcomes.COMPLETE}
    assert contents(tmp_path / "model") == contents(folder)
    assert json.loads((tmp_path / "events.jsonl").read_text())["path"] == str(tmp_path / "model/a")
    for path in objects(tmp_path):
        path.write_bytes(bytes(path.stat().st_size))
    outcome = travel.fetched(asked, dict(made), never)
    assert outcome["state"] == outcomes.FAILED and "differs from its SHA-256" in outcome["problems"][0]


def test_a_training_that_began_here_goes_on_there(tmp_path):
    remote, here = RemoteCheckpoints(f"file://{tmp_path / 'store'}", "pretrain/0", b"s" * 32), tmp_path / "checkpoints"
    for step in (8, 16):
        (here / f"step-{step:010d}").mkdir(parents=True)
        (here / f"step-{step:010d}/model.safetensors").write_bytes(bytes([step]))
        assert offsite.bring(remote, here, never) == f"step-{step:010d}"
    assert [each.folder for each in remote.newest(pytest.fail)] == ["step-0000000016", "step-0000000008"]
    assert offsite.bring(remote, tmp_path / "nothing", never) == "step-0000000016"
    again = offsite.of_description(json.loads(json.dumps(offsite.described(remote, 2))))
    assert again.fetch_newer(tmp_path / "node", pytest.fail, never) == "step-0000000016"


def test_a_store_that_cannot_be_used_and_a_stage_that_needs_a_common_disk_are_named_before(tmp_path, monkeypatch):
    monkeypatch.setattr("components.compute.cluster.problems", lambda *_: [])  # it is asked in test_training_on_ray
    chosen = Compute(kind="ray", storage="file:///proc/nowhere")
    found = compute.problems(instruct, chosen, instruct.parameters(nodes=2), {})
    assert [line.partition(": ")[2].partition(" ")[0] for line in found] == ["compute.instruct_finetune.storage:"] * 2
    assert "need a disk in common" in found[0] and "cannot be used" in found[1]
    chosen = Compute(kind="ray", storage=f"file://{tmp_path}/store")
    assert compute.problems(instruct, chosen, instruct.parameters(), {}) == []

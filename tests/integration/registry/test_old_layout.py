"""A version made by v0.1.0, in another layout of the code: its snapshot restores, and its own code makes it again.

``v0_1_0.tar.xz`` is a workspace of v0.1.0 after one tiny run; ``make_v0_1_0.sh`` made it and says what is in it. Here
its references, DVC objects and home come into a workspace of the present code, as they do when a user takes in a newer
version.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from tests.workspace import Workspace, make_workspace

ARCHIVE = Path(__file__).with_name("v0_1_0.tar.xz")
RUN = "refs/stemma/runs/tiny"
DATA = ("data", "models", "reports", "metrics", "receipts")


def stemma(workspace: Workspace, *arguments: str | Path, **options) -> str:
    """Standard output of the present code's command."""
    return workspace.run(sys.executable, "-m", "cli", *arguments, **options).stdout


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("v0_1_0")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def upgraded(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of the present code with the snapshots, the registry and the DVC objects of v0.1.0."""
    workspace = make_workspace(tmp_path_factory.mktemp("upgraded") / "workspace")
    workspace.git("fetch", "-q", packed / "workspace.bundle", "refs/tags/v0.1.0:refs/tags/v0.1.0", f"{RUN}:{RUN}")
    shutil.copytree(packed / "cache", workspace.root / ".dvc" / "cache")
    shutil.copytree(packed / "home", workspace.home)
    workspace.environment["OMP_NUM_THREADS"] = "1"  # as when it was made: threads change the order of sums
    return workspace


def test_an_old_snapshot_restores_to_exactly_its_files(upgraded, packed, tmp_path):
    tree = tmp_path / "then"
    restored = json.loads(stemma(upgraded, "restore", "base:1", tree, "--json"))
    assert restored["run"] == "tiny"
    recorded = dict(reversed(line.split("  ")) for line in (packed / "sha256").read_text().splitlines())
    found = [tree / "dvc.lock", *(path for name in DATA for path in (tree / name).rglob("*") if path.is_file())]
    assert {
        path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.name != ".gitignore"
    } == recorded
    old = Workspace(tree, upgraded.environment)
    assert old.git("rev-parse", "HEAD", "HEAD^") == upgraded.git("rev-parse", RUN, "v0.1.0")
    assert old.git("status", "--porcelain") == ""
    assert (tree / "flows" / "cli" / "main.py").is_file() and not (tree / "core").exists()


def test_its_lineage_and_decisions_are_read_by_the_present_code(upgraded):
    commit = upgraded.git("rev-parse", "--short=7", "v0.1.0")
    trace = stemma(upgraded, "trace", "base:1", COLUMNS="160")
    assert all(name in trace for name in ("base:1", "data/raw", "curate", "tokenize", "pretrain", "champion", commit))
    (decision,) = json.loads(stemma(upgraded, "history", "base", "--json"))
    assert (decision["action"], decision["version"], decision["actor"]) == ("promote", 1, "Ada <ada@example.org>")
    audit = json.loads(stemma(upgraded, "audit", "--json", check=False))
    # MLflow's database stayed behind, so its alias is the one thing that is not as it was; the rest is only older.
    assert [(finding["part"], finding["state"]) for finding in audit["findings"]] == [
        ("statement", "unsigned"),
        ("mirror", "wrong"),
    ]
    assert stemma(upgraded, "verify", "base@champion").startswith("base:1 is what was registered and signed")
    # The first command that writes signs what is there, as adopted.
    stemma(upgraded, "sync", "--json")
    audit = json.loads(stemma(upgraded, "audit", "--json", check=False))
    adopted = [(finding["part"], finding["subject"]) for finding in audit["findings"] if finding["state"] == "unsigned"]
    assert adopted == [("statement", "1 promotion"), ("receipt", "4 executions")], audit["findings"]
    assert all(
        "unsigned before" in finding["detail"] for finding in audit["findings"] if finding["state"] == "unsigned"
    )
    assert upgraded.git("log", "--format=%s", "refs/stemma/promotions").startswith("start of signatures, after 1")
    assert stemma(upgraded, "verify", "base@champion").startswith("base:1 is what was registered and signed")
    assert (audit["promotions"], audit["signatures"], audit["artifacts"]) == (1, 1, 11)


@pytest.mark.nightly  # a whole run of old code; test_reproduce.py has the parts
def test_its_own_code_makes_it_again(upgraded, packed, tmp_path):
    tree = tmp_path / "again"
    made = json.loads(stemma(upgraded, "reproduce", "base:1", "--keep", tree, "--json", timeout=600))
    assert [stage["stage"] for stage in made["stages"]] == ["curate", "tokenize", "pretrain", "evaluate@base"]
    assert not [cause for cause in made["causes"] if cause["kind"] in ("code", "parameters", "input")]
    same = made["verdict"] == "bit-identical" and all(stage["same"] for stage in made["stages"])
    assert same or (made["verdict"] == "equivalent" and processor() != (packed / "processor").read_text())
    assert Workspace(tree, upgraded.environment).git("rev-parse", "HEAD") == upgraded.git("rev-parse", RUN)


def processor() -> str:
    """What ``/proc/cpuinfo`` says of the first core's kind, as ``make_v0_1_0.sh`` wrote it down."""
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    return "".join(f"{line}\n" for line in re.findall(r"(?m)^(?:vendor_id|cpu family|model|flags)\b.*", first))

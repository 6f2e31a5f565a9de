"""Objects of DVC's cache whose content is not what their name says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from core import dvc
from core.environment import child_environment
from flows.pipeline import damage
from flows.pipeline.graph import Graph
from tests.workspace import init_dvc

GRAPH = Graph({"copy": frozenset(), "count": frozenset({"copy"})})
PIPELINE = """stages:
  copy:
    cmd: mkdir -p data/copy && cp data/raw/text.txt data/copy/
    deps: [data/raw]
    outs: [data/copy]
  count:
    cmd: wc -c data/copy/text.txt > data/count.txt
    deps: [data/copy, code.txt]
    outs: [data/count.txt]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pipeline that ran, whose raw data is versioned; nothing is in a remote."""
    root = tmp_path_factory.mktemp("made") / "ws"
    (root / "data" / "raw").mkdir(parents=True)
    (root / "data" / "raw" / "text.txt").write_text("what was recorded")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "code.txt").write_text("1")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    init_dvc(root)
    for verb in ("add", "-q", "data/raw"), ("repro", "-q"):
        subprocess.run([sys.executable, "-m", "dvc", *verb], cwd=root, env=child_environment(), check=True)
    return root


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "ws", symlinks=True)
    return tmp_path / "ws"


def corrupt(root, stage: str | None) -> None:
    """Other bytes in the object of text.txt, checked out as if they were the recorded ones."""
    items = [item for item in damage._tracked(root) if item.stage == stage]
    (entry,) = [item for item in items if item.digest.endswith(".dir")]
    listing = dvc.object_path(root / ".dvc/cache", entry.digest).read_text()
    object_path = dvc.object_path(root / ".dvc/cache", listing.split('"md5": "')[1][:32])
    os.chmod(object_path, 0o644)
    object_path.write_text("what was rekorded")
    os.chmod(object_path, 0o444)
    shutil.rmtree(root / entry.path)
    dvc.run(root, "checkout", "--quiet", "--force", entry.target)
    assert (root / entry.path / "text.txt").read_text() == "what was rekorded"  # DVC trusts the name


def test_raw_data_that_is_damaged_and_nowhere_else_is_refused_with_its_place(root):
    corrupt(root, None)
    with pytest.raises(damage.Damaged, match=r"data/raw/text\.txt: DVC's cache holds other bytes than were recorded"):
        damage.mend_inputs(root, GRAPH, ["copy", "count"], ["copy"], print)
    assert (root / "data/raw/text.txt").is_file()  # it may be the only copy


def test_it_is_fetched_from_the_remote_that_has_it(root, tmp_path):
    dvc.run(root, "remote", "add", "-d", "safe", str(tmp_path / "safe"))
    dvc.run(root, "push", "--quiet")
    corrupt(root, None)
    said = []
    assert damage.mend_inputs(root, GRAPH, ["copy", "count"], ["copy"], said.append)
    assert said == ["data/raw/text.txt: damaged in DVC's cache; it was fetched from the remote"]
    assert (root / "data/raw/text.txt").read_text() == "what was recorded"
    assert not damage.mend_inputs(root, GRAPH, ["copy", "count"], ["copy"], said.append)


def test_an_output_is_made_again_by_its_stage_where_the_run_has_that(root):
    # Raw data and its copy are one object in the cache: only the copy is of a stage's making.
    (root / "data/raw/text.txt").unlink()
    (root / "data/raw/text.txt").write_text("other raw data")
    corrupt(root, "copy")
    with pytest.raises(damage.Damaged, match=r"data/copy/text\.txt"):
        damage.mend_inputs(root, GRAPH, ["count"], ["count"], print)
    said = []
    assert damage.mend_inputs(root, GRAPH, ["copy", "count"], ["count"], said.append)
    assert said == ["data/copy/text.txt: damaged in DVC's cache; it is made again"]
    assert not (root / "data/copy/text.txt").exists()


def test_what_no_stage_will_read_is_not_looked_at(root):
    corrupt(root, None)
    assert not damage.mend_inputs(root, GRAPH, ["copy", "count"], [], print)

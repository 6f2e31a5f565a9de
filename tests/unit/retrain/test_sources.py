"""Where raw data is looked for, and how copies of it are taken."""

from __future__ import annotations

import os
import stat

import pytest

from core.errors import InputProblem
from flows.retraining import sources
from flows.retraining.parameters import PolledSource
from flows.retraining.sources import RawFile, copy_in, look, matches
from registry.store.manifests import md5_of


@pytest.fixture
def root(tmp_path):
    raw = tmp_path / "workspace" / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / "here.txt").write_text("here")
    return tmp_path / "workspace"


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "incoming"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.csv", "deep/c.txt", ".hidden.txt", "half.txt.partial"):
        (folder / name).write_text(name)
    (folder / "link.txt").symlink_to("/etc/hostname")
    return folder


def names(root, path, into="in") -> set[str]:
    return set(look(root, [PolledSource(path=str(path), into=into)]).files) - {"here.txt"}


def test_folders_globs_and_single_files(root, incoming):
    assert names(root, incoming) == {"in/a.txt", "in/b.csv", "in/deep/c.txt"}
    assert names(root, incoming / "*.txt") == {"in/a.txt"}
    assert names(root, incoming / "**" / "*.txt") == {"in/a.txt", "in/deep/c.txt"}
    assert names(root, incoming / "deep" / "c.txt") == {"in/c.txt"}
    assert names(root, "../incoming/*.csv") == {"in/b.csv"}


def test_every_source_that_is_not_there_is_told(root, tmp_path):
    with pytest.raises(InputProblem) as problem:
        look(root, [PolledSource(path=str(tmp_path / name), into=name) for name in ("gone", "lost")])
    assert [line.split(": ")[1] for line in problem.value.problems] == [
        "retrain.sources.0.path",
        "retrain.sources.1.path",
    ]


def test_only_what_is_not_here_yet_is_outside(root, incoming):
    source = [PolledSource(path=str(incoming), into="in")]
    seen = look(root, source)
    assert {file.name for file in seen.outside} == {"in/a.txt", "in/b.csv", "in/deep/c.txt"}
    copy_in(root, seen.outside)
    assert look(root, source).outside == []
    (incoming / "a.txt").write_text("other content")
    (changed,) = look(root, source).outside
    assert changed.name == "in/a.txt"
    (incoming / "a.txt").unlink()  # what was taken in stays
    assert "in/a.txt" in look(root, source).files


def test_a_copy_never_writes_through_a_link_and_leaves_nothing_half_done(root, incoming, tmp_path):
    kept = tmp_path / "cache-object"
    kept.write_text("kept")
    kept.chmod(stat.S_IRUSR)
    (root / "data/raw/in").mkdir()
    (root / "data/raw/in/a.txt").symlink_to(kept)
    file = incoming / "a.txt"
    copy_in(root, [RawFile(file, "in/a.txt", md5_of(file))])
    assert kept.read_text() == "kept" and (root / "data/raw/in/a.txt").read_text() == "a.txt"
    assert not (root / "data/raw/in/a.txt").is_symlink()
    with pytest.raises(InputProblem, match="is being written"):
        copy_in(root, [RawFile(file, "in/b.txt", "0" * 32)])
    assert os.listdir(root / "data/raw/in") == ["a.txt"]


def test_a_file_that_changes_while_it_is_read_waits(root, incoming, monkeypatch):
    def slow(path):
        if path.name == "a.txt":
            path.write_text("more and more")
        return md5_of(path)

    monkeypatch.setattr(sources, "md5_of", slow)
    seen = look(root, [PolledSource(path=str(incoming), into="in")])
    assert seen.busy == ["in/a.txt"] and "in/a.txt" not in seen.files


@pytest.mark.parametrize(
    ("name", "pattern", "matched"),
    [
        ("data/raw/a.txt", "data/raw/*.txt", True),
        ("data/raw/b/a.txt", "data/raw/*.txt", False),
        ("data/raw/b/a.txt", "data/raw/**/*.txt", True),
        ("data/raw/a.txt", "data/raw/**/*.txt", True),
        ("data/raw/b/c/a.txt", "data/raw/**/c/*", True),
        ("data/raw/a.TXT", "data/raw/*.txt", False),
        ("data/raw/a.txt", "data/raw/a.txt", True),
        ("data/raw/b", "data/raw", False),
    ],
)
def test_globs_name_what_curate_s_name(root, name, pattern, matched):
    assert matches(name, pattern) is matched
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert (path in set(root.glob(pattern))) is matched

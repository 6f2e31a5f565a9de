"""What is wrong with the user's files is said by name before DVC or a stage comes to them."""

from __future__ import annotations

import os

import pytest

from core.errors import InputProblem
from flows.pipeline import prepare, raw_data

FILES = {"type": "files", "paths": ["data/raw/*.txt"]}
OWN = {"source": "files", "files": {"instruct": ["data/raw/chats.jsonl"]}}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data/raw/deep").mkdir(parents=True)
    (tmp_path / "data/raw/deep/good.txt").write_text("good")
    return tmp_path


def test_what_dvc_cannot_version_is_named(root):
    raw = root / "data/raw"
    (raw / "dangling.jsonl").symlink_to("/nowhere/x.jsonl")
    (raw / "itself").symlink_to("itself")
    (raw / "deep/latin\udce9.txt").write_text("x")
    (raw / ".dvcignore").write_text("x")
    os.mkfifo(raw / "pipe")
    (raw / "whole").symlink_to("deep/good.txt")
    assert sorted(raw_data.refused_by_dvc(root)) == [
        "data/raw/.dvcignore: DVC takes no .dvcignore within a versioned folder: remove it",
        "data/raw/dangling.jsonl: a link to /nowhere/x.jsonl, which cannot be opened (No such file or directory): "
        "remove or correct it",
        r"data/raw/deep/latin\udce9.txt: its name is not UTF-8, which DVC cannot version: rename it",
        "data/raw/itself: a link to itself, which cannot be opened (Too many levels of symbolic links): remove or "
        "correct it",
        "data/raw/pipe: is neither a file nor a folder: remove it",
    ]
    with pytest.raises(InputProblem, match=r"dangling\.jsonl"):
        raw_data.ensure(root, {})
    assert not (root / "data/raw.dvc").exists()


def test_names_in_the_parameters_are_checked_for_the_stages_that_read_them(root):
    (root / "data/raw/labels.docx").write_text("x")
    labels = {"source": "files", "files": ["data/raw/labels.docx"]}
    values = {"curate": {"sources": [FILES], "instructions": OWN, "labels": labels}}
    problems = prepare.problems_of_stages(root, ["curate", "tokenize", "evaluate@base"], values)
    assert [problem.split(",")[0] for problem in problems] == [
        "curate.sources: no file matches 'data/raw/*.txt' (looked in data/raw/): check the name",
        "curate.instructions.files.instruct: there is no file 'data/raw/chats.jsonl' (looked in data/raw/): check the "
        "name",
        "data/raw/labels.docx: unknown kind of file; supported are csv",
    ]
    assert prepare.problems_of_stages(root, ["tokenize", "pretrain"], values) == []


def test_files_that_are_still_in_dvcs_cache_are_not_missed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/raw.dvc").write_text("outs: []")
    assert (
        prepare.problems_of_stages(tmp_path, ["curate"], {"curate": {"sources": [FILES], "labels": {"source": "none"}}})
        == []
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": {"validation": 0}}, "curate.split.validation"),
        ({"split": {"test": 0}}, "curate.split.test"),
        ({"sources": [FILES]}, "labels.source is topics, which labels each docstring of a python_docs source"),
    ],
)
def test_what_later_stages_cannot_use_is_refused_with_the_parameters(values, message):
    from flows.pipeline.parameters import problems_in

    (problem,) = [line for line in problems_in({"curate": values, "seed": 1}) if "curate" in line]
    assert message in problem


def test_a_link_that_leaves_the_folder_is_refused_unless_a_parameter_allows_it(root, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "signing.pem"
    secret.write_text("a key")
    raw = root / "data/raw"
    (raw / "key.txt").symlink_to(secret)
    (raw / "passwords.txt").symlink_to("/etc/passwd")
    (raw / "etc").symlink_to("/etc")
    (raw / "deep/up.txt").symlink_to("../../../params.yaml")
    (raw / "inside.txt").symlink_to("deep/good.txt")
    (root / "params.yaml").write_text("curate: {seed: 1}\n")
    curate = {"curate": {"sources": [FILES], "labels": {"source": "none"}}}
    expected = ["data/raw/deep/up.txt", "data/raw/etc", "data/raw/key.txt", "data/raw/passwords.txt"]
    problems = prepare.problems_of_stages(root, ["curate"], curate)
    assert sorted(line.split(":")[0] for line in problems) == expected
    with pytest.raises(InputProblem, match=r"key.txt: is a link to .*signing.pem, outside data/raw") as refused:
        raw_data.ensure(root, {})
    assert sorted(line.split(":")[0] for line in refused.value.problems) == expected
    assert not (root / "data/raw.dvc").exists()
    curate["curate"]["outside_links"] = True
    assert prepare.problems_of_stages(root, ["curate"], curate) == []
    raw_data.refuse(root, {"curate.outside_links": True})
    (root / "params.yaml").write_text("curate: {outside_links: true}\n")
    raw_data.refuse(root, {})


def test_links_into_dvcs_cache_are_its_own(root):
    cache = root / ".dvc/cache/files/md5/ab"
    cache.mkdir(parents=True)
    (cache / "cd").write_text("kept")
    (root / "data/raw/kept.txt").symlink_to(cache / "cd")
    raw_data.refuse(root, {})
    elsewhere = root / "big disk"
    (root / "data/raw").rename(elsewhere)  # the folder itself may be a link: that is where it is
    (root / "data/raw").symlink_to(elsewhere)
    raw_data.refuse(root, {})

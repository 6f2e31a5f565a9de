"""A deletion request: one raw file reaches exactly the models that were trained on it."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from registry.db.database import open as open_registry
from registry.db.schema import Deployment
from registry.errors import MissingBytes, UnknownReference
from registry.lineage.impact import Impact, impact
from registry.promotion.promote import promote


def ask(grown, asked: str) -> Impact:
    with open_registry(grown.workspace.registry_url) as registry, registry.read() as session:
        return impact(session, grown.workspace, asked)


def versions(found: Impact) -> list[str]:
    return sorted(map(str, found.versions))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_a_content_reaches_exactly_the_models_trained_on_it(grown):
    assert versions(ask(grown, md5("the raw text\n"))) == ["base:1", "base:2"]
    assert versions(ask(grown, md5("more raw text\n"))) == ["base:2", "base:3"]
    found = ask(grown, md5("the raw text, corrected\n")[:10])
    assert versions(found) == ["base:3"]
    assert {artifact.name for artifact in found.artifacts} == {"data/corpus", "models/base", "reports/evaluate-base"}
    assert [(origin.name, origin.file) for origin in found.origins] == [("data/raw", "a.txt")]


def test_a_path_reaches_all_that_was_ever_made_of_it(grown):
    assert versions(ask(grown, "data/raw/a.txt")) == ["base:1", "base:2", "base:3"]
    assert versions(ask(grown, "data/raw/b.txt")) == ["base:2", "base:3"]
    (grown.root / "data/raw/b.txt").unlink()  # a deleted file can still be asked about
    assert versions(ask(grown, "data/raw/b.txt")) == ["base:2", "base:3"]


def test_a_copy_under_another_name_is_found_by_its_content(grown):
    shutil.copy(grown.root / "data/raw/b.txt", grown.root / "data/raw/copy.txt")
    assert versions(ask(grown, "data/raw/copy.txt")) == ["base:2", "base:3"]


def test_a_folder_means_its_current_version_and_a_digest_any(grown):
    assert versions(ask(grown, "data/raw")) == ["base:3"]
    first = ask(grown, md5("the raw text\n")).origins[0].digest
    assert versions(ask(grown, first)) == ["base:1"]


def test_aliases_and_deployments(grown):
    promote(grown.workspace, "base:2", "champion", "the best so far", "Ada")
    with open_registry(grown.workspace.registry_url) as registry, registry.write() as session:
        for version, state, ended in ((2, "SERVING", None), (1, "STOPPED", 2.0)):
            session.add(
                Deployment(name=f"d{version}", version_id=version, url=None, state=state, started=1.0, ended=ended)
            )
    found = ask(grown, "data/raw/b.txt")
    assert found.aliases == {"base@champion": "base:2"}
    assert [(service.name, service.serving) for service in found.deployments] == [("d2", True)]
    assert [service.serving for service in ask(grown, "data/raw/a.txt").deployments] == [True, False]


def test_a_folder_whose_files_are_unknown_is_no_silent_gap(grown):
    first = ask(grown, md5("the raw text\n")).origins[0].digest
    (grown.root / ".dvc/cache/files/md5" / first[:2] / first[2:]).unlink()
    with pytest.raises(MissingBytes, match=f"data/raw {first[:12]}.*dvc fetch"):
        ask(grown, "data/raw/b.txt")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("data/raw/none.txt", "in none of the 3 recorded versions of data/raw"),
        ("nowhere/x.txt", "in no recorded folder"),
        ("/etc/hostname", "outside the workspace"),
        ("abcdef123456", "no recorded artifact"),
        ("nobody", "there is no model 'nobody'"),
        ("../" * 60 + "etc/passwd", "is outside the workspace"),
    ],
)
def test_what_is_not_known(grown, asked, told):
    with pytest.raises(UnknownReference, match=told):
        ask(grown, asked)


def test_the_command(grown):
    done = grown.stemma("impact", "data/raw/b.txt", "--json")
    assert [f"{row['model']}:{row['version']}" for row in json.loads(done.stdout)["versions"]] == ["base:2", "base:3"]
    assert "base:3" in grown.stemma("impact", "data/raw/b.txt").stdout
    failed = grown.stemma("impact", "data/raw/none.txt")
    assert failed.returncode == 2 and len(failed.stderr.strip().splitlines()) == 1

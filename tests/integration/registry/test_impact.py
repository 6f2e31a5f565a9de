"""A deletion request: one raw file reaches exactly the models that were trained on it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from registry.database import open as open_registry
from registry.errors import MissingBytes, UnknownReference
from registry.impact import Impact, impact
from registry.promotion import promote
from registry.schema import Deployment
from registry.sync import sync

COMMAND = str(Path(sys.executable).with_name("stemma"))


@pytest.fixture(scope="module")
def generations(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models: of {a}, of {a, b}, and of {changed a, b}; the registry is filled by each test's own sync."""
    from tests.integration.registry.conftest import Project

    root = tmp_path_factory.mktemp("generations") / "workspace"
    shutil.copytree(made, root, symlinks=True)
    project = Project(root)
    project.git("rm", "-r", "-q", "--cached", "data/raw")
    raw = root / "data" / "raw"
    for name, write in {
        "one": lambda: None,
        "two": lambda: (raw / "b.txt").write_text("more raw text\n"),
        "three": lambda: (raw / "a.txt").write_text("the raw text, corrected\n"),
    }.items():
        write()
        project.dvc("add", "-q", "data/raw")
        project.dvc("repro", "-q", TEST_RUN=name, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        sync(project.workspace, run=name, tell=False)
    return root


@pytest.fixture
def project(generations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tests.integration.registry.conftest import Project

    root = tmp_path / "workspace"
    shutil.copytree(generations, root, symlinks=True)
    monkeypatch.chdir(root)
    return Project(root)


def ask(project, asked: str) -> Impact:
    with open_registry(project.workspace.registry_url) as registry, registry.read() as session:
        return impact(session, project.workspace, asked)


def versions(found: Impact) -> list[str]:
    return sorted(map(str, found.versions))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_a_content_reaches_exactly_the_models_trained_on_it(project):
    assert versions(ask(project, md5("the raw text\n"))) == ["base:1", "base:2"]
    assert versions(ask(project, md5("more raw text\n"))) == ["base:2", "base:3"]
    found = ask(project, md5("the raw text, corrected\n")[:10])
    assert versions(found) == ["base:3"]
    assert {artifact.name for artifact in found.artifacts} == {"data/corpus", "models/base", "reports/evaluate-base"}
    assert [(origin.name, origin.file) for origin in found.origins] == [("data/raw", "a.txt")]


def test_a_path_reaches_all_that_was_ever_made_of_it(project):
    assert versions(ask(project, "data/raw/a.txt")) == ["base:1", "base:2", "base:3"]
    assert versions(ask(project, "data/raw/b.txt")) == ["base:2", "base:3"]
    (project.root / "data/raw/b.txt").unlink()  # a deleted file can still be asked about
    assert versions(ask(project, "data/raw/b.txt")) == ["base:2", "base:3"]


def test_a_copy_under_another_name_is_found_by_its_content(project):
    shutil.copy(project.root / "data/raw/b.txt", project.root / "data/raw/copy.txt")
    assert versions(ask(project, "data/raw/copy.txt")) == ["base:2", "base:3"]


def test_a_folder_means_its_current_version_and_a_digest_any(project):
    assert versions(ask(project, "data/raw")) == ["base:3"]
    first = ask(project, md5("the raw text\n")).origins[0].digest
    assert versions(ask(project, first)) == ["base:1"]


def test_aliases_and_deployments(project):
    promote(project.workspace, "base:2", "champion", "the best so far", "Ada")
    with open_registry(project.workspace.registry_url) as registry, registry.write() as session:
        for version, state, ended in ((2, "SERVING", None), (1, "STOPPED", 2.0)):
            session.add(
                Deployment(name=f"d{version}", version_id=version, url=None, state=state, started=1.0, ended=ended)
            )
    found = ask(project, "data/raw/b.txt")
    assert found.aliases == {"base@champion": "base:2"}
    assert [(service.name, service.serving) for service in found.deployments] == [("d2", True)]
    assert [service.serving for service in ask(project, "data/raw/a.txt").deployments] == [True, False]


def test_a_folder_whose_files_are_unknown_is_no_silent_gap(project):
    first = ask(project, md5("the raw text\n")).origins[0].digest
    (project.root / ".dvc/cache/files/md5" / first[:2] / first[2:]).unlink()
    with pytest.raises(MissingBytes, match=f"data/raw {first[:12]}.*dvc fetch"):
        ask(project, "data/raw/b.txt")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("data/raw/none.txt", "in none of the 3 recorded versions of data/raw"),
        ("nowhere/x.txt", "in no folder that the registry knows"),
        ("/etc/hostname", "outside the workspace"),
        ("abcdef123456", "no recorded artifact"),
        ("nobody", "no model is called 'nobody'"),
    ],
)
def test_what_is_not_known(project, asked, told):
    with pytest.raises(UnknownReference, match=told):
        ask(project, asked)


def test_the_command(project):
    done = project.run(COMMAND, "impact", "data/raw/b.txt", "--json")
    assert [f"{row['model']}:{row['version']}" for row in json.loads(done.stdout)["versions"]] == ["base:2", "base:3"]
    assert "base:3" in project.run(COMMAND, "impact", "data/raw/b.txt").stdout
    failed = project.run(COMMAND, "impact", "data/raw/none.txt", check=False)
    assert failed.returncode == 2 and len(failed.stderr.strip().splitlines()) == 1

"""Every package that is installed is named in a lock with the hashes of its files, and the locks agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LOCKS = sorted((ROOT / "deploy" / "lock").glob("*.txt"))
OF_TORCH = {"torch"}  # in torch-cpu.txt and torch-cuda.txt


def locked(path: Path) -> list[tuple[Requirement, set[str]]]:
    """(requirement, hashes) of each entry."""
    lines = re.sub(r"\\\n\s*", " ", path.read_text()).splitlines()
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            text, *hashes = line.split(" --hash=")
            found.append((Requirement(text), set(map(str.strip, hashes))))
    return found


def versions(name: str) -> dict[str, str]:
    entries = locked(ROOT / "deploy" / "lock" / f"{name}.txt")
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each, _ in entries}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_entry_is_one_version_with_its_hashes(path):
    entries = locked(path)
    assert entries
    for requirement, hashes in entries:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)) and requirement.url is None, requirement
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), requirement


@pytest.mark.parametrize(("lock", "extras"), [("stemma", ("s3", "kubernetes")), ("dev", ("s3", "kubernetes", "dev"))])
def test_a_lock_has_what_the_project_asks_for(lock, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    have = versions(lock)
    for text in asked:
        requirement = Requirement(text)
        if (name := canonicalize_name(requirement.name)) not in OF_TORCH:
            assert name in have and requirement.specifier.contains(have[name]), f"{text}: run .ci/lock"


@pytest.mark.parametrize("lock", ["stemma", "prefect", "mlflow", "build"])
def test_a_part_is_locked_at_the_versions_of_the_whole(lock):
    whole = versions("dev")
    assert {name: version for name, version in versions(lock).items() if whole.get(name) != version} == {}


def test_both_builds_of_torch_are_the_version_of_the_project():
    assert '"torch==2.13.0"' in (ROOT / "pyproject.toml").read_text()
    assert {version.partition("+")[0] for version in versions("torch-cpu").values()} == {"2.13.0"}
    assert versions("torch-cuda")["torch"] == "2.13.0"


def test_nothing_is_installed_but_what_a_lock_names():
    makefile = (ROOT / "Makefile").read_text()
    workflows = "\n".join(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    for line in re.findall(r"pip install.*", f"{makefile}\n{workflows}"):
        assert "--no-deps" in line, line
    assert "PIP_EXTRA_INDEX_URL" not in workflows
    for line in makefile.splitlines():
        if "-r deploy/lock" in line:
            assert "$(LOCKED)" in line, line
    assert "LOCKED = $(INSTALL) --require-hashes" in makefile

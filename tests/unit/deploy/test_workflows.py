"""The workflows keep to GitHub's schema, have no more rights than they need, and run what exists."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request) -> dict:
    return yaml.load(request.param.read_text(), Loader=yaml.BaseLoader)  # `on` is a word here, not true


def test_there_is_one_for_each_purpose():
    assert [path.stem for path in WORKFLOWS] == ["ci", "images", "nightly", "release", "security"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_it_keeps_to_the_schema(path):
    vendored = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/github-workflows.json")
    body = yaml.safe_load(path.read_text())
    body["on"] = body.pop(True)
    jsonschema.Draft7Validator(json.loads(vendored.read_text())).validate(body)


def test_rights_are_named_and_jobs_end(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert int(job["timeout-minutes"]) <= 90, name
        assert job["runs-on"] == "ubuntu-24.04"
        for step in job["steps"]:
            if "uses" in step:
                # A tag can be moved to other code, a commit cannot.
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] == "false"
            # What somebody else writes (titles, branches) must not become part of a script.
            assert not re.search(r"\$\{\{\s*github\.(event|head_ref)", step.get("run", ""))


def test_every_action_says_its_version_and_is_the_same_everywhere():
    found = re.findall(r"uses: (\S+)@(\w+)(?: # (v[\d.]+))?$", "\n".join(path.read_text() for path in WORKFLOWS), re.M)
    assert len({action for action, _, _ in found}) == len(set(found)) and all(version for _, _, version in found)


def test_known_faults_are_looked_for_every_week_in_every_lock_and_image():
    body = yaml.load((ROOT / ".github/workflows/security.yml").read_text(), Loader=yaml.BaseLoader)
    assert body["on"]["schedule"]
    packages, images = body["jobs"]["packages"], body["jobs"]["images"]
    locks = {path.stem for path in (ROOT / "deploy" / "lock").glob("*.txt")} - {"audit", "build", "torch-cpu"}
    assert set(packages["strategy"]["matrix"]["lock"]) == locks
    assert any("pip-audit" in step.get("run", "") for step in packages["steps"])
    built = {each["file"] for each in images["strategy"]["matrix"]["include"]}
    assert built == {path.name for path in (ROOT / "deploy" / "docker").glob("*.Dockerfile")}
    assert any("anchore/scan-action" in step.get("uses", "") for step in images["steps"])


def test_dependabot_keeps_to_its_schema_and_owners_are_named_for_what_is_trusted():
    vendored = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/dependabot.json")
    body = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    jsonschema.Draft7Validator(json.loads(vendored.read_text())).validate(body)
    watched = {each["package-ecosystem"] for each in body["updates"]}
    assert {"github-actions", "docker", "docker-compose", "pip"} <= watched
    for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines():
        if line and not line.startswith("#"):
            path, *owners = line.split()
            assert owners and (path == "*" or (ROOT / path.strip("/")).exists()), line


def test_tests_run_on_three_versions_of_python():
    body = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert body["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    text = (ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.11"' in text


def test_what_is_run_exists(workflow):
    makefile = (ROOT / "Makefile").read_text()
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            for target in re.findall(r"^make (\w+)", step.get("run", ""), flags=re.MULTILINE):
                assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
            for script in re.findall(r"(?:^|python3 )((?:\.ci|deploy)/[\w./-]+)", step.get("run", ""), re.MULTILINE):
                assert (ROOT / script).exists(), script


@pytest.mark.parametrize("name", ["images", "release"])
def test_every_image_is_built_in_both_variants(name):
    body = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    job = body["jobs"]["build" if name == "images" else "images"]
    built = {(each["file"], each.get("arguments")) for each in job["strategy"]["matrix"]["include"]}
    plain = {(path.name, None) for path in (ROOT / "deploy" / "docker").glob("*.Dockerfile")}
    variants = {("stemma.Dockerfile", "DEVICE=cpu"), ("stemma.Dockerfile", "DEVICE=cuda")}
    assert built == plain - {("stemma.Dockerfile", None)} | variants


def test_a_release_keeps_no_token():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "id-token: write" in text and "provenance: mode=max" in text and "sbom: true" in text
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"GITHUB_TOKEN"}

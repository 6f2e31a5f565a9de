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
    assert [path.stem for path in WORKFLOWS] == ["ci", "images", "nightly", "release"]


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
                assert re.fullmatch(r"[\w./-]+@(v\d+|release/v1)", step["uses"]), step["uses"]
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] == "false"
            # What somebody else writes (titles, branches) must not become part of a script.
            assert not re.search(r"\$\{\{\s*github\.(event|head_ref)", step.get("run", ""))


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

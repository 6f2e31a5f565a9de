"""The package of deployments and prefect.yaml say the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.deployments import guards
from flows.deployments.catalogue import DEPLOYMENTS, TAGS
from flows.pipeline import graph

ROOT = Path(__file__).resolve().parents[3]


def test_prefect_yaml_has_the_same_deployments():
    given = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text())["deployments"]
    expected = [
        {
            "name": each.name,
            "entrypoint": each.file,
            "description": each.description,
            "tags": list(TAGS),
            "work_pool": {
                "name": "stemma",
                "job_variables": {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(guards.BEAT_SECONDS)}},
            },
        }
        for each in DEPLOYMENTS
    ]
    assert given == expected


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each.name)
def test_every_parameter_of_a_deployment_is_explained(deployment):
    assert deployment.name == deployment.flow().name
    for name, parameter in deployment.flow().parameters.properties.items():
        assert parameter.get("description"), f"{deployment.name}: {name}"
    first = deployment.parameters(ROOT)
    assert set(first) <= set(deployment.flow().parameters.properties)


def test_stages_and_models_are_choices():
    lifecycle, promote = (
        next(each for each in DEPLOYMENTS if each.name == name).flow().parameters.properties
        for name in ("lifecycle", "promote")
    )
    choices = lifecycle["until"]["anyOf"][0]["enum"]
    assert choices == graph.names(ROOT) and "evaluate@base" in choices and "evaluate" in choices
    recipes = lifecycle["recipe"]["anyOf"][0]["enum"]
    assert "own-data" in recipes and len(recipes) == len(list((ROOT / "recipes").glob("*.yaml")))
    assert promote["model"]["enum"] == ["base", "classifier", "instruct", "reward", "assistant"]


def test_without_a_server_it_says_so():
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.deployments"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "PREFECT_API_URL is not set" in done.stderr

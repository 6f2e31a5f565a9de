"""A ladder on a small workspace: real runs of DVC, git and the registry, whose losses follow a law."""

from __future__ import annotations

import json
import os

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from components.planning.flops import ParametricLoss
from core.errors import InputProblem
from core.workspace import Workspace
from flows.scale import scale
from flows.scaling.ladder import ladder
from tests.prefect_api import ask

LAW = ParametricLoss(entropy=1.5, a=30, b=20, alpha=0.35, beta=0.4)  # of tests/integration/flows/workspace/stage.py
LADDER = ("scale", "--name", "rungs", "--sizes", "depth-1,depth-3,depth-8", "--tokens", "2k,9k,40k")


@pytest.mark.nightly  # ten runs; the law, and sweeps, are shown without them
def test_a_ladder_gives_the_law_back_and_a_later_training_is_held_against_it(unjudged, prefect_api):
    workspace = unjudged
    before = workspace.tree()
    shown = json.loads(workspace.stemma(*LADDER, "--parallel", "2", "--hours", "2", "--json"))
    assert [(rung["size"], rung["training"]["tokens"]) for rung in shown["trainings"]] == [
        (size, tokens) for size in ("depth-1", "depth-3", "depth-8") for tokens in (2000, 9000, 40000)
    ]
    for rung in shown["trainings"]:
        training = rung["training"]
        assert training["loss"] == pytest.approx(LAW.loss(training["parameters"], training["tokens"]))
    assert shown["law"]["loss"]["entropy"] == pytest.approx(1.5, rel=1e-3)
    assert workspace.tree() == before
    assert shown["best"]["flops"] > 0 and shown["best"]["beyond"] > 1
    page = workspace.home / "sweeps" / "rungs" / "scale.html"
    assert "A / N^alpha" in page.read_text() and page.with_name("scale.png").stat().st_size > 10_000

    workspace.stemma("gc", "--keep-runs", "1", "--delete")
    text = workspace.stemma("scale", "show", "rungs", "--flops", "1e12")
    assert "For 1e+12 FLOP (6ND)" in text and "rule of thumb: 20" in text and "by the law" in text
    assert "goes on" not in workspace.stemma(*LADDER)  # all have ended
    asked = {"sizes": ["depth-1", "depth-3", "depth-8"], "tokens": ["2k", "9k", "40k"], "name": "rungs", "hours": 2}
    auth = os.environ["PREFECT_API_AUTH_STRING"]
    with temporary_settings({PREFECT_API_URL: prefect_api, PREFECT_API_AUTH_STRING: auth}):
        ended = scale(**asked, workspace=str(workspace.root), return_state=True)
    assert ended.is_completed() and "rule of thumb: 20" in ended.message
    assert json.loads(json.dumps(ended.result()))["trainings"] == shown["trainings"]
    (artifact,) = ask(prefect_api, "/artifacts/filter", {"artifacts": {"key": {"any_": ["scale-report"]}}})
    assert "A / N^alpha" in artifact["data"] and "depth-8" in artifact["data"]

    workspace.stemma("run", "--until", "pretrain", "--set", "pretrain.architecture={preset: depth-2}", "--set",
                     "pretrain.tokens=20000", "--set", "pretrain.steps=null")  # fmt: skip
    held = json.loads(workspace.stemma("scale", "check", "rungs", "--json"))
    assert held["training"]["tokens"] == 20000
    assert held["predicted"]["value"] == pytest.approx(held["training"]["loss"], rel=0.05)


def test_every_mistake_of_a_ladder_is_reported_at_once(first_run):
    workspace = first_run[0]
    place = Workspace(workspace.root, workspace.home)
    with pytest.raises(InputProblem) as caught:
        ladder(place, ["depth-1", "depth-x"], ["many"], seeds=0, assignments=["pretrain.tokens=3"])
    for words in (
        "--sizes depth-x: no preset is called so",
        "--sizes: a law needs 3 different sizes or more, and 2 are given",
        "--tokens 'many' is no number",
        "--seeds 0: must be 1 or more",
        "--set pretrain.tokens: the ladder sets it itself",
    ):
        assert any(words in line for line in caught.value.problems), (words, caught.value.problems)
    assert "--tokens: a law needs 3 different lengths" in workspace.stemma(
        "scale", "--sizes", "depth-1,depth-2,depth-3", "--tokens", "1k", code=2
    )
    assert "give one budget" in workspace.stemma("scale", "show", "x", "--flops", "1e9", "--hours", "1", code=2)

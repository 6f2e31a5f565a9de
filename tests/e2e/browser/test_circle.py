"""The whole circle: an answer is edited in the chat, exported, trained on, put before people where the reward model and
the judge disagree, and the gate counts what they said; then its person has it deleted, and the models are named."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from ruamel.yaml import YAML

from core.workspace import Workspace as Opened
from registry.promotion.promote import promote
from tests.browser import context, page  # noqa: F401  (fixtures of this file alone)
from tests.integration.gateway.conftest import ENGINE, Gateway, eventually, gateway
from tests.unit.evaluate.judging_server import judging_server
from tests.unit.finetuning.workspace import NAMES, quick, write_model
from tests.workspace import Workspace, make_workspace

STAGES = ("curate", "reward_model", "preference_tune")
FEEDBACK = "data/raw/feedback"


def pairs(count: int) -> list[dict]:
    return [
        {"prompt": f"q {NAMES[i % 8]} {i}", "chosen": f"{NAMES[i % 8]} sigma", "rejected": f"{NAMES[i % 8]} kappa"}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The shipped stages that make preferences a reward model and an assistant; a chat model that was imported."""
    workspace = make_workspace(tmp_path_factory.mktemp("circle") / "workspace")
    yaml, root = YAML(), workspace.root
    pipeline = yaml.load(root / "dvc.yaml")
    yaml.dump({"stages": {name: pipeline["stages"][name] for name in STAGES}}, root / "dvc.yaml")
    write_model(root / "models" / "instruct")
    (root / "models" / "base").mkdir()
    (root / "models" / "base" / ".keep").touch()
    rows = {"pairs": pairs(60), "chats": [{"prompt": f"say {name}", "completion": name} for name in NAMES]}
    for name in ("development", "test"):
        rows[name] = [{"prompt": f"{name} {each}", "completion": each} for each in NAMES[:4]]
    for name, each in rows.items():
        (root / "data" / "raw" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    parameters = yaml.load(root / "params.yaml")
    parameters["curate"] |= {"sources": [], "labels": {"source": "none"}, "decontamination": {"action": "none"}}
    parameters["curate"]["instructions"] = {"source": "files", "files": {
        "instruct": ["data/raw/chats.jsonl", f"{FEEDBACK}/demonstrations.jsonl"],
        "reward": ["data/raw/pairs.jsonl", f"{FEEDBACK}/pairs.jsonl"],
        "preference": ["data/raw/pairs.jsonl", f"{FEEDBACK}/pairs.jsonl"],
        "development": ["data/raw/development.jsonl"], "test": ["data/raw/test.jsonl"],
    }}  # fmt: skip
    tiny = {**quick(10, learning_rate=5e-3, checkpoint_every=10), "sampling": {"max_new_tokens": 6, "samples": 4}}
    parameters["reward_model"] |= tiny
    parameters["preference_tune"] |= tiny
    parameters["evaluate"]["answers"] |= {"max_new_tokens": 8}
    parameters["promotion"] = {"assistant": {"human_win_rate": {}}}
    yaml.dump(parameters, root / "params.yaml")
    workspace.commit("three stages")
    workspace.environment |= {"OMP_NUM_THREADS": "1"}
    stemma(workspace, "import", "models/instruct", "--as", "assistant", "--license", "none")
    promoted = promote(Opened.find(root), "assistant:1", "champion", "somebody has to be the first", "Ada", force=True)
    assert promoted.accepted
    return workspace


@pytest.fixture(scope="module")
def chat(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    options = ("--engine", ENGINE, "--model", "assistant@champion", "--feedback-days", "7")
    with gateway(workspace.root, tmp_path_factory.mktemp("chat") / "log", *options) as running:
        eventually(lambda: running.serves("assistant:1"), 90)
        yield running


def stemma(workspace: Workspace, *arguments: str) -> str:
    return workspace.run(workspace.tool("python"), "-m", "cli", *arguments).stdout


def test_what_a_person_says_comes_back_as_a_model_that_people_judge(workspace: Workspace, chat: Gateway, page: Page):  # noqa: F811
    page.goto(chat.url)
    page.get_by_text("Feedback", exact=True).click()
    page.get_by_label("allow that models are trained").check()
    page.get_by_label("Your question").fill("say one")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("button", name="Edit the answer").click()
    page.get_by_label("The answer as it should have been").fill("a better one")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("li.its").last).to_contain_text("a better one")
    talk = json.loads(page.evaluate("sessionStorage.getItem('stemma-chat')"))["talkName"]

    exported = json.loads(stemma(workspace, "feedback", "export", "--json"))
    assert exported["rows"] == {"pairs.jsonl": 1, "labelled.jsonl": 1, "demonstrations.jsonl": 1}
    workspace.dvc("repro", "-q", STEMMA_RUN="second", timeout=900)
    stemma(workspace, "sync")
    learnt = (workspace.root / "data/instructions/preference.jsonl").read_text()
    assert "a better one" in learnt and talk not in learnt
    traced = stemma(workspace, "trace", "assistant:2")
    assert "preference_tune" in traced and "reward_model" in traced and "data/raw" in traced

    opened = Opened.find(workspace.root)
    for version, alias in (("reward:1", "champion"), ("assistant:2", "candidate")):
        assert promote(opened, version, alias, "for people to look at", "Ada", force=True).accepted
    with judging_server() as judge:
        judge.answer = lambda text: "[[C]]"
        yaml = YAML()
        parameters = yaml.load(workspace.root / "params.yaml")
        parameters["evaluate"]["judge"] = {"endpoint": judge.url, "model": "judge"}
        yaml.dump(parameters, workspace.root / "params.yaml")
        told = stemma(workspace, "feedback", "choose", "assistant:1", "assistant:2", "--questions", "8", "--json")
    prepared = json.loads(told)
    assert prepared["reward_model"] == "reward:1" and len(prepared["pairs"]) + prepared["same"] == 8
    spread = [pair["disagreement"] for pair in prepared["pairs"] if not pair["at_random"]]
    assert spread == sorted(spread, reverse=True) and judge.asked

    page.goto(f"{chat.url}/arena")
    for _ in prepared["pairs"]:
        page.get_by_role("button", name="Next prepared question").click()
        question = page.locator("#asked-text").inner_text()
        [pair] = [each for each in prepared["pairs"] if each["question"] == question]
        first = page.locator("#answer-a").inner_text().split() == pair["b"].split()
        page.get_by_role("button", name="A is better" if first else "B is better").click()
        expect(page.get_by_role("status")).to_contain_text("Recorded.")
    at_random = sum(pair["at_random"] for pair in prepared["pairs"])
    decided = promote(opened, "assistant:2", "champion", "people prefer it", "Ada", force=True)
    [counted] = [check for check in decided.verdict.checks if check.name.startswith("human_win_rate")]
    assert counted.passed and f"({at_random} won, 0 tied, 0 lost)" in counted.detail, "those that were drawn at random"
    assert json.loads(stemma(workspace, "cost", "assistant:2", "--json"))["judging"][0]["stage"] == "feedback choose"

    for _ in range(2):  # the second time by the files of the past
        gone = json.loads(stemma(workspace, "feedback", "delete", "--conversation", talk, "--yes", "--json"))
        assert sorted(gone["versions"]) == ["assistant:2", "reward:1"]

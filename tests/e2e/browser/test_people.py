"""The flywheel, as docs/feedback.md tells it: a person votes and edits, a candidate is trained on it and judged by it.

The tests share the stack of this folder and stand in the order of the story. What is trained are the shipped reward
model and DPO, on ``data/raw/feedback`` alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from ruamel.yaml import YAML

from deploy.stack.state import CONSOLE
from tests.e2e.browser.learning import FEEDBACK, learn_from_people
from tests.stack import RunningStack
from tests.workspace import Workspace, wait_until

Picture = Callable[[Page, str], None]
QUESTIONS = ("Count for me", "Go on", "Once more", "And again", "The last time")
# At night: it takes minutes of two cores, and its steps have tests in tests/integration/gateway and tests/unit/retrain.
pytestmark = [pytest.mark.timeout(900), pytest.mark.nightly]


@dataclass(frozen=True)
class Setting:
    """A stack of which Ada has a key: its assistant's champion, and another version that is to be compared with it."""

    running: RunningStack
    key: str
    champion: str
    other: str

    @property
    def console(self) -> str:
        return self.running.now.service(CONSOLE).url

    @property
    def gateway(self) -> str:
        return self.running.now.gateway_url


@pytest.fixture(scope="module")
def setting(workspace: Workspace, running: RunningStack) -> Setting:
    if len(versions(workspace)) < 2:  # no test before this one has made a second version
        yaml = YAML()
        values = yaml.load((workspace.root / "params.yaml").read_text())
        values["chat"]["word"] = "second"
        yaml.dump(values, workspace.root / "params.yaml")
        workspace.dvc("repro", "-q", STEMMA_RUN="second", timeout=900)
        stemma(workspace, "sync")
    learn_from_people(workspace)
    aliases = {f"assistant:{each['version']}": each["aliases"] or [] for each in versions(workspace)}
    champion = next(name for name, held in aliases.items() if "champion" in held)
    key = json.loads(stemma(workspace, "keys", "add", "ada", "--role", "admin", "--json"))["key"]
    return Setting(running, key, champion, next(name for name in aliases if name != champion))


@pytest.fixture(scope="module")
def ada(context: BrowserContext, setting: Setting) -> Iterator[Page]:
    """The tab of a person who has nothing but a key: no cookie of the stack's own links."""
    context.clear_cookies()
    page = context.new_page()
    page.goto(f"{setting.console}/models")
    page.get_by_label("API key").fill(setting.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("ada (admin)")).to_be_visible()
    yield page
    page.close()


def stemma(workspace: Workspace, *arguments: str) -> str:
    return workspace.run(sys.executable, "-m", "cli", *arguments).stdout


def versions(workspace: Workspace) -> list[dict[str, Any]]:
    """The registered versions of the assistant."""
    return [each for each in json.loads(stemma(workspace, "models", "--json")) if each["model"] == "assistant"]


def look_at_verdict(page: Page, setting: Setting, name: str, alias: str) -> None:
    """The second look at a promotion, which changes nothing yet."""
    page.goto(f"{setting.console}/models/{name.replace(':', '/')}/promote")
    page.get_by_label("Alias").fill(alias)
    page.get_by_label("Reason").fill("for the arena")
    page.get_by_role("button", name="Look at the gate's verdict").click()
    expect(page.get_by_role("button", name=f"Promote {name}")).to_be_visible()


def test_a_person_votes_between_the_champion_and_a_candidate(ada: Page, setting: Setting, picture: Picture):
    look_at_verdict(ada, setting, setting.other, "candidate")
    ada.get_by_role("button", name=f"Promote {setting.other}").click()
    expect(ada.get_by_role("heading", name=f"{setting.other} @candidate")).to_be_visible()
    models = lambda: httpx.get(f"{setting.gateway}/health", trust_env=False, timeout=60).json()["models"]  # noqa: E731
    serving = lambda: {each["version"] for each in models() if each["state"] == "serving"}  # noqa: E731
    wait_until(lambda: serving() >= {setting.champion, setting.other}, 300, "both versions are served", every=0.5)

    ada.goto(f"{setting.gateway}/arena")
    expect(ada.get_by_role("alert")).to_contain_text("no valid API key")
    ada.get_by_text("Settings").click()
    ada.get_by_label("API key").fill(setting.key)
    ada.get_by_label("API key").press("Tab")
    expect(ada.get_by_role("alert")).to_be_hidden()
    liked = "second" if setting.other == "assistant:2" else "first"
    for question in QUESTIONS:
        ada.get_by_label("Your question").fill(question)
        ada.get_by_role("button", name="Ask both").click()
        expect(ada.get_by_role("status")).to_contain_text("Which answer is better?")
        answers = [ada.locator(f"#answer-{side}").inner_text() for side in "ab"]
        assert sorted(answer.split("-")[0] for answer in answers) == ["first", "second"]
        ada.get_by_label("Models may be trained").check()
        better = "A" if answers[0].startswith(liked) else "B"
        ada.get_by_role("button", name=f"{better} is better").click()
        expect(ada.get_by_role("status")).to_contain_text(f"{better} was {setting.other}")
    expect(ada.get_by_role("row", name=setting.other)).to_contain_text("5 : 0 : 0")
    picture(ada, "arena")


def test_the_person_rates_and_edits_answers(ada: Page, setting: Setting, picture: Picture):
    ada.goto(f"{setting.gateway}/rate")
    ada.get_by_label("and allow that models are trained").check()
    for question, stars, edit in (("How many?", "5", None), ("How far?", "1", None), ("Until when?", None, "Until 3.")):
        ada.get_by_label("Your question").fill(question)
        ada.get_by_role("button", name="Ask", exact=True).click()
        expect(ada.get_by_role("status")).to_contain_text("How good is the answer?")
        if stars:
            ada.get_by_label(f"{stars} – ").check()
        if edit:
            ada.get_by_role("button", name="Edit the answer").click()
            ada.get_by_label("The answer as it should have been").fill(edit)
            ada.get_by_role("button", name="Save").click()
        expect(ada.get_by_text("Recorded.")).to_be_visible()
    picture(ada, "rate")


def test_the_gate_reads_what_people_prefer(ada: Page, setting: Setting):
    look_at_verdict(ada, setting, setting.other, "champion")
    check = ada.get_by_role("listitem").filter(has_text=f"human_win_rate against {setting.champion}")
    expect(check).to_contain_text("passed")
    expect(check).to_contain_text("(5 won, 0 tied, 0 lost)")


def test_a_candidate_is_trained_on_it_and_its_verdict_is_shown(
    ada: Page, setting: Setting, workspace: Workspace, picture: Picture
):
    known = {each["version"] for each in versions(workspace)}
    exported = json.loads(stemma(workspace, "feedback", "export", "--json"))
    assert exported["rows"] == {"pairs.jsonl": 6, "labelled.jsonl": 2, "demonstrations.jsonl": 2}
    assert exported["event"] == "stemma.data.changed"

    def ended() -> dict[str, Any] | None:
        found = setting.running.prefect("/flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}})
        return next((run for run in found if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")), None)

    run = wait_until(ended, 600, "the end of the retraining that the event started", every=1.0)
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Rejected"), run["state"]
    (made,) = {each["version"] for each in versions(workspace)} - known

    ada.goto(f"{setting.console}/models/assistant")
    ada.get_by_role("row", name=f"assistant:{made}").get_by_role("link").first.click()
    decision = ada.get_by_role("article").first
    expect(decision).to_contain_text(f"refusal of assistant:{made} for @champion")
    ada.get_by_text("checks of the gate").first.click()
    expect(decision).to_contain_text(f"nobody has voted on assistant:{made} against {setting.champion}")
    picture(ada, "candidate")


def test_a_deletion_request_removes_the_rows_and_names_the_models_that_learnt_them(
    setting: Setting, workspace: Workspace
):
    made = max(each["version"] for each in versions(workspace))
    found = json.loads(stemma(workspace, "feedback", "delete", "--person", "ada", "--yes", "--json"))
    assert (found["answers"], found["votes"]) == (3, len(QUESTIONS))
    assert found["rows"] == {"pairs.jsonl": 6, "labelled.jsonl": 2, "demonstrations.jsonl": 2}
    learnt = {f"assistant:{made}", "reward:1"}
    assert set(found["versions"]) == learnt
    assert not list((workspace.root / FEEDBACK).glob("*.jsonl"))
    assert json.loads(stemma(workspace, "arena", "--json"))["votes"] == 0
    named = json.loads(stemma(workspace, "impact", found["files"][0], "--json"))["versions"]
    assert {f"{each['model']}:{each['version']}" for each in named} == learnt

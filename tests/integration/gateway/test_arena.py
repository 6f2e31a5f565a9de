"""The arena before a small engine: two versions answer without their names, a vote is recorded, the page shows it."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest
from playwright.sync_api import Page, expect

from deploy import prepared_pairs
from registry.db.database import open as open_registry
from registry.feedback.votes import votes
from tests.browser import check, chromium, context, page  # noqa: F401  (fixtures)
from tests.integration.gateway.conftest import ENGINE, eventually, gateway


@pytest.fixture(scope="module")
def arena(lab, tmp_path_factory):
    """A gateway that serves both versions of the assistant."""
    lab.promote("assistant:2", "contender")  # only what was signed is served
    models = ("--model", "assistant:1", "--model", "assistant:2")
    with gateway(lab.root, tmp_path_factory.mktemp("arena") / "log", "--engine", ENGINE, *models) as running:
        eventually(lambda: running.serves("assistant:1") and running.serves("assistant:2"), 90)
        yield running


def post(gateway, path, **body):
    return httpx.post(f"{gateway.url}/v1/arena/{path}", json=body, trust_env=False, timeout=60)


def recorded(lab):
    with open_registry(lab.workspace.registry_url) as registry, registry.read() as session:
        return votes(session)


def test_a_vote_is_recorded_once_and_names_come_after_it(lab, arena):
    before = len(recorded(lab))
    asked = post(arena, "battles", question="say hello")
    assert asked.status_code == 200 and not [name for name in asked.headers if name.startswith("x-stemma")]
    assert "assistant" not in asked.text
    battle = asked.json()["battle"]
    voted = post(arena, "votes", battle=battle, choice="a", reason="shorter")
    assert {voted.json()["a"], voted.json()["b"]} == {"assistant:1", "assistant:2"}
    vote = recorded(lab)[-1]
    assert (vote.a, vote.b, vote.choice, vote.question, vote.reason) == (
        voted.json()["a"], voted.json()["b"], "a", "say hello", "shorter",
    )  # fmt: skip
    assert [vote.answer_a, vote.answer_b] == asked.json()["answers"]
    again = post(arena, "votes", battle=battle, choice="b")
    assert again.status_code == 404 and len(recorded(lab)) == before + 1
    board = httpx.get(f"{arena.url}/v1/arena/leaderboard", trust_env=False, timeout=60).json()
    assert board["votes"] == before + 1 and board["ratings"][0]["model"] == vote.a


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("battles", {"question": ""}),
        ("battles", {"question": "x", "model": "assistant:1"}),
        ("votes", {"battle": "none", "choice": "c"}),
        ("votes", {"battle": "none", "choice": "a", "reason": "x" * 8001}),
    ],
)
def test_what_is_no_question_and_no_vote_is_refused(arena, path, body):
    assert post(arena, path, **body).status_code == 400


def test_a_page_from_elsewhere_cannot_vote(arena):
    origin = {"origin": "https://evil.example"}
    body = {"battle": "x", "choice": "a"}
    assert httpx.post(f"{arena.url}/v1/arena/votes", json=body, headers=origin, trust_env=False).status_code == 403
    plain = {"content-type": "text/plain"}
    assert httpx.post(f"{arena.url}/v1/arena/votes", content="{}", headers=plain, trust_env=False).status_code == 415


def test_one_version_alone_is_no_arena(small):
    refused = post(small, "battles", question="say hello")
    assert refused.status_code == 409 and "needs two versions" in refused.json()["error"]["message"]


def test_a_person_votes_on_the_page_and_sees_the_leaderboard(lab, arena, page: Page):  # noqa: F811
    page.goto(f"{arena.url}/arena")
    before = len(recorded(lab))
    page.get_by_label("Your question").fill("say good morning")
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("status")).to_contain_text("The models are named after your vote")
    expect(page.locator("#answer-a")).to_contain_text("good morning")
    assert "assistant" not in page.locator("#answers").inner_text()
    check(page)
    page.get_by_label("Reason").fill("both say it")
    page.get_by_label("Reason").press("Enter")  # no vote
    page.get_by_role("button", name="Equally good").click()
    expect(page.get_by_role("status")).to_contain_text("Recorded. A was assistant:")
    expect(page.locator("#board tbody tr")).to_have_count(2)
    vote = recorded(lab)[-1]
    assert len(recorded(lab)) == before + 1 and (vote.choice, vote.reason) == ("tie", "both say it")
    done = json.loads(_arena(lab, "--json"))
    assert done["votes"] == before + 1 and {each["model"] for each in done["ratings"]} == {"assistant:1", "assistant:2"}
    assert "both say it" in _arena(lab, "--votes")


PAIRS = {
    "a": "assistant:1", "b": "assistant:2", "made": 1.0, "reward_model": "reward:1", "judge_model": "a judge",
    "pairs": [
        {"question": f"{name}?", "a": "one", "b": "two", "at_random": at_random, "reward": 0.9, "judge": 0.0,
         "disagreement": 0.9}
        for name, at_random in (("first", False), ("second", True), ("third", False))
    ],
}  # fmt: skip


def test_prepared_pairs_are_asked_about_in_their_order_and_say_how_they_were_chosen(lab, arena, page: Page):  # noqa: F811
    assert post(arena, "pairs").status_code == 404
    prepared_pairs.write(lab.workspace.home, prepared_pairs.PreparedPairs.model_validate(PAIRS))
    before = httpx.get(f"{arena.url}/v1/arena/leaderboard", trust_env=False, timeout=60).json()
    page.goto(f"{arena.url}/arena")
    expect(page.locator("#waiting")).to_contain_text("3 prepared questions wait for a vote")
    page.get_by_role("button", name="Next prepared question").click()
    expect(page.locator("#asked-text")).to_have_text("first?")
    expect(page.locator("#chosen")).to_contain_text("reward model and the judge disagree")
    shown = page.locator("#answers").inner_text()
    assert "assistant" not in shown and "0.9" not in page.locator("main").inner_text(), "an opinion would lead the vote"
    check(page)
    first_is_one = page.locator("#answer-a").inner_text() == "one"
    page.get_by_role("button", name="A is better").click()
    prefers = ("A (90 %)", "B") if first_is_one else ("B (90 %)", "A")
    expect(page.get_by_role("status")).to_contain_text(
        f"The reward model prefers {prefers[0]}, the judge prefers {prefers[1]}."
    )
    vote = recorded(lab)[-1]
    assert (vote.question, vote.chosen, vote.answer_a) == ("first?", "disagreement", "one" if first_is_one else "two")
    assert vote.a == ("assistant:1" if first_is_one else "assistant:2")
    assert vote.selection["reward"] == pytest.approx(0.9 if first_is_one else 0.1)
    assert (vote.selection["judge"], vote.selection["place"], vote.selection["of"]) == (0 if first_is_one else 1, 1, 3)
    after = httpx.get(f"{arena.url}/v1/arena/leaderboard", trust_env=False, timeout=60).json()
    assert (after["votes"], after["left_out"]) == (before["votes"], before["left_out"] + 1)
    expect(page.locator("#board-note")).to_contain_text("do not count")
    second, third = post(arena, "pairs").json(), post(arena, "pairs").json()
    assert (second["question"], second["chosen"], third["question"]) == ("second?", "random", "third?")
    assert post(arena, "votes", battle=second["battle"], choice="tie").json()["reward"] is not None
    assert "random" in _arena(lab, "--votes") and "1 votes on pairs that were chosen because" in _arena(lab)


def _arena(lab, *arguments):
    command = [sys.executable, "-m", "cli", "arena", *arguments]
    return subprocess.run(command, cwd=lab.root, capture_output=True, text=True, check=True).stdout

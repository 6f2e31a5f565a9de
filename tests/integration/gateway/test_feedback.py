"""From an answer to training data: a gateway keeps what people allow, and takes what they say of it."""

from __future__ import annotations

import json
import shutil
import subprocess

import httpx
import pytest
import yaml
from playwright.sync_api import Page, expect
from sqlalchemy import select
from typer.testing import CliRunner

from cli.errors import explain
from cli.main import app
from components.curate.parameters import InstructionsParameters
from components.curate.supervised.instructions import read_splits
from core.errors import InputProblem
from deploy import prepared_pairs
from flows.feedback.export import export
from registry.db.database import open as open_registry
from registry.db.schema import Deletion
from registry.feedback.answers import answers
from registry.lineage.recording import record_execution
from tests.browser import check, chromium, context, page  # noqa: F401  (fixtures)
from tests.integration.gateway.conftest import ENGINE, SMALL, Lab, eventually, gateway
from tests.integration.gateway.test_arena import PAIRS
from tests.unit.registry.conftest import finished, item  # noqa: F401  (a fixture)

HELD_OUT = ("test", "development")
KEYS = {name: f"{name}-{'k' * 40}" for name in ("ada", "bob")}


@pytest.fixture(scope="module")
def own(lab, tmp_path_factory) -> Lab:
    """A copy of the workspace, into which these tests export."""
    root = tmp_path_factory.mktemp("feedback") / "workspace"
    shutil.copytree(lab.root, root, symlinks=True)
    (root / "params.yaml").write_text(json.dumps({"curate": {}}))
    subprocess.run(["git", "rm", "-rq", "--cached", "data/raw"], cwd=root, check=True)  # DVC versions it from now on
    return Lab(root)


@pytest.fixture(scope="module")
def keeping(own, tmp_path_factory):
    """A gateway that keeps answers for a week, with a key for Ada and one for Bob."""
    own.promote("assistant:1", SMALL.partition("@")[2])
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    options = ("--engine", ENGINE, "--model", SMALL, "--feedback-days", "7")
    with gateway(own.root, tmp_path_factory.mktemp("keeping") / "log", *options, STEMMA_API_KEYS=keys) as running:
        eventually(lambda: running.serves("assistant:1"), 90)
        yield running


def post(gateway, path, person="ada", **body):
    headers = {"authorization": f"Bearer {KEYS[person]}"}
    return httpx.post(f"{gateway.url}/v1/{path}", json=body, headers=headers, trust_env=False, timeout=60)


def ask(gateway, said, **body):
    body = {"model": "assistant", "messages": [{"role": "user", "content": f"say {said}"}], **body}
    return post(gateway, "chat/completions", **body)


def kept(own, name):
    with open_registry(own.workspace.registry_url) as registry, registry.read() as session:
        return next((row for row in answers(session) if row.name == name), None)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_kept_where_its_request_says_so_and_redacted(own, keeping, stream):
    metadata = {"conversation": "a-talk-of-ours", "training": "yes"}
    asked = ask(keeping, "mail to ada@example.org", store=True, metadata=metadata, stream=stream)
    row = kept(own, asked.headers["x-request-id"])
    assert (row.answer, row.messages) == ("mail to [EMAIL]", [{"role": "user", "content": "say mail to [EMAIL]"}])
    assert (row.person, row.version, row.conversation, row.consent) == ("ada", "assistant:1", "a-talk-of-ours", True)
    assert row.expires - row.time == pytest.approx(7 * 86400, abs=60)


def test_nothing_else_is_kept(own, keeping):
    assert kept(own, ask(keeping, "hello").headers["x-request-id"]) is None
    wrong = ask(keeping, "hello", store=True, metadata={"conversation": "../x"})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "metadata"
    assert not kept(own, ask(keeping, "hi", store=True).headers["x-request-id"]).consent


def test_who_asked_rates_and_edits_and_nobody_else(own, keeping):
    name = ask(keeping, "hello", store=True).json()["id"]
    assert post(keeping, "feedback", "bob", answer=name, thumb="down").status_code == 404
    assert post(keeping, "feedback", answer=name).status_code == 400, "it says nothing"
    assert post(keeping, "feedback", answer=name, stars=6).status_code == 400
    assert post(keeping, "feedback", answer=name, edit="x" * 40_000).status_code == 400
    said = post(keeping, "feedback", answer=name, thumb="up", edit="call 4111 1111 1111 1111")
    assert said.json() == {"answer": name, "thumb": "up", "stars": None, "edited": True}
    assert kept(own, name).edit == "call [CARD]"
    body = {"answer": name, "thumb": "up"}
    assert httpx.post(f"{keeping.url}/v1/feedback", json=body, trust_env=False).status_code == 401


def test_a_gateway_that_was_not_started_to_keep_answers_keeps_none(lab, small):
    assert httpx.get(f"{small.url}/v1/feedback", trust_env=False).json()["days"] == 0
    body = {"model": "assistant", "messages": [{"role": "user", "content": "say hello"}], "store": True}
    answered = httpx.post(f"{small.url}/v1/chat/completions", json=body, trust_env=False)
    assert answered.status_code == 200 and kept(lab, answered.json()["id"]) is None


def test_a_person_allows_it_on_the_page_and_says_what_an_answer_should_have_been(own, keeping, page: Page):  # noqa: F811
    page.goto(keeping.url)
    page.get_by_text("Settings").click()
    page.get_by_label("API key").fill(KEYS["ada"])
    page.get_by_label("API key").press("Tab")
    page.get_by_text("Feedback", exact=True).click()
    expect(page.get_by_text("Kept for 7 days")).to_be_visible()
    page.get_by_label("Your question").fill("say {count} without")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("li.its")).to_contain_text("1 without")
    assert page.get_by_role("button", name="Good answer").count() == 0, "not kept, so there is nothing to rate"
    page.get_by_label("allow that models are trained").check()
    expect(page.get_by_label("Keep my answers")).to_be_checked()
    page.get_by_label("Your question").fill("say {count} <b>with</b>")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Bad answer").click()
    expect(page.get_by_text("Recorded.")).to_be_visible()
    page.get_by_role("button", name="Edit the answer").click()
    check(page)
    page.get_by_label("The answer as it should have been").fill("three <i>of them</i>")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("li.its").last).to_contain_text("three <i>of them</i>")
    page.reload()
    expect(page.locator("li.its").last).to_contain_text("three <i>of them</i>")
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    stored = json.loads(page.evaluate("sessionStorage.getItem('stemma-chat')"))
    row = kept(own, stored["messages"][-1]["id"])
    assert (row.thumb, row.answer, row.edit, row.consent) == ("down", "3 <b>with</b>", "three <i>of them</i>", True)
    assert row.conversation == stored["talkName"] and [each["role"] for each in row.messages][-1] == "user"


def test_what_was_said_becomes_training_data_and_goes_when_its_person_asks(own, keeping, finished, monkeypatch):  # noqa: F811
    allowed = {"store": True, "metadata": {"conversation": "the-circle", "training": "yes"}}
    name = ask(keeping, "one", **allowed).json()["id"]
    post(keeping, "feedback", answer=name, thumb="down", edit="a better one")
    theirs = post(keeping, "chat/completions", "bob", model="assistant", **allowed,
                  messages=[{"role": "user", "content": "say two"}]).json()["id"]  # fmt: skip
    post(keeping, "feedback", "bob", answer=theirs, stars=4, edit="two!")
    post(keeping, "feedback", answer=ask(keeping, "unasked", store=True).json()["id"], thumb="up")

    done = export(own.workspace)
    assert done.changed == [f"data/raw/feedback/{name}.jsonl" for name in ("pairs", "labelled", "demonstrations")]
    assert done.left_out["recorded without consent to training"] >= 1 and not export(own.workspace).changed
    rows = {file: (own.root / file).read_text() for file in done.changed}
    assert "a better one" in rows[done.changed[0]] and not any("unasked" in text for text in rows.values())
    files = {"instruct": [done.changed[2]], "preference": done.changed[:2],
             **{split: [f"data/raw/{split}.jsonl"] for split in HELD_OUT}}  # fmt: skip
    for split in HELD_OUT:
        (own.root / f"data/raw/{split}.jsonl").write_text(json.dumps({"prompt": split, "completion": "a"}) + "\n")
    parameters = InstructionsParameters(source="files", files=files, shares={"reward": 0})
    records, _ = read_splits(parameters, 1, own.root, pytest.fail)
    assert ("a better one", "one") in [(row.get("chosen"), row.get("rejected")) for row in records["preference"]]
    for split in HELD_OUT:
        (own.root / f"data/raw/{split}.jsonl").unlink()

    raw = yaml.safe_load((own.root / "data/raw.dvc").read_text())["outs"][0]["md5"]
    with open_registry(own.workspace.registry_url) as registry, registry.write() as session:
        record_execution(session, finished("tune", [item("raw", raw, "raw")], [item("m", "ffff", "model", "tuned")]))

    monkeypatch.chdir(own.root)
    command = ["feedback", "delete", "--person", "ada"]
    with pytest.raises(InputProblem, match="add --yes") as refused:
        CliRunner().invoke(app, [*command, "--conversation", "the-circle"], catch_exceptions=False)
    assert len(refused.value.problems) == 2 and explain(refused.value)[0] == 2 and kept(own, name)
    ran = CliRunner().invoke(app, [*command, "--yes", "--json"], catch_exceptions=False)
    said = json.loads(ran.stdout)
    assert ran.exit_code == 0 and said["versions"] == ["tuned:1"] and len(said["files"]) == 3
    assert kept(own, name) is None and kept(own, theirs).edit == "two!"
    left = {file: (own.root / file).read_text() for file in done.changed}
    assert not any("a better one" in text for text in left.values()) and "two!" in left[done.changed[0]]
    assert not export(own.workspace).changed, "the export has nothing of it either"
    with open_registry(own.workspace.registry_url) as registry, registry.read() as session:
        record = session.scalars(select(Deletion)).one()
        assert (record.versions, record.files) == (["tuned:1"], said["files"]) and record.rows >= 2
        assert "ada" not in record.subject and len(record.digest) == 64
    again = CliRunner().invoke(app, [*command, "--yes", "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["versions"] == ["tuned:1"], "by the files of the past"


def test_a_person_rates_an_answer_by_the_rubric(own, keeping, page: Page):  # noqa: F811
    page.goto(f"{keeping.url}/rate")
    page.get_by_text("Settings").click()
    page.get_by_label("API key").fill(KEYS["bob"])
    page.get_by_label("API key").press("Tab")
    page.get_by_label("Your question").fill("say <i>rated</i>")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("has to be kept")
    page.get_by_label("allow that models are trained").check()
    with page.expect_response(lambda each: each.url.endswith("/v1/chat/completions")) as made:
        page.get_by_role("button", name="Ask").click()
    expect(page.locator("#text")).to_have_text("<i>rated</i>")
    check(page)
    page.get_by_label("4 – right and useful").check()
    expect(page.get_by_text("Recorded.")).to_be_visible()
    row = kept(own, made.value.json()["id"])
    assert (row.stars, row.thumb, row.person, row.consent) == (4, None, "bob", True)

    prepared_pairs.write(own.workspace.home, prepared_pairs.PreparedPairs.model_validate(PAIRS))
    page.reload()
    page.get_by_label("Keep my answers").check()
    for _ in range(2):  # the same answer until something is said of it
        with page.expect_response(lambda each: each.url.endswith("/v1/feedback/next")) as offered:
            page.get_by_role("button", name="Next prepared answer").click()
        expect(page.locator("#chosen")).to_contain_text("first? (chosen because")
    assert "Answer of assistant:" in page.locator("#name").inner_text() and offered.value.json()["left"] == 3
    page.get_by_label("2 – mostly wrong").check()
    expect(page.get_by_text("Recorded.")).to_be_visible()
    row = kept(own, offered.value.json()["answer"])
    assert (row.chosen, row.stars, row.consent) == ("disagreement", 2, False)
    assert row.answer == page.locator("#text").inner_text()
    assert post(keeping, "feedback/next", "bob").json()["question"] == "second?"

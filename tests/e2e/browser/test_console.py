"""The console in a browser: every page of a workspace with two promoted versions, by mouse, keyboard and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.promotion.history import history
from tests.browser import check, profile
from tests.console import RunningConsole, console
from tests.e2e.browser.test_card import write_card
from tests.integration.registry.conftest import Prepared, improved, made, prepared  # noqa: F401  (fixtures)
from tests.unit.corpora.corpus import document, write

SECONDS = 30.0  # for a page: it is small


@pytest.fixture(scope="module")
def shown(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:  # noqa: F811
    """The console of a workspace in which base:1 and then base:2 became champion."""
    root = shutil.copytree(prepared("judged", None), tmp_path_factory.mktemp("console") / "workspace", symlinks=True)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("STEMMA_HOME", "STEMMA_REGISTRY_URL", "MLFLOW_TRACKING_URI", "STEMMA_SIGNING_KEY"):
            patched.delenv(name, raising=False)
        with console(Workspace.find(root)) as running:
            yield running


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    with profile(chromium) as context:
        context.set_default_timeout(SECONDS * 1000)
        expect.set_options(timeout=SECONDS * 1000)
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which nothing goes wrong: no script fails, and the policy of the pages blocks nothing."""
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.close()
    assert [problem for problem in problems if "status of 4" not in problem] == []


def sign_in(page: Page, shown: RunningConsole, person: str, path: str = "/") -> None:
    page.context.clear_cookies()
    page.goto(shown.url + path)
    page.get_by_label("API key").fill(shown.keys[person])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text(f"{person} (")).to_be_visible()


def test_a_model_is_followed_to_its_version_and_its_run(page, shown, picture):
    sign_in(page, shown, "vera", "/models")
    row = page.get_by_role("row", name="base @champion → 2")
    expect(row).to_contain_text("loss 0.05")
    check(page)
    row.get_by_role("link", name="base", exact=True).click()
    expect(page.get_by_role("row", name="base:2 @champion")).to_be_visible()
    expect(page.get_by_text("promotion of base:2 to @champion")).to_be_visible()
    check(page)
    page.get_by_role("link", name="The whole history").click()
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("article").first).to_contain_text("better")
    check(page)
    page.get_by_role("link", name="base:2").click()
    metric = page.get_by_role("row", name="loss ★")
    expect(metric).to_contain_text("0.05")
    expect(page.get_by_role("row", name="accuracy")).to_contain_text("0.95")
    page.get_by_text("checks of the gate, all passed").click()
    expect(page.get_by_text("weights in safetensors only")).to_be_visible()
    check(page)
    picture(page, "console-version")
    page.get_by_role("link", name="second").click()
    expect(page.get_by_role("row", name="curate cached done by first")).to_be_visible()
    expect(page.get_by_role("row", name="pretrain run")).to_contain_text("base:2")
    check(page)
    page.get_by_role("link", name="Runs").first.click()
    expect(page.get_by_role("row", name="first")).to_contain_text("3 run")
    check(page)


def test_health_shows_disks_and_an_operator_audits(page, shown):
    sign_in(page, shown, "vera", "/system")
    expect(page.get_by_text("Every promotion is what was signed.")).to_be_visible()
    expect(page.get_by_text("free for the workspace")).to_be_visible()
    expect(page.get_by_role("button", name="Audit now")).to_have_count(0)
    check(page)
    sign_in(page, shown, "otto", "/system")
    page.get_by_role("button", name="Audit now").click()
    expect(page.get_by_role("status")).to_contain_text("2 promotions")
    check(page)


def test_a_refused_promotion_and_a_rollback_are_recorded_with_the_persons_name(page, shown, picture, monkeypatch):
    monkeypatch.setattr("deploy.console.pages.decisions.WAIT_SECONDS", 0.0)  # as if each took longer
    sign_in(page, shown, "otto", "/models/base/1")
    page.get_by_role("link", name="Promote base:1").click()
    page.get_by_label("Reason").fill("shorter\nanswers")
    check(page)
    page.get_by_role("button", name="Look at the gate's verdict").click()
    expect(page.get_by_role("heading", name="The gate refuses it")).to_be_visible()
    expect(page.get_by_text("recorded for")).to_be_visible()
    expect(page.get_by_label("although the gate refuses")).to_have_count(0)
    check(page)
    picture(page, "console-promote")
    page.get_by_role("button", name="Promote base:1").click()
    expect(page.get_by_role("heading", name="promotion of base:1 to @champion")).to_be_visible()
    check(page)  # which leads on by itself
    refusal = page.get_by_role("article").first
    expect(refusal).to_contain_text("refusal of base:1 for @champion")
    expect(refusal).to_contain_text("otto")
    page.goto(f"{shown.url}/models/base")
    page.get_by_role("link", name="Roll back @champion").click()
    expect(page.get_by_label("base:1")).to_be_checked()
    page.get_by_label("Reason").fill("it repeats itself")
    check(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="base@champion back to base:1?")).to_be_visible()
    check(page)
    page.get_by_role("button", name="Roll back to base:1").click()
    expect(page.get_by_role("heading", name="base:1 @champion")).to_be_visible()
    page.goto(f"{shown.url}/runs")
    done = page.get_by_role("listitem").filter(has_text="otto")
    expect(done).to_contain_text(["rollback of @champion to base:1", "promotion of base:1 to @champion"])
    expect(done).to_contain_text(["rolled back", "refused"])
    check(page)
    with open_registry(shown.workspace.registry_url) as registry, registry.read() as session:
        rejected, rolled_back = history(session, "base")[-2:]
    assert (rejected.action, rejected.actor, rejected.reason) == ("reject", "otto", "shorter\nanswers")
    assert (rolled_back.action, rolled_back.actor, rolled_back.version) == ("rollback", "otto", 1)


def test_the_family_tree_is_zoomed_and_an_artifact_shows_its_card(page, shown, picture):
    sign_in(page, shown, "vera", "/tree")
    check(page)
    page.get_by_label("Where a model came from").fill("base:2")
    page.keyboard.press("Enter")
    expect(page.locator("#tree[data-drawn]")).to_be_visible()
    card = page.get_by_role("region", name="Card")
    expect(card.get_by_role("heading", name="models/base")).to_be_visible()
    before = page.evaluate("familyTree.zoom()")
    page.get_by_role("button", name="Larger").press("Enter")
    assert page.evaluate("familyTree.zoom()") > before
    page.get_by_role("button", name="All of it").click()
    spot = page.evaluate("familyTree.nodes('[type = \"raw\"]')[0].renderedPosition()")
    page.locator("#drawing").click(position=spot)
    expect(card.get_by_role("heading", name="data/raw")).to_be_visible()
    expect(card).to_contain_text("No stage made it")
    picture(page, "console-tree")
    check(page)
    card.get_by_role("link", name="Everything that descends from it").click()
    expect(page.get_by_role("status")).to_contain_text("2 model versions descend from it")
    check(page)
    page.get_by_role("row", name="base:1").get_by_role("link").click()
    page.get_by_role("link", name="Family tree").last.click()
    page.get_by_role("row", name="data/corpus").get_by_role("link").click()
    expect(page.get_by_text("which made").first).to_be_visible()
    check(page)


def test_where_a_file_is_used_is_found_by_its_path(page, shown):
    sign_in(page, shown, "vera", "/tree")
    page.get_by_label("What was made from a file").fill("data/raw/a.txt")
    page.get_by_role("button", name="Show where it is used").click()
    expect(page.get_by_text("holds a.txt")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("2 model versions descend from it")
    page.goto(f"{shown.url}/where-used?subject=/etc/passwd")
    expect(page.get_by_role("alert")).to_contain_text("outside the workspace")


def test_two_versions_are_compared_and_their_metrics_stand_side_by_side(page, shown):
    sign_in(page, shown, "vera", "/evaluate")
    expect(page.get_by_role("row", name="evaluate@base accuracy")).to_contain_text("0.95")
    check(page)
    page.get_by_role("link", name="Compare the newest two").click()
    expect(page.get_by_role("heading", name="base:1 → base:2")).to_be_visible()
    expect(page.get_by_text("Their answers cannot be compared")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="pretrain.quality")).to_contain_text("0.8 → 0.95")
    check(page)


def test_documents_of_a_corpus_are_drawn_and_searched_and_what_was_dropped_is_seen(page, shown):
    folder = shown.workspace.root / "other"
    texts = {"train": [document(f"text {n}", f"file{n}") for n in range(8)], "test": [document("exam", "last")] * 2}
    write(folder / "data" / "corpus", texts)
    example = {"origin": "twin", "reason": "repeats file1", "text": "text 1!"}
    rule = {"rule": "near_duplicate", "in": 12, "out": 10, "dropped": 2, "dropped_characters": 14,
            "examples": [example]}  # fmt: skip
    write_card(folder, rules=[rule])
    sign_in(page, shown, "vera", "/data")
    page.get_by_label("Corpus").fill("other/data/corpus")
    page.get_by_role("button", name="Show it").click()
    expect(page.get_by_role("row", name="train 8")).to_be_visible()
    card = page.frame_locator(".card-frame")
    documents = card.get_by_label("documents", exact=True)
    documents.get_by_role("searchbox").fill("TEXT 2")
    expect(documents.locator("output")).to_have_text("1–5 of 5")
    assert page.frames[-1].evaluate("self.origin") == "null", "it cannot act in the reader's name"
    check(page)
    page.get_by_role("link", name="near_duplicate").click()
    expect(page.get_by_role("article")).to_contain_text("repeats file1")
    check(page)
    page.get_by_label("Search for a phrase").fill("TEXT 3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article").locator("mark")).to_have_text("text 3")
    check(page)


def test_a_role_ends_where_it_ends_and_a_second_look_that_is_stale_changes_nothing(shown):
    asked = {"alias": "champion", "reason": "because", "holder": "1"}
    address = "/models/base/2/promote"
    with shown.client("vera") as viewer, shown.client("otto") as operator:
        assert viewer.get(address).status_code == viewer.post(address, data=asked).status_code == 403
        assert operator.post(address, data={**asked, "force": "yes"}).status_code == 403
        stale = operator.post(address, data={**asked, "holder": "2"})
        assert stale.status_code == 400 and "moved since you looked" in stale.text
        answer = operator.post(address, data={"alias": "9", "reason": ""})
        assert answer.status_code == 400 and "needs a reason" in answer.text and "cannot be an alias" in answer.text
    with open_registry(shown.workspace.registry_url) as registry, registry.read() as session:
        assert len(history(session, "base")) == 4


def test_a_wrong_key_and_a_key_of_the_gateway_open_nothing(page, shown):
    for key in ("x" * 40, shown.keys["robot"]):
        page.context.clear_cookies()
        page.goto(f"{shown.url}/models")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("opens nothing here")
    check(page)
    assert os.path.basename(page.url) == "sign-in"

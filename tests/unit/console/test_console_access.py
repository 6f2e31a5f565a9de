"""Who may open the console, and from where something may be changed."""

from __future__ import annotations

import threading

import pytest
from fastapi.testclient import TestClient

from core.errors import InputProblem
from core.workspace import Workspace
from deploy.console.access import COOKIE, own_path
from deploy.console.app import build
from deploy.console.console import Console, Gate
from deploy.gateway import api_keys
from deploy.gateway.api_keys import Keyring
from registry.errors import PromotionConflict
from registry.promotion.promote import PromotionOutcome
from tests.workspace import wait_until

HERE = "http://127.0.0.1:8001"


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Workspace:
    for name in ("STEMMA_REGISTRY_URL", api_keys.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".dvc").mkdir()
    return Workspace(tmp_path, tmp_path / ".stemma")


@pytest.fixture
def browser(workspace) -> TestClient:
    app = build(Console(workspace, Gate()), Keyring(workspace.home), "Ada <ada@example.org>")
    return TestClient(app, base_url=HERE, headers={"Origin": HERE}, follow_redirects=False)


def sign_in(browser: TestClient, workspace: Workspace, role: str | None, back: str = "/models"):
    key = api_keys.add(workspace.home, "vera", role)
    return browser.post("/sign-in", data={"key": key, "back": back})


def test_who_shows_nothing_is_asked_for_a_key_and_led_back(browser):
    answer = browser.get("/models/base?before=3")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?back=%2Fmodels%2Fbase%3Fbefore%3D3")
    assert browser.post("/system/audit").status_code == 401
    assert browser.get("/health").json() == {"status": "ok"}


def test_a_key_with_a_role_opens_a_session_that_no_script_reads_and_no_other_site_uses(browser, workspace):
    answer = sign_in(browser, workspace, "viewer", "/runs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs")
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    page = browser.get("/models")
    assert page.status_code == 200 and "vera" in page.text
    assert "unsafe" not in page.headers["content-security-policy"] and "<script>" not in page.text
    assert browser.post("/sign-out").status_code == 303
    assert browser.get("/models").status_code == 303


def test_a_session_ends_with_its_key(browser, workspace):
    sign_in(browser, workspace, "viewer")
    assert browser.get("/models").status_code == 200
    api_keys.revoke(workspace.home, "vera")
    assert browser.get("/models").status_code == 303


def test_a_key_of_the_gateway_opens_nothing(browser, workspace, monkeypatch):
    monkeypatch.setattr("deploy.console.pages.sign_in.WAIT_SECONDS", 0)
    assert sign_in(browser, workspace, None).status_code == 403
    assert COOKIE not in browser.cookies and browser.get("/models").status_code == 303


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8002", ""])
def test_what_no_page_of_the_console_sends_changes_nothing(browser, workspace, origin):
    sign_in(browser, workspace, "admin")
    assert browser.post("/system/audit", headers={"Origin": origin}).status_code == 403


def test_a_viewer_sees_and_does_not_act(browser, workspace):
    sign_in(browser, workspace, "viewer")
    assert browser.post("/system/audit").status_code == 403


def test_an_operator_starts_what_is_offered_and_nothing_else(browser, workspace, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    key = api_keys.add(workspace.home, "otto", "operator")
    for shown, deployment, status, said in (
        (api_keys.add(workspace.home, "vera", "viewer"), "lifecycle", 403, "needs the role operator"),
        (key, "rollback", 400, "cannot be started here"),
        (key, "lifecycle", 400, "no Prefect server"),
    ):
        headers = {"Authorization": f"Bearer {shown}"}
        answer = browser.post("/runs/start", data={"deployment": deployment}, headers=headers)
        assert answer.status_code == status and said in answer.text


def test_the_stacks_token_is_the_person_who_started_it(workspace, monkeypatch):
    monkeypatch.setenv(api_keys.VARIABLE, f"{api_keys.STACK}/admin:" + "t" * 43)
    app = build(Console(workspace, Gate()), Keyring(workspace.home), "Ada <ada@example.org>")
    page = TestClient(app, base_url=HERE).get("/models", headers={"Authorization": "Bearer " + "t" * 43})
    assert "Ada &lt;ada@example.org&gt;" in page.text and "(admin)" in page.text


def test_a_form_is_bounded(browser, workspace):
    sign_in(browser, workspace, "viewer")
    answer = browser.post("/sign-in", data={"key": "x" * 100_000})
    assert answer.status_code == 400 and "too large" in answer.text


def test_what_an_address_says_is_shown_and_not_done(browser, workspace):
    sign_in(browser, workspace, "viewer")
    page = browser.get("/models/%3Cimg%20src=x%3E")
    assert page.status_code == 404 and "<img" not in page.text and "&lt;img" in page.text


@pytest.mark.parametrize(
    ("given", "led_to"),
    [("/models?after=a", "/models?after=a"), ("//evil.example", "/"), ("https://evil.example", "/"), ("", "/"),
     ("/\\evil.example", "/"), ("/a\nb", "/")],
)  # fmt: skip
def test_nobody_is_led_elsewhere(given, led_to):
    assert own_path(given) == led_to


def test_a_decision_that_takes_long_has_a_page_and_no_other_is_begun_meanwhile(workspace):
    held, console = threading.Event(), Console(workspace, Gate())
    browser = TestClient(build(console, Keyring(workspace.home), "Ada"), base_url=HERE, follow_redirects=False)
    browser.headers["Authorization"] = f"Bearer {api_keys.add(workspace.home, 'otto', 'operator')}"

    def decide(say):
        say("evaluate@base measures base:1")
        held.wait(60)
        raise PromotionConflict("it moved")

    begun = console.decisions.start("promotion of base:2 to @champion", "/models/base/2", "otto", decide)
    address = f"/decisions/{begun.id}"
    wait_until(lambda: "measures base:1" in browser.get(address).text)
    page = browser.get(address).text
    assert "At work" in page and "asked for by otto" in page
    lines = ["evaluate@base measures base:1", "the gate judges"]
    assert browser.get(f"{address}/state").json() == {"at_work": True, "lines": lines}
    with pytest.raises(InputProblem, match=r"promotion of base:2 to @champion, by otto"):
        console.decisions.start("rollback", "/", "ada", decide)
    held.set()
    begun.ended.wait(60)
    page = browser.get(address).text
    assert "Nothing was decided: it moved" in page and not browser.get(f"{address}/state").json()["at_work"]
    unchanged = PromotionOutcome("unchanged", "base", 1, "champion", 1)
    made = console.decisions.start("rollback", "/models/base/1", "ada", lambda say: unchanged)
    made.ended.wait(60)
    assert browser.get(f"/decisions/{made.id}").headers["location"] == "/models/base/1"
    assert browser.get("/decisions/none").status_code == 404

"""The console in a browser: every page of a workspace with two promoted versions, by mouse, keyboard and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from core.workspace import Workspace
from tests.browser import profile
from tests.console import RunningConsole, console
from tests.integration.registry.conftest import improved, judged, made  # noqa: F401  (fixtures)

AXE = Path(__file__).parents[2] / "vendor" / "axe-core" / "axe.min.js"
SECONDS = 30.0  # for a page: it is small
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def shown(judged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:  # noqa: F811
    """The console of a workspace in which base:1 and then base:2 became champion."""
    root = shutil.copytree(judged, tmp_path_factory.mktemp("console") / "workspace", symlinks=True)
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


def check(page: Page) -> None:
    """What axe finds serious, in daylight, in the dark and on a phone; and that the page fits on a phone."""
    size = page.viewport_size
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 860})
        page.evaluate(AXE.read_text(encoding="utf-8"))  # not a script of the page: its policy stays as it is
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        named = [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in SERIOUS]
        assert named == [], f"{page.url} ({scheme})"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, page.url
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(size)


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


def test_a_wrong_key_and_a_key_of_the_gateway_open_nothing(page, shown):
    for key in ("x" * 40, shown.keys["robot"]):
        page.context.clear_cookies()
        page.goto(f"{shown.url}/models")
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("opens nothing here")
    check(page)
    assert os.path.basename(page.url) == "sign-in"

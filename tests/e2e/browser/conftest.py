"""A browser before a real stack: `stemma up` on a workspace whose stages are the shipped ones, made small."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from tests.e2e.browser.chat_model import install_chat_model
from tests.e2e.browser.small import make_small
from tests.stack import RunningStack, stack
from tests.workspace import Workspace, make_workspace

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCREENSHOTS = Path(__file__).parent / "screenshots"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Prefect's page asks this host for the settings of its telemetry, also where telemetry is off; it has no switch.
PREFECTS_OWN = re.compile(r"\.amplitude\.com$")
SECONDS = 120.0  # a page may take on a machine that does much else


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Curated, tokenized, pretrained once (``base:1``), and two versions of a chat model, the first one champion."""
    workspace = make_workspace(tmp_path_factory.mktemp("browser") / "workspace")
    make_small(workspace)
    install_chat_model(workspace)
    workspace.commit("small")
    workspace.environment["OMP_NUM_THREADS"] = "1"
    stemma = workspace.tool("stemma")
    workspace.dvc("repro", "-q", STEMMA_RUN="first")
    workspace.run(stemma, "sync")
    workspace.run(stemma, "promote", "assistant:1", "--to", "champion", "--reason", "somebody has to be the first")
    return workspace


@pytest.fixture(scope="module")
def running(workspace: Workspace) -> Iterator[RunningStack]:
    """`stemma up`, everything healthy."""
    with stack(workspace) as running:
        yield running


@pytest.fixture(scope="module")  # not longer: while it lives, Playwright's event loop is that of the process
def chromium() -> Iterator[Browser]:
    """The system's Chromium; nothing is downloaded."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("Chromium is needed for these tests: apt-get install chromium (or brew install --cask chromium)")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses to work for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh profile that reaches this machine alone, as where there is no internet; nothing of ours may try."""
    reached: set[str] = set()

    def refuse(route: Route) -> None:
        reached.add(urlsplit(route.request.url).hostname or route.request.url)
        route.abort("internetdisconnected")

    context = chromium.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    context.route(lambda url: urlsplit(url).hostname not in LOOPBACK, refuse)
    yield context
    context.close()
    assert not {host for host in reached if not PREFECTS_OWN.search(host)}, "pages reach out"


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Keeps what a page shows, for people: ``screenshots/<name>.png``."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.wait_for_timeout(2000)  # graphs and charts move until they have their place; only people mind
        page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    return take

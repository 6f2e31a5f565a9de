"""The system's Chromium, for tests that open pages as people do; import the fixtures into a conftest or test file."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Prefect's page asks this host for the settings of its telemetry, also where telemetry is off; it has no switch.
PREFECTS_OWN = re.compile(r"\.amplitude\.com$")
SECONDS = 120.0  # a page may take on a machine that does much else
# Prefect's graph of a run draws itself sixty times a second for as long as it is open, without a GPU on all cores. The
# gateway's page, at /, draws an answer as it comes, and does so at its own pace. What style sheets animate ends
# at once: spinners and pulses are drawn as often, and not every page asks whether motion is to be reduced.
FEW_FRAMES = """
    const draw = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = step => location.pathname === "/" ? draw(step) : setTimeout(() => draw(step), 250);
    addEventListener("DOMContentLoaded", () => {
        const still = new CSSStyleSheet();
        still.replaceSync(`*, *::before, *::after {
            animation-duration: 1ms !important; animation-iteration-count: 1 !important; animation-delay: 0s !important;
        }`);
        document.adoptedStyleSheets.push(still);
    });
"""
# As where there is no internet. Not by Playwright's routes: with one, nothing is kept in the browser's cache, and pages
# are megabytes of script.
NO_INTERNET = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE [::1]"


@pytest.fixture(scope="module")  # not longer: while it lives, Playwright's event loop is that of the process
def chromium() -> Iterator[Browser]:
    """The system's Chromium; nothing is downloaded."""
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("Chromium is needed for these tests: apt-get install chromium (or brew install --cask chromium)")
    options = [NO_INTERNET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # its sandbox refuses to work for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


@contextlib.contextmanager
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile that reaches this machine alone, as where there is no internet; nothing of ours may try."""
    reached: set[str] = set()

    def note(request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.hostname not in LOOPBACK:
            reached.add(url.hostname or request.url)

    context = browser.new_context(
        viewport={"width": 1280, "height": 860}, locale="en-GB", timezone_id="UTC", reduced_motion="reduce"
    )
    context.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    context.add_init_script(FEW_FRAMES)
    context.on("request", note)
    yield context
    context.close()
    assert not {host for host in reached if not PREFECTS_OWN.search(host)}, "pages reach out"


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    with profile(chromium) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def check(page: Page) -> None:
    """What axe finds serious, in daylight, in the dark and on a phone; and that the page fits on a phone."""
    size = page.viewport_size
    page.evaluate(AXE.read_text(encoding="utf-8"))  # not a script of the page: its policy stays as it is
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 860})
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        named = [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in SERIOUS]
        assert named == [], f"{page.url} ({scheme})"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, page.url
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(size)

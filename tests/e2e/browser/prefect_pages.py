"""What a person does in Prefect's pages, found by label, role and text as a person finds it."""

from __future__ import annotations

import contextlib

from playwright.sync_api import Locator, Page, TimeoutError, expect

from tests.stack import RunningStack


def open_form(page: Page, running: RunningStack, deployment: str) -> None:
    """From the front page to the form of a deployment's run."""
    page.goto(running.link("prefect"))
    page.get_by_role("link", name="Deployments").click()
    page.get_by_role("row").get_by_role("link", name=deployment, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    expect(page.get_by_role("button", name="Submit")).to_be_visible()


def field(page: Page, section: str, name: str, kind: str = "input") -> Locator:
    """The box of ``section.name`` of params.yaml: the first after its label, which stands after its section's."""
    labelled = "following::label[normalize-space()='{} (Optional)'][1]/"
    return page.locator(f"xpath=//label[normalize-space()='{section} (Optional)']/" + labelled.format(name)
                        + f"following::{kind}[1]")  # fmt: skip


def choose(page: Page, parameter: str, choice: str) -> None:
    """Pick one of the choices of a parameter that may be left out."""
    block = page.locator(
        f"xpath=//label[normalize-space()='{parameter} (Optional)']/ancestor::div[contains(@class,'group')][1]"
    )
    block.get_by_role("tab", name="str").click()
    block.get_by_role("button", name="Select").click()
    page.get_by_role("option", name=choice, exact=True).click()


def submit(page: Page, running: RunningStack, name: str) -> None:
    """Start the run under a name, and open its page.

    Through the list of runs: the notice that links to the page is gone after some seconds, whoever saw it. A server
    whose SQLite is busy answers 503: the commands try again by themselves, in the page a person does.
    """
    page.get_by_role("textbox", name="Run Name").fill(name)
    for _ in range(3):
        page.get_by_role("button", name="Submit").click()
        with contextlib.suppress(TimeoutError):
            page.wait_for_url(lambda url: "/run?" not in url, timeout=60_000)
            break
    open_run(page, running, name)


def open_run(page: Page, running: RunningStack, name: str) -> None:
    """The page of a run, through the list of runs."""
    page.goto(running.link("prefect").replace("/?", "/v2/runs?"))
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("tab", name="Artifacts")).to_be_visible()


def expect_state(page: Page, state: str, seconds: float = 300) -> None:
    """Until the run whose page is open is shown in a state."""
    expect(page.get_by_role("main").get_by_text(state, exact=True).first).to_be_visible(timeout=seconds * 1000)


def artifacts(page: Page) -> Locator:
    """The artifacts of the run whose page is open, as they are now: the page does not look for new ones by itself."""
    page.reload()
    page.get_by_role("tab", name="Artifacts").click()
    return page.get_by_role("tabpanel", name="Artifacts")


def menu(page: Page, item: str) -> Locator:
    """Choose an item of the menu of the run whose page is open; the dialog that follows."""
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name=item, exact=True).click()
    return page.get_by_role("dialog").or_(page.get_by_role("alertdialog"))

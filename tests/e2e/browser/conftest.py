"""A browser before a real stack: `stemma up` on a workspace whose stages are the shipped ones, made small."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import chromium, profile  # noqa: F401  (a fixture)
from tests.e2e.browser.chat_model import install_chat_model
from tests.e2e.browser.small import make_small
from tests.prefect_database import give
from tests.stack import RunningStack, stack
from tests.workspace import Workspace, make_workspace

SCREENSHOTS = Path(__file__).parent / "screenshots"


@pytest.fixture(scope="package")
def workspace(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Workspace:
    """Curated, tokenized, pretrained once (``base:1``), and the first version of a chat model, its champion."""
    workspace = make_workspace(tmp_path_factory.mktemp("browser") / "workspace")
    make_small(workspace)
    install_chat_model(workspace)
    workspace.commit("small")
    give(prefect_database, workspace.home / "prefect")
    workspace.environment["OMP_NUM_THREADS"] = "1"
    del workspace.environment["PYTHONDONTWRITEBYTECODE"]  # many processes run this code
    workspace.environment["PYTHONPATH"] = str(workspace.root)  # as installed from there: the chat model is known
    stemma = workspace.tool("stemma")
    workspace.dvc("repro", "-q", STEMMA_RUN="first", timeout=900)
    workspace.run(stemma, "sync")
    workspace.run(stemma, "promote", "assistant:1", "--to", "champion", "--reason", "somebody has to be the first")
    return workspace


@pytest.fixture(scope="package")
def running(workspace: Workspace) -> Iterator[RunningStack]:
    """`stemma up`, everything healthy; it keeps the answers that people allow to be kept."""
    with stack(workspace, STEMMA_FEEDBACK_DAYS="30") as running:
        yield running


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:  # noqa: F811
    """One profile for the whole story: Prefect's and MLflow's pages are megabytes of script, read once."""
    with profile(chromium) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that is closed with its test; an open one goes on drawing."""
    page = context.new_page()
    yield page
    page.close()


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Keeps what a page shows, for people: ``screenshots/<name>.png``, where CI will show them."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def take(shown: Page, name: str) -> None:
        if "CI" not in os.environ:
            return
        shown.wait_for_timeout(1000)  # graphs and charts move until they have their place; only people mind
        shown.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    return take

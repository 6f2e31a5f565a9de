"""A browser before a real stack: `stemma up` on a workspace whose stages are the shipped ones, made small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser import chromium, context, page  # noqa: F401  (fixtures)
from tests.e2e.browser.chat_model import install_chat_model
from tests.e2e.browser.small import make_small
from tests.stack import RunningStack, stack
from tests.workspace import Workspace, make_workspace

SCREENSHOTS = Path(__file__).parent / "screenshots"


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


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Keeps what a page shows, for people: ``screenshots/<name>.png``."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def take(shown: Page, name: str) -> None:
        shown.wait_for_timeout(2000)  # graphs and charts move until they have their place; only people mind
        shown.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    return take

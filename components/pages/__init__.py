"""The pages of the stages' reports, ``reports/<stage>.html``: what a stage found out, laid out to be read in a browser.

A stage writes data: ``reports/<stage>/report.json``, pictures and curves. Its page is rendered from them afterwards,
outside DVC's outputs, by a module of this package that bears the stage's name. So how a page looks is no part of a
stage's identity: a change in this package makes no stage stale, and the next run renders the pages anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from components.pages import (
    classify_finetune,
    curate,
    evaluate,
    instruct_finetune,
    preference_tune,
    pretrain,
    reward_model,
    tokenize,
)
from components.pages.page import ASSETS, Page, read_report
from core.files import write_text
from core.layout import slug

_PAGES: Mapping[str, Callable[[Path], Page]] = {
    "curate": curate.render,
    "tokenize": tokenize.render,
    "pretrain": pretrain.render,
    "evaluate": evaluate.render,
    "classify_finetune": classify_finetune.render,
    "instruct_finetune": instruct_finetune.render,
    "reward_model": reward_model.render,
    "preference_tune": preference_tune.render,
}


def path_of(root: Path, stage: str) -> Path:
    """Where the page of ``stage`` (``evaluate@base``) lies in the workspace ``root``."""
    return root / "reports" / f"{slug(stage)}.html"


def render(root: Path, stage: str) -> Path | None:
    """Write the page of a stage from its report; ``None`` where the stage has no page, or no report yet.

    Raises:
        ValueError: the report cannot be laid out, such as one that another version of the stage wrote.
    """
    folder, make = _report(root, stage), _PAGES.get(stage.partition("@")[0])
    if make is None or not (folder / "report.json").is_file():
        return None
    try:
        skipped = read_report(folder).get("skipped")
        page = Page(stage, f"Skipped: {skipped}. There was nothing to do.") if skipped else make(folder)
        if chosen := read_report(folder).get("chosen"):
            page.heading("Chosen by the stage, where the parameters say auto").table(
                ["parameter", "value"], chosen.items()
            )
        text = page.html(_source(folder))
    except (KeyError, TypeError, IndexError, AttributeError, OSError, ValueError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{folder.relative_to(root)}: the page cannot be rendered from report.json ({cause}); run the stage "
            f"{stage} again"
        ) from error
    write_text(path_of(root, stage), text)
    return path_of(root, stage)


def refresh(root: Path, stages: Iterable[str]) -> list[str]:
    """Render the pages that are missing, or were rendered from another report or by other code; problems found."""
    problems = []
    for stage in stages:
        try:
            if not _is_current(root, stage):
                render(root, stage)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _report(root: Path, stage: str) -> Path:
    return root / "reports" / slug(stage)


def _is_current(root: Path, stage: str) -> bool:
    page, folder = path_of(root, stage), _report(root, stage)
    if not page.is_file() or not folder.is_dir():
        return False
    with open(page, encoding="utf-8", errors="replace") as file:
        return f'<meta name="rendered-from" content="{_source(folder)}">' in file.read(2000)


def _source(folder: Path) -> str:
    """sha256 of what a page is rendered from: the report's files and this package's code."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for file in [*sorted(here.glob("*.py")), *(here / name for name in ASSETS), *sorted(folder.iterdir())]:
        if file.is_file():
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()

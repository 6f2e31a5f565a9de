"""A run in words and tables: what each stage's receipt says, who made it, and the report that stays with the run."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import redacted
from core.layout import slug
from core.numbers import duration, figure, measured
from flows.pipeline.run_state import RunState

if TYPE_CHECKING:
    from flows.pipeline.finalize import Finished
    from flows.pipeline.prepare import Prepared
    from registry.promotion.gate import Verdict

EXAMPLES, EXAMPLE_CHARACTERS = 50, 100  # records that are looked at for an example question, and its length at most
#: How a table names the states of stages that are up to date.
STATES = {"cached": "cached", "restored": "cached (restored)", "ran": "run"}


@dataclass(frozen=True)
class Headline:
    """A stage's key metric and the baselines on the same observations."""

    name: str
    value: float
    stderr: float | None = None
    baselines: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} {measured(self.value, self.stderr)}"

    @property
    def beside(self) -> str:
        """The baselines in words, empty where there are none."""
        return ", ".join(f"{name} {figure(value)}" for name, value in self.baselines.items())


def receipt(root: Path, stage: str) -> dict[str, Any] | None:
    """The receipt of the stage's last execution, or ``None`` where there is none that can be read."""
    try:
        found = json.loads((root / "receipts" / f"{slug(stage)}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def skipped(root: Path, stage: str) -> str | None:
    """Why the stage had nothing to do when it ran last; ``None`` where it had."""
    reason = (receipt(root, stage) or {}).get("skipped")
    return str(reason) if reason else None


def headline(receipt: Mapping[str, Any] | None) -> Headline | None:
    """The receipt's headline metric, or ``None``."""
    receipt = receipt or {}
    for metric in receipt.get("metrics", []):
        if metric.get("name") == receipt.get("headline"):
            return Headline(metric["name"], metric["value"], metric.get("stderr"), dict(metric.get("baselines") or {}))
    return None


def made_by(mlflow_uri: str, receipt: Mapping[str, Any] | None, within: str | None = None) -> str:
    """The runs that really made a stage's outputs, in markdown: links where there are pages, else names.

    Args:
        within: name of the run whose report this is; it is not repeated.
    """
    found = []
    if run := ((receipt or {}).get("mlflow") or {}).get("run_id"):
        page = _mlflow_page(mlflow_uri, receipt)
        found.append(f"[MLflow run {run[:8]}]({page})" if page else f"MLflow run {run[:8]}")
    name = (receipt or {}).get("run")
    if name is None or name != within:
        if page := _prefect_page(receipt):
            found.append(f"[Prefect run]({page})")
        if name:
            found.append(f"`{name}`")
    return " · ".join(found)


def _mlflow_page(uri: str, receipt: Mapping[str, Any] | None) -> str | None:
    """The page of the MLflow run that made a stage's outputs; ``None`` where MLflow is no server."""
    made = (receipt or {}).get("mlflow") or {}
    if not uri.startswith(("http://", "https://")) or not made.get("run_id"):
        return None
    page = f"{redacted(uri).rstrip('/')}/#/experiments/{made['experiment_id']}/runs/{made['run_id']}"
    return f"{page}?workflowType=machine_learning"  # MLflow's pages of trainings, rather than those of chats


def _prefect_page(receipt: Mapping[str, Any] | None) -> str | None:
    """The page of the Prefect run that made a stage's outputs; ``None`` where no server of one's own is named."""
    made = (receipt or {}).get("prefect") or {}
    api = os.environ.get("PREFECT_API_URL", "")
    ui = os.environ.get("PREFECT_UI_URL") or (api.removesuffix("/api") if api.endswith("/api") else "")
    return f"{redacted(ui).rstrip('/')}/runs/flow-run/{made['flow_run_id']}" if ui and made.get("flow_run_id") else None


@dataclass(frozen=True)
class Summary:
    """What the last screen of a run shows.

    Attributes:
        unchanged: every stage was cached.
        rows: the run's table.
        decisions: (``Promoted``, ``Not promoted`` or ``Awaits approval``, the sentence).
        champions: aliases as they stand, such as ``assistant@champion`` to ``assistant:1``.
        kept: of a run in a tree of its own, where its exact tree is kept; else ``None``.
        question: one of the user's own data, to try a model with; ``None`` where the data has none.
    """

    unchanged: bool
    rows: list[StageRow]
    decisions: list[tuple[str, str]]
    champions: dict[str, str]
    notes: list[str]
    kept: str | None = None
    question: str | None = None


def summary(prepared: Prepared, finished: Finished) -> Summary:
    """The last screen of a finished run."""
    kept = None
    if prepared.worktree is not None:
        kept = f"refs/stemma/runs/{prepared.run}" if prepared.run in finished.sync.snapshots else "DVC's cache"
    return Summary(
        unchanged=prepared.run_state.all_cached,
        rows=finished.rows,
        decisions=[
            *(("Promoted", line) for line in finished.promoted),
            *(("Not promoted", line) for line in [*finished.refused, *finished.not_judged]),
            *(("Awaits approval", line) for line in finished.awaiting),
        ],
        champions=finished.champions,
        notes=[*prepared.run_state.notes, *finished.notes],
        kept=kept,
        question=finished.question,
    )


def example_question(root: Path) -> str | None:
    """A short question of the workspace's own instruction data; of the held-out records first."""
    for split in ("test", "development", "instruct"):
        with contextlib.suppress(OSError, ValueError), open(root / f"data/instructions/{split}.jsonl") as file:
            for line in itertools.islice(file, EXAMPLES):
                prompt = (json.loads(line) or {}).get("prompt")
                if isinstance(prompt, list):  # a conversation
                    prompt = next((turn.get("content") for turn in prompt if turn.get("role") == "user"), None)
                if isinstance(prompt, str) and 0 < len(prompt.strip()) <= EXAMPLE_CHARACTERS and "\n" not in prompt:
                    return prompt.strip()
    return None


class StageRow(NamedTuple):
    """One stage of a run's table: each cell as it is shown; ``made_by`` names the runs that made it, in markdown."""

    stage: str
    state: str
    time: str
    metric: str
    baselines: str
    made_by: str = ""


def rows(root: Path, run_state: RunState, mlflow_uri: str = "") -> list[StageRow]:
    """The table of a run, upstream first; in brackets what a cached stage took when it was made.

    Args:
        mlflow_uri: where MLflow is; the table links to its pages where it is a server.
    """
    table = []
    for stage, line in run_state.lines.items():
        found = receipt(root, stage) if line.state in STATES else None
        metric = headline(found)
        made = (found or {}).get("seconds")
        took = duration(line.seconds) if line.state not in ("cached", "restored", "not reached") else ""
        if line.state in ("cached", "restored") and made:
            took = f"({duration(made)})"
        beside = metric.beside if metric else ""
        makers = made_by(mlflow_uri, found, within=run_state.run)
        state = STATES.get(line.state, line.state)
        if reason := (found or {}).get("skipped"):
            state, took = f"skipped: {reason}", ""
        table.append(StageRow(stage, state, took, str(metric or ""), beside, makers))
    return table


def markdown(run_state: RunState, finished: Finished) -> str:
    """The report of a finished run."""
    lines = [
        f"# Run {run_state.run}",
        "",
        "| stage | state | time | key metric | baselines | made by |",
        "|" + "---|" * 6,
    ]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in finished.rows]
    lines += ["", "Times in brackets are those of the execution that made a cached stage's outputs.", ""]
    if finished.sync.versions:
        lines += ["## New model versions", "", *(f"- {version}" for version in finished.sync.versions), ""]
    for title, items in (
        ("Promoted", finished.promoted),
        ("Awaits approval", finished.awaiting),
        ("Not promoted", [*finished.refused, *finished.not_judged]),
        ("Notes", [*run_state.notes, *finished.notes]),
    ):
        if items:
            lines += [f"## {title}", "", *(f"- {item}" for item in items), ""]
    for outcome in finished.outcomes:
        lines += [*verdict(outcome.verdict), ""]
    lines += [f"Snapshot of the exact tree of {run}: `{sha}`\n" for run, sha in finished.sync.snapshots.items()]
    return "\n".join(lines)


def verdict(judged: Verdict | None) -> list[str]:
    """The gate's verdict as markdown: every check, passed or not; nothing where there is none."""
    if judged is None:
        return []
    against = f" against version {judged.champion}" if judged.champion else ""
    lines = [f"## Gate: {judged.model}:{judged.version} for `{judged.alias}`{against}: "
             f"{'passed' if judged.passed else 'refused'}"]  # fmt: skip
    lines += ["", "| | check | what was seen |", "|---|---|---|"]
    for check in judged.checks:
        cells = ("✓" if check.passed else "✗", check.name, check.detail)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines

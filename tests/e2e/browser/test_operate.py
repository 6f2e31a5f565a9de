"""What docs/operate.md tells, done in a browser: the tests share one stack and stand in the order of its story."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.browser import prefect_pages as prefect
from tests.stack import RunningStack, processes_of
from tests.workspace import Workspace, wait_until

Picture = Callable[[Page, str], None]
RUN, CANCELLED = "more-steps", "endless"
# What the forms, the approval and the buttons ask for is asked for in tests/integration/flows/test_deployments.py too.
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]
# Counts the events in which answers arrive: how many of them a busy machine hands over at once is its own business.
EVENTS = """
    const fetched = window.fetch;
    window.eventsRead = 0;
    window.fetch = async (path, options) => {
        const answer = await fetched(path, options);
        if (!String(path).includes("completions")) return answer;
        const decoder = new TextDecoder();
        const count = new TransformStream({transform(piece, to) {
            window.eventsRead += decoder.decode(piece, {stream: true}).split("\\n\\n").length - 1;
            to.enqueue(piece);
        }});
        return new Response(answer.body.pipeThrough(count), answer);
    };
"""


def test_the_lifecycle_form_knows_its_bounds_and_starts_a_run(page: Page, running: RunningStack, picture: Picture):
    prefect.open_form(page, running, "lifecycle")
    expect(page.get_by_text("Budget in optimizer steps. Set exactly one budget.").last).to_be_visible()
    steps = prefect.field(page, "pretrain", "steps")
    expect(steps).to_have_value("20")  # that of the workspace's params.yaml
    steps.fill("-1")
    page.get_by_role("button", name="Submit").click()
    assert steps.evaluate("box => box.validationMessage") and steps.evaluate("box => box === document.activeElement")
    assert "/run" in page.url and running.prefect("/flow_runs/filter", {}) == []

    steps.fill("40")
    prefect.field(page, "chat", "word", "textarea").fill("second")
    steps.scroll_into_view_if_needed()
    picture(page, "lifecycle-form")
    prefect.submit(page, running, RUN)
    page.goto("about:blank")  # pages that show a run ask for it all the time, and draw it
    wait_until(lambda: _run(running, RUN)["state"]["name"] == "Completed", 300, "the end of the run", every=0.5)
    prefect.open_run(page, running, RUN)
    prefect.expect_state(page, "Completed")
    page.get_by_role("tab", name="Task Runs").click()
    tasks = page.get_by_role("tabpanel", name="Task Runs")
    for task, state in {"curate": "Cached", "tokenize": "Cached", "pretrain": "Completed", "chat": "Completed"}.items():
        expect(tasks.get_by_role("listitem").filter(has_text=task).get_by_text(state)).to_be_visible()
    page.reload()  # the graph is laid out anew only then
    expect(page.get_by_text("5 Task runs").first).to_be_visible()
    expect(page.get_by_text("did not generate any task")).to_have_count(0)
    picture(page, "lifecycle-run")


def _run(running: RunningStack, name: str) -> dict[str, Any]:
    """The run of this name, as Prefect's API has it."""
    (found,) = running.prefect("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    return found


def test_the_report_leads_to_the_run_in_mlflow(page: Page, running: RunningStack, picture: Picture):
    prefect.open_run(page, running, RUN)
    cards = prefect.artifacts(page)
    expect(cards.get_by_role("link", name=re.compile("progress-pretrain.*ran"))).to_be_visible()
    expect(cards.get_by_role("link", name=re.compile("made-by-curate"))).to_be_visible()
    summary = page.locator("main a[href*='/artifacts/artifact/']")
    for _ in range(3):  # the list draws itself anew while the run is loaded, and a click meanwhile leads nowhere
        cards.get_by_role("link", name=re.compile("lifecycle-report")).click()
        with contextlib.suppress(AssertionError):
            expect(summary).to_be_visible(timeout=20_000)
            break
    summary.click()
    report = page.get_by_role("tabpanel", name="Artifact")
    expect(report.get_by_role("row", name=re.compile(r"^tokenize cached .*bytes_per_token .*bytes 1"))).to_be_visible()
    pretrain = report.get_by_role("row", name=re.compile(r"^pretrain run .*bits_per_byte .*unigram "))
    expect(pretrain).to_be_visible()
    expect(report.get_by_text("base:2", exact=True)).to_be_visible()
    picture(page, "lifecycle-report")

    pretrain.get_by_role("link", name=re.compile("^MLflow run")).click()
    assert page.url.startswith(running.now.mlflow_uri)
    expect(page.get_by_role("heading", name="pretrain")).to_be_visible()
    metric = page.get_by_role("row", name=re.compile(r"^validation_bits_per_byte \d"))
    expect(metric).to_be_visible()
    picture(page, "mlflow-run")
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_placeholder("Search metric charts").fill("loss")
    expect(page.get_by_text("validation_loss", exact=True)).to_be_visible()
    expect(page.locator("svg.main-svg").first).to_be_visible()
    picture(page, "mlflow-curves")


def test_two_runs_are_compared_in_mlflow(page: Page, running: RunningStack, picture: Picture):
    page.goto(running.link("mlflow"))
    page.get_by_role("button", name="Model training").click()
    page.get_by_role("link", name="stemma", exact=True).click()
    for name in ("first", re.compile(r"\brun \d{8}-")):
        row = page.get_by_role("row").filter(has_text=name)
        row.get_by_role("checkbox").first.click()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Comparing 2 Runs from 1 Experiment")).to_be_visible()
    page.get_by_role("switch", name="Parameters - Show diff only").check()
    row = page.get_by_role("row", name=re.compile("^pretrain.steps"))
    expect(row).to_be_visible()
    assert {"20", "40"} == set(row.get_by_role("cell").all_inner_texts())
    expect(page.get_by_role("row", name=re.compile("^pretrain.seq_length"))).to_have_count(0)
    row.scroll_into_view_if_needed()
    picture(page, "mlflow-compare")


def test_chat_goes_on_while_a_promotion_is_approved(context: BrowserContext, running: RunningStack, picture: Picture):
    chat = context.new_page()
    chat.add_init_script(EVENTS)
    chat.goto(running.link("gateway"))
    expect(chat.get_by_role("status")).to_contain_text("Serving assistant:1")
    _ask(chat, "How far do you count?")
    expect(chat.get_by_role("listitem").last).to_contain_text("first-12")
    expect(chat.get_by_role("listitem").last).to_contain_text("assistant:1")
    assert chat.evaluate("window.eventsRead") > 3, (
        "the answer streams: a role, words, a reason to end, and that it is done"
    )

    page = context.new_page()
    prefect.open_run(page, running, RUN)
    prefect.artifacts(page).get_by_role("link", name=re.compile("lifecycle-report")).click()
    page.locator("main a[href*='/artifacts/artifact/']").click()
    report = page.get_by_role("tabpanel", name="Artifact")
    expect(report.get_by_text("assistant:2 passed the gate and awaits approval")).to_be_visible()
    report.get_by_role("link", name=re.compile("flow-run")).click()
    prefect.expect_state(page, "Suspended")
    dialog = prefect.menu(page, "Resume")
    expect(dialog.get_by_text("assistant:2 passed the gate and awaits approval")).to_be_visible()
    dialog.get_by_role("switch", name="Approve").check()
    dialog.get_by_role("textbox", name="By").fill("Ada")
    dialog.get_by_role("textbox", name="Comment").fill("it counts as it should")
    picture(page, "approval")
    dialog.get_by_role("button", name="Resume").click()
    prefect.expect_state(page, "Promoted")

    expect(chat.get_by_role("status")).to_contain_text("Serving assistant:2", timeout=300_000)
    _ask(chat, "And now?")
    expect(chat.get_by_role("listitem").last).to_contain_text("second-12")
    picture(chat, "chat")
    decided = json.loads(running.workspace.run("stemma", "history", "assistant", "--json").stdout)
    assert (decided[-1]["actor"], decided[-1]["action"]) == ("Ada", "promote")
    assert "it counts as it should" in decided[-1]["reason"]


def _ask(chat: Page, question: str) -> None:
    chat.get_by_label("Your question").fill(question)
    chat.get_by_role("button", name="Send").click()


def test_cancel_ends_the_training_and_keeps_its_checkpoint(
    page: Page, running: RunningStack, workspace: Workspace, picture: Picture
):
    prefect.open_form(page, running, "lifecycle")
    prefect.field(page, "pretrain", "steps").fill("1000000")
    prefect.choose(page, "until", "pretrain")
    prefect.submit(page, running, CANCELLED)

    def trains() -> bool:
        of_run = {"flow_runs": {"id": {"any_": [_run(running, CANCELLED)["id"]]}}}
        shown = running.prefect("/artifacts/filter", of_run)
        return any(each["key"] == "progress-pretrain" and "loss" in (each["description"] or "") for each in shown)

    page.goto("about:blank")
    wait_until(trains, 300, "progress of the training", every=0.5)
    prefect.open_run(page, running, CANCELLED)
    told = prefect.artifacts(page).get_by_role("link", name=re.compile(r"progress-pretrain.*loss"))
    expect(told).to_be_visible()
    picture(page, "progress")
    dialog = prefect.menu(page, "Cancel")
    dialog.get_by_role("button", name="Cancel Flow Run").click()
    prefect.expect_state(page, "Cancelled")
    picture(page, "cancelled")
    ended = lambda: not [line for line in processes_of(workspace) if "components" in line or "repro" in line]  # noqa: E731
    wait_until(ended, 30, "the end of the run's processes")
    assert not list((workspace.home / "worktrees").glob("*"))
    newest = max((workspace.home / "scratch" / "pretrain").iterdir(), key=lambda folder: folder.stat().st_mtime)
    assert list((newest / "checkpoints").iterdir())

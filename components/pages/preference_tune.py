"""The page of preference_tune: the task and the preferences before and after, answers, training pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.pages.page import Page, read_report

_TITLES = {
    "dpo": "DPO",
    "kto": "KTO",
    "orpo": "ORPO",
    "cpo": "CPO",
    "simpo": "SimPO",
    "grpo": "GRPO",
    "rloo": "RLOO",
}


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    method = report.get("method", "dpo")
    page = Page(f"Preference tuning ({_TITLES[method]})", _lead(report, method))
    if report["task"]:
        page.heading("The task, before and after")
        page.table(
            ["questions", "answers", "metric", "n", "instruct", "± stderr", "assistant", "± stderr"],
            [
                [row["questions"], row["answers"], row["metric"], row["n"], row["instruct"], row["instruct_stderr"],
                 row["assistant"], row["stderr"]]
                for row in report["task"]
            ],
        )  # fmt: skip
        page.text(
            "Preference accuracy alone hides damage: a model can learn which of two answers is preferred and still "
            "answer worse. Settings are chosen on the development questions; the test questions are for the report."
        )
    if report.get("earned"):
        page.heading("Rewards of greedy answers, before and after")
        page.table(
            ["questions", "reward", "kind", "weight", "n", "instruct", "± stderr", "assistant", "± stderr"],
            [
                [row["questions"], row["reward"], row["type"], row["weight"], row["n"], row["instruct"],
                 row["instruct_stderr"], row["assistant"], row["stderr"]]
                for row in report["earned"]
            ],
        )  # fmt: skip
    preference, reward, loss = (report.get(name) for name in ("preference_accuracy", "mean_reward", "answer_loss"))
    if preference or reward:
        page.heading("Preferences")
        rows = []
        if preference:
            what = "good answers above bad ones" if method == "kto" else "pairs in the right order"
            rows.append([f"held-out {what}", preference["n"], preference["reference_log_probability"],
                         preference["assistant"], preference["stderr"]])  # fmt: skip
        if preference and loss:
            rows.append(["loss of the good ones, nats a token", preference["n"], loss["instruct"],
                         loss["assistant"], None])  # fmt: skip
        if reward:
            rows.append(["mean reward of greedy test answers", reward["n"], reward["instruct"], reward["assistant"],
                         reward["stderr"]])  # fmt: skip
        page.table(["metric", "n", "instruct", "assistant", "± standard error"], rows)
    if preference:
        page.text(
            "The assistant orders answers by their gain in log-probability over the instruct model (the implicit "
            "reward of DPO), the instruct model by log-probability itself."
        )
    page.heading("Training").figure(folder / "training.png", "What the trainer measured over training")
    if (folder / "rewards.png").exists():
        page.figure(folder / "rewards.png", "Each reward of the drawn answers over training")
    page.heading("Greedy answers to test questions, before and after")
    page.table(
        ["question", "expected", "instruct", "", "assistant", ""],
        [
            [one["question"], one["expected"], one["instruct"], one["instruct_verdict"], one["assistant"],
             one["assistant_verdict"]]
            for one in report["answers"]
        ],
    )  # fmt: skip
    if report.get("labelled"):
        page.heading("Labelled answers")
        page.table(
            ["question", "answer", "label"],
            [[one["question"], one["answer"], "good" if one["good"] else "bad"] for one in report["labelled"]],
        )
    if report.get("pairs"):
        page.heading("Training pairs")
        page.table(
            ["question", "better", "worse"],
            [[pair["question"], pair["better"], pair["worse"]] for pair in report["pairs"]],
        )
    return page


def _lead(report: dict[str, Any], method: str) -> str:
    """What was learnt from, for how long and how."""
    questions, steps = f"{report['questions']:,}", f"{report['steps']:,} steps of {report['batch_size']}"
    beta = f"beta {report['beta']:g}"
    if "earned" in report:
        drawn = f"{report['answers_a_question']} answers drawn for each question of a step"
        return f"Rewards of answers to {questions} questions, {drawn}; {steps}, {beta}."
    if method == "kto":
        given = f"{report['training_answers']:,} answers to {questions} questions, {report['good_answers']:,} of them"
        return f"{given} good; {steps}, {beta}."
    losses = f"losses {' + '.join(report['losses'])}, " if "losses" in report else ""
    return f"{report['training_pairs']:,} pairs of answers to {questions} questions; {steps}; {losses}{beta}."

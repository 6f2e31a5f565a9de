"""The page of preference_tune: the task and the preferences before and after, answers, training pairs."""

from __future__ import annotations

from pathlib import Path

from components.pages.page import Page, read_report


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    page = Page(
        "Preference tuning (DPO)",
        f"{report['training_pairs']:,} pairs of answers to {report['questions']:,} fresh questions, "
        f"{report['steps']:,} steps of {report['batch_size']}; "
        f"losses {' + '.join(report['losses'])}, beta {report['beta']:g}.",
    )
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
    preference, reward = report["preference_accuracy"], report["mean_reward"]
    page.heading("Preferences")
    page.table(
        ["metric", "n", "instruct", "assistant", "± standard error"],
        [
            ["held-out pairs in the right order", preference["n"], preference["reference_log_probability"],
             preference["assistant"], preference["stderr"]],
            ["mean reward of greedy test answers", reward["n"], reward["instruct"], reward["assistant"],
             reward["stderr"]],
        ],
    )  # fmt: skip
    page.text(
        "The assistant orders a pair by its gain in log-probability over the instruct model (the implicit reward of "
        "DPO), the instruct model by log-probability itself."
    )
    page.heading("Training").figure(folder / "training.png", "Loss, accuracy and margin over training")
    page.heading("Greedy answers to test questions, before and after")
    page.table(
        ["question", "expected", "instruct", "", "assistant", ""],
        [
            [one["question"], one["expected"], one["instruct"], one["instruct_verdict"], one["assistant"],
             one["assistant_verdict"]]
            for one in report["answers"]
        ],
    )  # fmt: skip
    page.heading("Training pairs")
    return page.table(
        ["question", "better", "worse"],
        [[pair["question"], pair["better"], pair["worse"]] for pair in report["pairs"]],
    )

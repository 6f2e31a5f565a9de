"""The page of reward_model: held-out pairs in the right order beside the baselines, the pairs judged worst and best."""

from __future__ import annotations

from pathlib import Path

from components.pages.page import Page, read_report


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    page = Page(
        "Reward model",
        f"{report['prompts']:,} prompts gave {report['training_pairs']:,} pairs to train on and "
        f"{report['held_out_pairs']:,} of other groups to measure on.",
    )
    accuracy = report["accuracy"]
    systems = [name for name in accuracy["all pairs"] if name != "n"]
    page.heading("Held-out pairs in the right order").table(
        ["pairs", "n", *systems],
        [[pairs, row["n"], *(row[system] for system in systems)] for pairs, row in accuracy.items()],
    )
    page.text(
        "Where both answers are worded alike, length and surface say little, and what is left is knowing which one is "
        f"right. The surface baseline is a logistic regression on {', '.join(report['surface_features'])}."
    )
    page.figure(folder / "margins.png", "Differences of reward between chosen and rejected answers")
    page.heading("Training").figure(folder / "training.png", "Loss and accuracy over training")
    page.heading("Held-out pairs, the worst judged first")
    return page.table(
        ["question", "better", "worse", "reward difference"],
        [[pair["question"], pair["better"], pair["worse"], pair["reward_difference"]] for pair in report["pairs"]],
    )

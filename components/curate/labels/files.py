"""Labels from the user's own files: a text column and a label column, split by hash of the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.curate.documents import identifier
from components.curate.instructions.rows import find, parse, text
from components.curate.labels.parameters import LabelsParameters
from components.tasks.contract import choose_split
from core.errors import InputProblem


def read_labels(
    parameters: LabelsParameters, shares: Mapping[str, float], seed: int, workspace: Path
) -> tuple[dict[str, list[dict]], dict]:
    """Rows (text, label, group) by split and the report. Equal texts have one group and stay in one split.

    Raises InputProblem with every problem of every file; with fewer than two classes; with a class that a split lacks.
    """
    problems: list[str] = []
    found: list[dict] = []
    files: dict[str, dict] = {}
    for table in find(parameters.files, "curate.labels.files", workspace, problems):
        rows, broken = parse(table, lambda row: _row(row, parameters), parameters.max_broken_share, problems)
        found += rows
        files[table.name] = broken.report()
    classes = Counter(row["label"] for row in found)
    if not problems and len(classes) < 2:
        problems.append(
            f"curate.labels: every row of {', '.join(files)} has the label {next(iter(classes), None)!r}: a classifier "
            "needs two or more classes; add rows of others, or check label_column"
        )
    if problems:
        raise InputProblem(problems)

    split_rows: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
    for row in found:
        split_rows[choose_split(row["group"], seed, shares, rest="train", purpose="label")].append(row)
    for split, rows in split_rows.items():
        missing = sorted(set(classes) - {row["label"] for row in rows})
        if missing and split == "train":
            rare = ", ".join(f"{name!r} ({classes[name]} rows in all)" for name in missing)
            problems.append(f"curate.labels: no training rows of {rare}: add rows of these classes or merge them")
        elif not rows:
            problems.append(f"curate.labels: {len(found)} rows leave none for {split}: add rows or raise its share")
    if problems:
        raise InputProblem(problems)
    return split_rows, {"files": files}


def _row(columns: dict[str, Any], parameters: LabelsParameters) -> dict:
    name = parameters.label_column
    label = columns.get(name)
    if isinstance(label, int):  # a class number; true and false are classes too
        label = str(label)
    elif not isinstance(label, str):
        raise ValueError(f"{name!r} must be text or a whole number, not {'missing' if label is None else label!r}")
    elif not label.strip():
        raise ValueError(f"{name!r} is empty")
    found = text(columns, parameters.text_column)
    return {"text": found, "label": label.strip(), "group": identifier(found)}

"""Labelled texts: reading ``data/labels`` and saying everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import InputProblem

SPLITS = ("train", "validation", "test")
_COLUMNS = ("text", "label", "group")


@dataclass(frozen=True)
class Split:
    """Labelled texts. ``labels`` (shape ``[n]``) are places in the list of names; ``groups`` are the clusters."""

    texts: list[str]
    labels: NDArray[np.int64]
    groups: list[str]


@dataclass(frozen=True)
class LabelledTexts:
    """The three splits, and the names of the labels in order."""

    names: list[str]
    train: Split
    validation: Split
    test: Split

    @property
    def rarer(self) -> int:
        """Of two labels the one with fewer training texts (the second of equally common ones)."""
        first, second = np.bincount(self.train.labels, minlength=2)
        return int(second <= first)

    def untaught(self) -> list[str]:
        """Labels that occur, but not in the training split."""
        return [name for place, name in enumerate(self.names) if place not in self.train.labels]


def read_labels(folder: Path) -> LabelledTexts:
    """Read the three splits.

    Raises:
        InputProblem: files are missing or of the wrong shape, a split is empty, or there is only one class to learn.
    """
    problems: list[str] = []
    names = _names(folder / "labels.json", problems)
    tables = {split: _table(folder / f"{split}.parquet", names, problems) for split in SPLITS}
    if not problems and not any(map(len, tables.values())):
        raise InputProblem(
            "data/labels has no labelled texts: name your own under curate.labels.files, set curate.labels.source to "
            "topics, or leave the classifier out of the run"
        )
    if not problems:
        problems += [
            f"data/labels/{split}.parquet has no rows: give more labelled texts, or the split a larger share under "
            f"curate.labels"
            for split, table in tables.items()
            if not len(table)
        ]
        found = sorted(set(tables["train"]["label"].to_pylist()))
        if len(found) == 1:
            problems.append(
                f"data/labels/train.parquet has one class only ({found[0]!r}): a classifier needs two or more; check "
                f"curate.labels.label_column"
            )
    if problems:
        raise InputProblem(problems)
    place = {name: number for number, name in enumerate(names)}
    return LabelledTexts(
        names,
        **{
            split: Split(
                table["text"].to_pylist(),
                np.array([place[label] for label in table["label"].to_pylist()], np.int64),
                table["group"].to_pylist(),
            )
            for split, table in tables.items()
        },
    )


def class_weights(wanted: str | Mapping[str, float], data: LabelledTexts) -> NDArray[np.float64] | None:
    """Weight of each label in the loss (shape ``[labels]``); None where all count alike.

    ``balanced`` is n / (k * count) with k labels that occur among n training texts (King and Zeng 2001), so that the
    weights of the training texts are 1 on average.

    Raises:
        InputProblem: a weight is given for a label that does not occur.
    """
    if wanted == "none":
        return None
    if isinstance(wanted, Mapping):
        if unknown := [name for name in wanted if name not in data.names]:
            raise InputProblem(
                f"classify_finetune.class_weights: data/labels has no label {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(data.names)}"
            )
        return np.array([wanted.get(name, 1.0) for name in data.names])
    counts = np.bincount(data.train.labels, minlength=len(data.names))
    shares = len(data.train.labels) / ((counts > 0).sum() * np.maximum(counts, 1))
    return np.where(counts > 0, shares, 1.0)


def _names(path: Path, problems: list[str]) -> list[str]:
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"data/labels/{path.name} cannot be read ({error.__class__.__name__}): run `dvc repro curate`")
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        problems.append(f"data/labels/{path.name} must be a list of different label names")
        return []
    return names


def _table(path: Path, names: list[str], problems: list[str]) -> pa.Table:
    shown = f"data/labels/{path.name}"
    empty = pa.table({column: pa.array([], pa.string()) for column in _COLUMNS})
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        problems.append(f"{shown} is missing or no parquet file ({error.__class__.__name__}): run `dvc repro curate`")
        return empty
    missing = [column for column in _COLUMNS if column not in table.column_names]
    if missing:
        problems.append(f"{shown} lacks the columns {', '.join(missing)}; it has {', '.join(table.column_names)}")
        return empty
    wrong = []
    for number, row in enumerate(table.select(_COLUMNS).to_pylist(), 1):
        if not isinstance(row["text"], str) or not row["text"].strip():
            wrong.append(f"row {number} has no text")
        elif row["label"] not in names:
            wrong.append(f"row {number} has the label {row['label']!r}, which labels.json does not list")
        elif row["group"] is None:
            wrong.append(f"row {number} has no group")
    problems += [f"{shown}: {problem}" for problem in wrong[:5]]
    if len(wrong) > 5:
        problems.append(f"{shown}: ... and {len(wrong) - 5} more such rows")
    return empty if wrong else table

"""Labelled texts for the classifier: writes train, validation and test.parquet and labels.json.

They are a task's, or the user's own: a text column and a label column, split by hash of the text.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.curate.documents import identifier
from components.curate.files.tables import columns_of, data_among, require, rows, sample, text, unused_warnings
from components.curate.files.user_files import UserFile, find
from components.curate.ledger import RowTally
from components.curate.parameters import LabelsParameters
from components.tasks.contract import choose_split
from components.tasks.curation import make_labels
from core.errors import InputProblem

SCHEMA = pa.schema([("text", pa.string()), ("label", pa.string()), ("group", pa.string())])
Labelled = dict[str, str]


def build(
    parameters: LabelsParameters,
    documents: Iterable[Mapping[str, str]],
    seed: int,
    folder: Path,
    workspace: Path,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Write the labelled splits (columns text, label, group) and return the report.

    Source ``none`` writes empty tables, so that the stages downstream can say that there is nothing to learn.
    ``documents`` are corpus rows after filtering and deduplication; only a task reads them.
    ``workspace`` is where the files' globs start. Raises InputProblem with every problem of the user's files.
    """
    shares = {"validation": parameters.validation_share, "test": parameters.test_share}
    found: dict[str, list[Labelled]] = {"train": [], "validation": [], "test": []}
    report: dict[str, Any] = {}
    if parameters.source == "files":
        found, report = read_labels(parameters, shares, seed, workspace, warn)
    elif parameters.source != "none":
        found, report = make_labels(parameters.source, parameters, documents, shares, seed)

    names = sorted({row["label"] for split_rows in found.values() for row in split_rows})
    (folder / "labels.json").write_text(json.dumps(names, ensure_ascii=False) + "\n", encoding="utf-8")
    splits = {}
    for split, split_rows in found.items():
        pq.write_table(pa.Table.from_pylist(split_rows, schema=SCHEMA), folder / f"{split}.parquet")
        counts = Counter(row["label"] for row in split_rows)
        splits[split] = {
            "texts": len(split_rows),
            "groups": len({row["group"] for row in split_rows}),
            "labels": {name: counts[name] for name in names},
        }
        if missing := [name for name in names if not counts[name]]:
            warn(
                f"curate.labels: the {split} split has no row of {len(missing)} of {len(names)} classes "
                f"({_some(missing)}): its metrics say nothing about them; add rows of these classes"
            )
    return {"source": parameters.source, "labels": names, "splits": splits, **report}


def read_labels(
    parameters: LabelsParameters,
    shares: Mapping[str, float],
    seed: int,
    workspace: Path,
    warn: Callable[[str], None],
) -> tuple[dict[str, list[Labelled]], dict[str, Any]]:
    """Rows (text, label, group) by split and the report. Equal texts have one group and stay in one split.

    Raises InputProblem with every problem of every file; with fewer than two classes; with a class that train lacks.
    """
    found, problems = find(parameters.files, "curate.labels.files", workspace)
    labelled: list[Labelled] = []
    files: dict[str, dict[str, Any]] = {}
    unused: dict[str, list[str]] = {}
    for file in found:
        try:
            made, tally, unused[file.name] = _read(file, parameters)
        except InputProblem as problem:
            problems += problem.problems
            continue
        if excess := tally.problem(parameters.max_broken_share, "curate.labels.max_broken_share"):
            problems.append(excess)
        elif warning := tally.warning():
            warn(warning)
        labelled += made
        files[file.name] = {"rows": tally.rows, "broken": tally.broken, "examples": tally.examples}
    classes = Counter(row["label"] for row in labelled)
    if not problems and len(classes) < 2:
        problems.append(
            f"curate.labels: every row of {', '.join(files)} has the label {next(iter(classes), None)!r}: a classifier "
            "needs two or more classes; add rows of others, or check label_column"
        )
    if problems:
        raise InputProblem(problems)

    splits: dict[str, list[Labelled]] = {"train": [], "validation": [], "test": []}
    for row in labelled:
        splits[choose_split(row["group"], seed, shares, rest="train", purpose="label")].append(row)
    if missing := sorted(set(classes) - {row["label"] for row in splits["train"]}):
        rare = ", ".join(f"{name!r} ({classes[name]} rows in all)" for name in missing)
        problems.append(f"curate.labels: no training rows of {rare}: add rows of these classes or merge them")
    for split in ("validation", "test"):
        if not splits[split]:
            problems.append(f"curate.labels: {len(labelled)} rows leave none for {split}: add rows or raise its share")
    if problems:
        raise InputProblem(problems)
    for warning in [*unused_warnings(unused), *_contradictions(labelled)]:
        warn(warning)
    return splits, {"files": files}


def _read(file: UserFile, parameters: LabelsParameters) -> tuple[list[Labelled], RowTally, list[str]]:
    """Labelled rows of a file, how many could not be used, and columns that look like data and are not read.

    Raises:
        InputProblem: the file as a whole cannot be used.
    """
    wanted = (parameters.text_column, parameters.label_column)
    first = sample(file)
    present = columns_of(file, first)
    if present:
        require(file, present, wanted, "curate.labels (text_column, label_column)")
    tally, labelled = RowTally(file.name), []
    for row in rows(file, wanted):
        tally.rows += 1
        try:
            if row.columns is None:
                raise ValueError(row.error)
            labelled.append(_labelled(row.columns, parameters))
        except ValueError as error:
            tally.add(row.where, str(error))
    if not tally.rows:
        raise InputProblem(f"{file.name}: no rows: add some, or leave the file out")
    return labelled, tally, data_among([name for name in present if name not in wanted], first)


def _labelled(columns: Mapping[str, Any], parameters: LabelsParameters) -> Labelled:
    name = parameters.label_column
    label = columns.get(name)
    if isinstance(label, float) and label.is_integer():  # what a data frame makes of class numbers with a gap
        label = int(label)
    if isinstance(label, int):  # a class number; true and false are classes too
        label = str(label)
    elif not isinstance(label, str):
        raise ValueError(f"{name!r} must be text or a whole number, not {'missing' if label is None else label!r}")
    elif not label.strip():
        raise ValueError(f"{name!r} is empty")
    found = text(columns, parameters.text_column)
    return {"text": found, "label": label.strip(), "group": identifier(found)}


def _contradictions(labelled: Iterable[Labelled]) -> list[str]:
    """A warning if equal texts have different labels."""
    labels: dict[str, set[str]] = defaultdict(set)
    texts: dict[str, str] = {}
    for row in labelled:
        labels[row["group"]].add(row["label"])
        texts.setdefault(row["group"], row["text"])
    torn = [group for group, names in labels.items() if len(names) > 1]
    if not torn:
        return []
    return [
        f"curate.labels: {len(torn)} of {len(labels)} texts have more than one label, such as {texts[torn[0]][:60]!r} "
        f"({_some(sorted(labels[torn[0]]))}): no classifier can learn both; keep one"
    ]


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")

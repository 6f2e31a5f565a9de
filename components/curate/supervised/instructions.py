"""Instruction and preference data: writes instruct, reward, preference, development and test as jsonl.

They are a task's, or come from the user's own files: any mix of forms, split by prompt where the user did not split.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from components.curate.files.tables import data_among, rows, sample, unused_warnings
from components.curate.files.user_files import UserFile, find
from components.curate.ledger import RowTally
from components.curate.parameters import InstructionsParameters
from components.curate.supervised.forms import EXPECTED, LABELS, NOTES, Record, convert, form_of, label_of
from components.tasks.contract import SPLITS, TaskData, choose_split
from components.tasks.curation import make_instructions
from core.errors import InputProblem

_HELD_OUT = ("test", "development")  # in the order in which they claim a prompt


def build(
    parameters: InstructionsParameters, seed: int, folder: Path, workspace: Path, warn: Callable[[str], None]
) -> TaskData:
    """Write one jsonl file a split into ``folder``.

    ``workspace`` is where the globs of the user's files start. Raises InputProblem with every problem of those files.
    """
    if parameters.source == "files":
        records, report = read_splits(parameters, seed, workspace, warn)
        data = TaskData(records, [], set(), report)
    elif parameters.source == "none":
        data = TaskData({split: [] for split in SPLITS}, [], set(), {})
    else:
        data = make_instructions(parameters.source, parameters, parameters.shares.model_dump(), seed)
    data.report = {
        "source": parameters.source,
        **data.report,
        "pretraining_documents": len(data.documents),
        "splits": {split: _describe(data.records[split]) for split in SPLITS},
    }
    for split in SPLITS:
        with open(folder / f"{split}.jsonl", "w", encoding="utf-8", newline="\n") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in data.records[split])
    return data


def read_splits(
    parameters: InstructionsParameters, seed: int, workspace: Path, warn: Callable[[str], None]
) -> tuple[dict[str, list[Record]], dict[str, Any]]:
    """Records by split, and the report. Raises InputProblem with every problem of every file.

    Splits without files of their own take their share of the instruct files' prompts, by hash of the prompt. A prompt
    of test or development is taken out of every other split, and counted.
    """
    problems: list[str] = []
    records: dict[str, list[Record]] = {split: [] for split in SPLITS}
    files: dict[str, dict[str, Any]] = {}
    like_data: dict[str, list[str]] = {}
    unseen = set(parameters.files.columns.values())
    for split in SPLITS:
        found, wrong = _find(parameters, split, workspace)
        problems += wrong
        for file in found:
            try:
                like_data[file.name] = []
                made, tally, unused, like_data[file.name] = _read(file, parameters.files.columns, unseen)
            except InputProblem as problem:
                problems += problem.problems
                continue
            most = "curate.instructions.files.max_broken_share"
            if excess := tally.problem(parameters.files.max_broken_share, most):
                problems.append(excess)
            elif warning := tally.warning():
                warn(warning)
            records[split] += made
            files[f"{split}: {file.name}"] = {
                "forms": dict(sorted(Counter(row["kind"] for row in made).items())),
                "rows": tally.rows,
                "broken": tally.broken,
                "examples": tally.examples,
                "unused_columns": unused,
            }
    if unseen and like_data:
        named = ", ".join(map(repr, sorted(unseen)))
        problems.append(f"curate.instructions.files.columns: no file has a column {named}: correct it, or remove it")
    if problems:
        raise InputProblem(list(dict.fromkeys(problems)))  # a file may stand in two splits
    for warning in unused_warnings(like_data):
        warn(warning)

    own = {split: getattr(parameters.files, split) for split in SPLITS}
    shares = {split: share for split, share in parameters.shares.model_dump().items() if not own[split]}
    shared, records["instruct"] = records["instruct"], []
    for row in shared:
        records[choose_split(row["group"], seed, shares, rest="instruct", purpose="prompt")].append(row)
    overlap = _take_out_held_out(records)
    rejected = _take_out_rejected(records)
    if rejected:
        warn(
            f"{sum(rejected.values())} answers that are labelled false are left out of {', '.join(rejected)}, whose "
            "answers are imitated or compared with: name such files in curate.instructions.files.preference"
        )

    # A share of 0 says that a split is to be empty: the stage that learns from it is skipped.
    empty = [split for split in SPLITS if not records[split] and (own[split] or shares.get(split, 1))]
    if empty:
        raise InputProblem(
            f"curate.instructions: no rows for {', '.join(empty)} ({sum(map(len, records.values()))} rows in all): add "
            "rows to the instruct files, or name files for these splits in curate.instructions.files"
        )
    return records, {
        "files": files,
        "split_by_prompt": sorted(shares),
        "taken_out_as_held_out": overlap,
        "taken_out_as_rejected": rejected,
    }


def _find(parameters: InstructionsParameters, split: str, workspace: Path) -> tuple[list[UserFile], list[str]]:
    return find(getattr(parameters.files, split), f"curate.instructions.files.{split}", workspace)


def _read(
    file: UserFile, columns: Mapping[str, str], unseen: set[str]
) -> tuple[list[Record], RowTally, list[str], list[str]]:
    """Records of a file, how many rows could not be used, columns that are in no form, and which of these look like
    data.

    Args:
        columns: the files' names for the columns of a form.
        unseen: of these names, those that no file had yet; they are taken out of it where this file has them.

    Raises:
        InputProblem: the file as a whole cannot be used.
    """
    beginning = sample(file)
    unseen.difference_update(*beginning)
    first = [_renamed(row, columns) for row in beginning]
    forms = [form for row in first for form in [_form(row)] if form is not None]
    if first and not forms:
        raise InputProblem(
            f"{file.name}: has {', '.join(map(str, first[0]))}, but one of these is expected: {EXPECTED}. Name the "
            "columns in curate.instructions.files.columns, rename them, or convert the rows to one of these forms"
        )
    read: frozenset[str] = NOTES.union(*(form.columns for form in forms))
    if not any(label_of(row) is not None for row in first):
        read -= LABELS  # labels of another kind
    tally, records = RowTally(file.name), []
    unused: dict[str, None] = {}
    for row in rows(file):
        tally.rows += 1
        try:
            if row.columns is None:
                raise ValueError(row.error)
            unseen.difference_update(row.columns)
            # Parquet gives every object the keys of all of them: a call's arguments would be those of all tools.
            given = _without_nulls(row.columns) if file.format == "parquet" else row.columns
            renamed = _renamed(given, columns)
            unused.update(
                (name, None) for name, value in renamed.items() if name not in read and value not in (None, "")
            )
            records.append(convert(renamed))
        except ValueError as error:
            tally.add(row.where, str(error))
    if not tally.rows:
        raise InputProblem(f"{file.name}: no rows: add some, or leave the file out")
    return records, tally, list(unused), data_among(unused, first)


def _without_nulls(value: Any) -> Any:
    """A value without the keys of its objects that hold nothing."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _renamed(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with the columns that ``columns`` names under the names of the forms."""
    present = {form: own for form, own in columns.items() if own in row}
    if not present:
        return row
    # A column of the file's own by a form's name stays beside the one that was named for it, and is reported.
    rest = {
        f"{name} (of the file)" if name in present else name: value
        for name, value in row.items()
        if name not in present.values()
    }
    return {**rest, **{form: row[own] for form, own in present.items()}}


def _form(row: dict[str, Any]) -> Any:
    try:
        return form_of(row)
    except ValueError:
        return None


def _take_out_held_out(records: dict[str, list[Record]]) -> dict[str, int]:
    claimed: set[str] = set()
    overlap = {}
    for split in (*_HELD_OUT, *(split for split in SPLITS if split not in _HELD_OUT)):
        kept = [row for row in records[split] if row["group"] not in claimed]
        if len(kept) < len(records[split]):
            overlap[split] = len(records[split]) - len(kept)
        records[split] = kept
        if split in _HELD_OUT:
            claimed.update(row["group"] for row in kept)
    return overlap


def _take_out_rejected(records: dict[str, list[Record]]) -> dict[str, int]:
    """Take the answers labelled false (KTO) out of the splits whose answers are examples; how many of each."""
    taken = {}
    for split in ("instruct", *_HELD_OUT):
        kept = [row for row in records[split] if row.get("label") is not False]
        if len(kept) < len(records[split]):
            taken[split] = len(records[split]) - len(kept)
        records[split] = kept
    return taken


def _describe(records: Iterable[Record]) -> dict[str, Any]:
    """Counts of records, groups, kinds and styles; lengths of prompt and completion together, in characters."""
    records = list(records)
    lengths = sorted(len(r["prompt"]) + len(r["completion"]) for r in records)
    kinds = Counter(r["kind"] for r in records)
    return {
        "records": len(records),
        "groups": len({r["group"] for r in records}),
        "kinds": dict(sorted(kinds.items())),
        "styles": dict(sorted(Counter(r["style"] or "none" for r in records).items())),
        "characters": {
            "median": lengths[len(lengths) // 2] if lengths else 0,
            "p99": lengths[len(lengths) * 99 // 100] if lengths else 0,
            "longest": lengths[-1] if lengths else 0,
        },
    }

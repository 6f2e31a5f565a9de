"""Instruction and preference data: writes instruct, reward, preference, development and test as jsonl.

They are a task's, or come from the user's own files: any mix of forms, split by prompt where the user did not split.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from components.curate.forms import EXPECTED, Record, convert, form_of
from components.curate.ledger import RowTally
from components.curate.parameters import InstructionsParameters
from components.curate.tables import data_among, rows, sample, unused_warnings
from components.curate.user_files import UserFile, find
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
    unused: dict[str, list[str]] = {}
    for split in SPLITS:
        found, wrong = _find(parameters, split, workspace)
        problems += wrong
        for file in found:
            try:
                made, tally, unused[file.name] = _read(file)
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
            }
    if problems:
        raise InputProblem(list(dict.fromkeys(problems)))  # a file may stand in two splits
    for warning in unused_warnings(unused):
        warn(warning)

    own = {split: getattr(parameters.files, split) for split in SPLITS}
    shares = {split: share for split, share in parameters.shares.model_dump().items() if not own[split]}
    shared, records["instruct"] = records["instruct"], []
    for row in shared:
        records[choose_split(row["group"], seed, shares, rest="instruct", purpose="prompt")].append(row)
    overlap = _take_out_held_out(records)

    empty = [split for split in SPLITS if not records[split]]
    if empty:
        raise InputProblem(
            f"curate.instructions: no rows for {', '.join(empty)} ({sum(map(len, records.values()))} rows in all): add "
            "rows to the instruct files, or name files for these splits in curate.instructions.files"
        )
    return records, {"files": files, "split_by_prompt": sorted(shares), "taken_out_as_held_out": overlap}


def _find(parameters: InstructionsParameters, split: str, workspace: Path) -> tuple[list[UserFile], list[str]]:
    return find(getattr(parameters.files, split), f"curate.instructions.files.{split}", workspace)


def _read(file: UserFile) -> tuple[list[Record], RowTally, list[str]]:
    """Records of a file, how many rows could not be used, and columns that look like data and are in no form.

    Raises:
        InputProblem: the file as a whole cannot be used.
    """
    first = sample(file)
    forms = [form for row in first for form in [_form(row)] if form is not None]
    if first and not forms:
        raise InputProblem(
            f"{file.name}: has {', '.join(map(str, first[0]))}, but one of these is expected: {EXPECTED}. Rename the "
            "columns, or convert the rows to one of these forms"
        )
    read: frozenset[str] = frozenset().union(*(form.columns for form in forms))
    unused = data_among(dict.fromkeys(name for row in first for name in row if name not in read), first)
    tally, records = RowTally(file.name), []
    for row in rows(file):
        tally.rows += 1
        try:
            if row.columns is None:
                raise ValueError(row.error)
            records.append(convert(row.columns))
        except ValueError as error:
            tally.add(row.where, str(error))
    if not tally.rows:
        raise InputProblem(f"{file.name}: no rows: add some, or leave the file out")
    return records, tally, unused


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

"""Instruction data from the user's own files: any mix of forms, split by prompt where the user did not split."""

from __future__ import annotations

from pathlib import Path

from components.curate.instructions.forms import EXPECTED, convert, detect
from components.curate.instructions.parameters import InstructionsParameters
from components.curate.instructions.rows import Table, find, parse, read
from components.tasks.contract import SPLITS, choose_split
from core.errors import InputProblem

_HELD_OUT = ("test", "development")  # in the order in which they claim a prompt


def read_splits(parameters: InstructionsParameters, seed: int, workspace: Path) -> tuple[dict[str, list[dict]], dict]:
    """Records by split, and the report. Raises InputProblem with every problem of every file.

    Splits without files of their own take their share of the instruct files' prompts, by hash of the prompt. A prompt
    of test or development is taken out of every other split, and counted.
    """
    problems: list[str] = []
    records: dict[str, list[dict]] = {split: [] for split in SPLITS}
    files: dict[str, dict] = {}
    own = {split: getattr(parameters.files, split) for split in SPLITS}
    for split in SPLITS:
        for table in find(own[split], f"curate.instructions.files.{split}", workspace, problems):
            found, report = _read_file(table, parameters.files.max_broken_share, problems)
            records[split] += found
            if report:
                files[f"{split}: {table.name}"] = report
    if problems:
        raise InputProblem(problems)

    shares = {split: share for split, share in parameters.shares.model_dump().items() if not own[split]}
    rows, records["instruct"] = records["instruct"], []
    for row in rows:
        records[choose_split(row["group"], seed, shares, rest="instruct", purpose="prompt")].append(row)
    overlap = _take_out_held_out(records)

    empty = [split for split in SPLITS if not records[split]]
    if empty:
        raise InputProblem(
            f"curate.instructions: no rows for {', '.join(empty)} ({sum(map(len, records.values()))} rows in all): add "
            "rows to the instruct files, or name files for these splits in curate.instructions.files"
        )
    return records, {"files": files, "split_by_prompt": sorted(shares), "taken_out_as_held_out": overlap}


def _read_file(table: Table, max_broken_share: float, problems: list[str]) -> tuple[list[dict], dict]:
    try:
        form = detect(read(table))
        first = next((row for row in read(table) if row.columns), None)
    except InputProblem as problem:
        problems += problem.problems
        return [], {}
    if form is None and first is not None:
        problems.append(
            f"{table.name}, {first.where}: has {', '.join(map(str, first.columns))}, but one of these is "
            f"expected: {EXPECTED}. Rename the fields"
        )
        return [], {}
    found, broken = parse(table, convert(form or "completion"), max_broken_share, problems)
    return found, {"form": form, **broken.report()}


def _take_out_held_out(records: dict[str, list[dict]]) -> dict[str, int]:
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

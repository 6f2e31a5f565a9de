"""Instruction and preference data: writes instruct, reward, preference, development and test as jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from components.curate.instructions.parameters import InstructionsParameters
from components.tasks.contract import SPLITS, TaskData
from components.tasks.curation import make_instructions


def build(parameters: InstructionsParameters, seed: int, output_dir: Path, workspace: Path = Path()) -> TaskData:
    """Write one jsonl file a split into ``output_dir``.

    ``workspace`` is where the globs of the user's files start. Raises InputProblem with every problem of those files.
    """
    if parameters.source == "files":
        from components.curate.instructions.files import read_splits

        records, report = read_splits(parameters, seed, workspace)
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
        _write(output_dir / f"{split}.jsonl", data.records[split])
    return data


def _describe(records: list[dict]) -> dict:
    """Counts of records, groups, kinds and styles; lengths of prompt and completion together, in characters."""
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


def _write(path: Path, records: Iterable[dict]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in records:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

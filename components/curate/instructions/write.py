"""Instruction and preference data: writes instruct, reward, preference, development and test as jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from components.curate.documents import Document
from components.curate.instructions.parameters import InstructionsParameters
from components.curate.instructions.split import SPLITS
from components.tasks.signatures.functions import standard_library
from components.tasks.signatures.instructions import record, select
from components.tasks.signatures.questions import as_text
from core.errors import InputProblem


@dataclass
class InstructionSet:
    """What the rest of the stage needs of the instruction data.

    Attributes:
        pretraining_documents: corpus rows (id, text, source, kind, group, license, origin) that belong in the
            *training* split of the corpus. They are near-duplicates of each other on purpose: do not deduplicate.
        held_out: qualified names of functions outside instruct; their docstrings stay out of pretraining.
        report: counts and baselines for the data card.
    """

    pretraining_documents: list[dict]
    held_out: set[str]
    report: dict


def build(parameters: InstructionsParameters, seed: int, output_dir: Path, workspace: Path = Path()) -> InstructionSet:
    """Write one jsonl file a split into ``output_dir``.

    ``workspace`` is where the globs of the user's files start. Raises InputProblem with every problem of those files.
    """
    if parameters.source == "files":
        from components.curate.instructions.files import read_splits

        records, report = read_splits(parameters, seed, workspace)
        result = InstructionSet([], set(), {"source": "files", **report})
    else:
        result, records = _from_signatures(parameters, seed)
    result.report["splits"] = {split: _describe(records[split]) for split in SPLITS}
    for split in SPLITS:
        _write(output_dir / f"{split}.jsonl", records[split])
    return result


def _from_signatures(parameters: InstructionsParameters, seed: int) -> tuple[InstructionSet, dict[str, list[dict]]]:
    functions, unreadable = standard_library()
    selection = select(functions, parameters, seed)
    empty = [split for split in SPLITS if not selection.questions[split]]
    if empty:
        raise InputProblem(
            f"curate.instructions: the standard library of this interpreter ({len(functions)} functions found) gives "
            f"no questions for {', '.join(empty)}: install its full library, or loosen max_prompt_characters"
        )
    records = {
        split: [record(question, split, seed, parameters.chatty_share) for question in selection.questions[split]]
        for split in SPLITS
    }
    documents = [
        Document(
            text, "signatures", "question", question.function.module, "PSF-2.0", question.function.qualified_name
        ).row()
        for question in selection.questions["instruct"]
        for text in (as_text(question, rendering) for rendering in range(parameters.renderings))
    ]
    report = {
        "source": "signatures",
        "functions": len(functions),
        "functions_by_split": selection.functions,
        "functions_held_out": len(selection.held_out),
        "left_out": dict(sorted(selection.left_out.items())),
        "unreadable_files": unreadable,
        "pretraining_documents": len(documents),
    }
    return InstructionSet(documents, selection.held_out, report), records


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

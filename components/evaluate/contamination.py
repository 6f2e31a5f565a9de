"""The user's own and the harness's tasks against the training text: whether their items were learnt.

The workspace's own test splits are compared when they are made (``curate.decontamination``). Tasks of the
lm-evaluation-harness come from elsewhere: what they ask is compared here, after the measuring, by the published rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from components.contract import Context
from components.decontamination.overlap import TextBatch, TextSet, find
from components.decontamination.parameters import OverlapRules
from components.decontamination.sets import TRAINING, batches, read, strings

SUMMARY, LISTED = "contamination.json", "contamination.jsonl"  # as curate's, read by the gate
FORMAT = 1
_WARNED = 0.02  # of a task's items


def compare_tasks(context: Context, items: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Compare the items of tasks with ``data/corpus`` and ``data/instructions``; the pairs that were compared.

    The report's folder gets the counts (``lm_eval/<task>`` is the evaluation set) and a list of the passages.
    """
    if not items:
        return []
    rules = OverlapRules()
    found = find(
        [each for name in ("corpus", "instructions") for each in read(name, context.inputs[name], TRAINING[name])],
        [TextSet(f"lm_eval/{task}", _reader(asked)) for task, asked in items.items()],
        rules,
    )
    pairs = [{**asdict(pair), "left": pair.overlapping} for pair in found.pairs]
    report = context.outputs["report"]
    summary = {"format": FORMAT, "rules": rules.model_dump(mode="json"), "pairs": pairs}
    (report / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    with open(report / LISTED, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in found.overlaps)
    for pair in found.pairs:
        if pair.overlapping > _WARNED * pair.items:
            context.warn(
                f"{pair.overlapping} of {pair.items} items of {pair.evaluation} overlap with {pair.training}: "
                f"{report.name}/{LISTED} lists the passages; put the task's items under data/raw "
                "and name them in curate.decontamination.against to take these texts out of training"
            )
    return pairs


def _reader(items: Sequence[Mapping[str, Any]]) -> Any:
    def read_batches() -> Iterator[TextBatch]:
        yield from batches((f"item {number}", list(dict.fromkeys(strings(item)))) for number, item in enumerate(items))

    return read_batches

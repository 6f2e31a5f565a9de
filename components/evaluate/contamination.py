"""The user's own and the harness's tasks against the training text: whether their items were learnt.

The workspace's own test splits are compared when they are made (``curate.decontamination``). Tasks of the
lm-evaluation-harness come from elsewhere: what they ask is compared here, after the measuring, by the published rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from components.contract import Context
from components.decontamination.overlap import find
from components.decontamination.parameters import OverlapRules
from components.decontamination.record import LISTED, WARNED, write_record
from components.decontamination.sets import TRAINING, batches, read, strings
from components.decontamination.texts import TextBatch, TextSet


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
    summary = {"rules": rules.model_dump(mode="json"), "pairs": pairs}
    write_record(context.outputs["report"], summary, found.overlaps)
    for pair in found.pairs:
        if pair.overlapping > WARNED * pair.items:
            context.warn(
                f"{pair.overlapping} of {pair.items} items of {pair.evaluation} overlap with {pair.training}: "
                f"reports/evaluate-{context.instance}/{LISTED} lists the passages; put the task's items under data/raw "
                "and name them in curate.decontamination.against to take these texts out of training"
            )
    return pairs


def _reader(items: Sequence[Mapping[str, Any]]) -> Any:
    def read_batches() -> Iterator[TextBatch]:
        yield from batches((f"item {number}", list(dict.fromkeys(strings(item)))) for number, item in enumerate(items))

    return read_batches

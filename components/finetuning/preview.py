"""Examples as a model is trained on them: their text, and which of it is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from components.conversations import Encoded, encode
from components.finetuning import families
from components.finetuning.models import load_tokenizer
from components.finetuning.records import Record, conversation, demonstration, has_pair, read_records
from components.finetuning.rewards import encode_answered
from components.finetuning.templates import encode_answers, install_template
from core.errors import InputProblem

Part = tuple[str, bool]

FILES = {"instruct_finetune": "instruct", "reward_model": "reward", "preference_tune": "preference"}
"""The file in ``data/instructions`` that each stage trains on."""
_TOKENIZERS = {
    "instruct_finetune": ("models/base", "models/tokenizer"),
    "reward_model": ("models/instruct", "models/base", "models/tokenizer"),
    "preference_tune": ("models/instruct", "models/base", "models/tokenizer"),
}  # of each stage, the first that is there

_LONGEST = 1200  # characters of a part that are shown
_END = 300  # of these, at its end


def parts(tokenizer: Any, ids: Sequence[int], mask: Sequence[int]) -> list[Part]:
    """A conversation's text in parts, each with whether it is learnt; the middle of a long part is left out."""
    found = []
    for learnt, run in groupby(zip(ids, mask, strict=True), key=lambda pair: bool(pair[1])):
        text = tokenizer.decode([token for token, _ in run])
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST - _END]} [... {len(text) - _LONGEST:,} characters ...] {text[-_END:]}"
        found.append((text, learnt))
    return found


def all_parts(tokenizer: Any, encoded: Encoded, places: Sequence[int]) -> list[list[Part]]:
    """The parts of the conversations at ``places``."""
    return [parts(tokenizer, encoded.input_ids[place], encoded.answer_mask[place]) for place in places]


class Example(NamedTuple):
    """A row of a file as it is trained on: its line, what of it is shown, and its parts or what is wrong with it."""

    row: int
    what: str
    parts: list[Part]
    fault: str | None = None


def examples(root: Path, stage: str, *, template: str, train_on: str, count: int) -> tuple[str, list[Example]]:
    """Examples from all over the stage's file, and by what they are shown.

    A pair gives two, a question without answers (the model draws them itself) one of which nothing is marked.

    Args:
        root: of the workspace.
        template, train_on: parameters of instruct_finetune.
        count: most rows.

    Raises:
        InputProblem: there is no data, or no tokenizer yet.
    """
    records = read_records(root / "data/instructions", FILES[stage], needs="prompt")
    folders = [name for name in _TOKENIZERS[stage] if (root / name / "tokenizer_config.json").is_file()]
    if not folders:
        raise InputProblem(
            "no model or tokenizer is there yet, whose chat template could be shown: run `stemma run` first"
        )
    tokenizer, shown_by = load_tokenizer(root / folders[0]), "chat template"
    if stage == "reward_model" and not families.draws_answers(root / folders[0]):
        tokenizer.chat_template, shown_by = None, "tokenizer"
    else:
        install_template(tokenizer, template)
    chosen = [records[place * len(records) // count] for place in range(count)] if len(records) > count else records
    if stage == "instruct_finetune":
        found = [_demonstrated(tokenizer, record, train_on) for record in chosen]
    else:
        found = [example for record in chosen for example in _compared(tokenizer, record)]
    return f"the {shown_by} of {folders[0]}", found


def _demonstrated(tokenizer: Any, record: Record, train_on: Any, what: str = "") -> Example:
    encoded = encode(tokenizer, [demonstration(record)], train_on=train_on)
    shown = [] if 0 in encoded.faults else parts(tokenizer, encoded.input_ids[0], encoded.answer_mask[0])
    return Example(record["row"], what, shown, encoded.faults.get(0))


def _compared(tokenizer: Any, record: Record) -> list[Example]:
    if not has_pair(record):
        label = record.get("label")
        if label is not None:
            return [_demonstrated(tokenizer, record, "last", f"labelled {str(label).lower()}")]
        question = conversation(record)
        encoded = encode(tokenizer, [question])
        ids = encoded.input_ids[0]
        return [Example(record["row"], "question", parts(tokenizer, ids, [0] * len(ids)), encoded.faults.get(0))]
    answers = record.get("ranked") or [record["chosen"], record["rejected"]]
    names = [f"rank {rank}" for rank in range(1, len(answers) + 1)] if len(answers) > 2 else ["chosen", "rejected"]
    if not tokenizer.chat_template:
        rows, _ = encode_answered(tokenizer, [record] * len(answers), answers)
        encoded = Encoded(rows, [[0] * len(row) for row in rows])
    else:
        encoded = encode_answers(tokenizer, [record] * len(answers), answers).whole()
    shown = all_parts(tokenizer, encoded, range(len(answers)))
    return [Example(record["row"], name, each) for name, each in zip(names, shown, strict=True)]

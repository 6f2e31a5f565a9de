"""The demonstrations of instruct_finetune as tokens: what the chat template shows rightly and what fits the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from components.contract import Context
from components.conversations import Encoded, encode, refusals, render
from components.finetuning.records import Record, conversation, demonstration, read_files
from components.finetuning.templates import fitting, shown_rightly, warn_of_control_tokens
from core.errors import InputProblem

_MEASURED = 2000  # held-out demonstrations whose loss is measured


class Examples(NamedTuple):
    """Records to train on and to measure on, each with its demonstration's tokens and those of its question."""

    training: list[Record]
    encoded: Encoded
    development: list[Record]
    held_out: Encoded
    questions: list[list[int]]

    def measured(self) -> Encoded:
        """The held-out demonstrations whose loss is measured."""
        return _at(self.held_out, range(min(_MEASURED, len(self.development))))

    def lengths(self) -> list[int]:
        """Tokens that each demonstration needs, to train on and to measure on."""
        return [*map(len, self.encoded.input_ids), *self.held_out_lengths()]

    def held_out_lengths(self) -> list[int]:
        """A development question needs room for an answer too."""
        return [
            max(len(ids), len(asked) + 1) for ids, asked in zip(self.held_out.input_ids, self.questions, strict=True)
        ]


def read(context: Context, tokenizer: Any) -> Examples:
    """Everything that can be said of the data without the model.

    Raises:
        InputProblem: rows have the wrong shape, or the chat template does not show more than 1 % of them rightly.
    """
    names = ("instruct", "development")
    files = dict(zip(names, read_files(context.inputs["instructions"], names, needs="answer"), strict=True))
    warn_of_control_tokens(context, tokenizer, files)
    encoded = {}
    problems: list[str] = []
    for name, records in files.items():
        found = encode(tokenizer, [demonstration(record) for record in records], train_on=context.parameters.train_on)
        faults = dict(found.faults)
        if name == "development" and len(faults) < len(records):
            faults |= _unasked(tokenizer, records, faults)
        try:
            places = shown_rightly(context, name, records, faults)
        except InputProblem as problem:
            problems += problem.problems
            continue
        files[name], encoded[name] = [records[place] for place in places], _at(found, places)
    if problems:
        raise InputProblem(problems)
    questions = render(tokenizer, [conversation(record) for record in files["development"]])
    return Examples(files["instruct"], encoded["instruct"], files["development"], encoded["development"], questions)


def within(context: Context, examples: Examples, limit: int) -> Examples:
    """The examples that fit into a context of ``limit`` tokens, or what of them does where they are to be cut.

    A development question needs room for an answer, and its demonstration must fit for its loss to be measured.

    Raises:
        InputProblem: some do not fit and must not be left out or cut, or none is left.
    """
    if context.parameters.too_long == "truncate":
        examples = _cut(context, examples, limit)
    files: dict[str, tuple[Sequence[Record], Sequence[int]]] = {
        "instruct": (examples.training, [len(ids) for ids in examples.encoded.input_ids]),
        "development": (examples.development, examples.held_out_lengths()),
    }
    rows, held_out = fitting(context, "instruct_finetune", files, limit, what="question and answer")
    return _chosen(examples, rows, held_out)


def _cut(context: Context, examples: Examples, limit: int) -> Examples:
    """The examples cut to ``limit`` tokens, those without any of their answer's left out."""
    kept = {}
    for name, encoded in (("instruct", examples.encoded), ("development", examples.held_out)):
        kept[name] = [place for place, mask in enumerate(encoded.answer_mask) if 1 in mask[:limit]]
        cut = sum(len(encoded.input_ids[place]) > limit for place in kept[name])
        lost = len(encoded.input_ids) - len(kept[name])
        if cut or lost:
            context.warn(
                f"data/instructions/{name}.jsonl: {cut} of {len(encoded.input_ids)} rows are cut to {limit} tokens; "
                f"{lost} whose answers begin behind them are left out"
            )
        if not kept[name]:
            raise InputProblem(f"data/instructions/{name}.jsonl: no answer begins within the context of {limit} tokens")
    chosen = _chosen(examples, kept["instruct"], kept["development"])
    return chosen._replace(encoded=_shortened(chosen.encoded, limit), held_out=_shortened(chosen.held_out, limit))


def _chosen(examples: Examples, rows: Sequence[int], held_out: Sequence[int]) -> Examples:
    return Examples(
        [examples.training[row] for row in rows],
        _at(examples.encoded, rows),
        [examples.development[row] for row in held_out],
        _at(examples.held_out, held_out),
        [examples.questions[row] for row in held_out],
    )


def _at(encoded: Encoded, places: Sequence[int]) -> Encoded:
    return Encoded([encoded.input_ids[place] for place in places], [encoded.answer_mask[place] for place in places])


def _shortened(encoded: Encoded, limit: int) -> Encoded:
    return Encoded([ids[:limit] for ids in encoded.input_ids], [mask[:limit] for mask in encoded.answer_mask])


def _unasked(tokenizer: Any, records: Sequence[Record], faults: dict[int, str]) -> dict[int, str]:
    """The records whose question alone the template refuses."""
    rest = [place for place in range(len(records)) if place not in faults]
    found = refusals(tokenizer, [conversation(records[place]) for place in rest])
    return {rest[place]: reason for place, reason in found.items()}

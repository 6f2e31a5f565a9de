"""Instruction records: reading a file of ``data/instructions`` and saying everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.errors import InputProblem

Record = dict[str, Any]

_SHOWN = 10  # examples of one kind of problem; the rest is counted
_ROLES = ("system", "user", "assistant")


def read_records(folder: Path, name: str, *, needs: str) -> list[Record]:
    """All records of ``<folder>/<name>.jsonl``.

    ``prompt`` is filled in from the last user's turn where it is missing. ``group`` defaults to the prompt, so that
    equal prompts stay together; ``row`` is the line's number.

    Args:
        needs: ``answer`` (something to learn: ``completion``, or an assistant's turn) or ``prompt`` (a question).

    Raises:
        InputProblem: the file is missing or empty, or rows have the wrong shape; every problem at once.
    """
    path = folder / f"{name}.jsonl"
    shown = f"data/instructions/{name}.jsonl"
    if not path.is_file():
        raise InputProblem(f"{shown} is missing: the curate stage writes it; run `dvc repro curate`")
    problems: list[str] = []
    records: list[Record] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(f"{shown}, row {number}: no JSON ({error.msg} at column {error.colno})")
            continue
        problem = _problem(row, needs)
        if problem:
            problems.append(f"{shown}, row {number}: {problem}")
        else:
            records.append(_completed(row, number))
    if problems:
        raise InputProblem(shortened(problems, "rows of the wrong shape"))
    if not records:
        raise InputProblem(f"{shown} has no rows: give the curate stage more or other instructions")
    return records


def read_files(folder: Path, names: Sequence[str], *, needs: str) -> list[list[Record]]:
    """The records of several files, as :func:`read_records`; the problems of all files come together."""
    found, problems = [], []
    for name in names:
        try:
            found.append(read_records(folder, name, needs=needs))
        except InputProblem as problem:
            problems += problem.problems
    if problems:
        raise InputProblem(problems)
    return found


def conversation(record: Record, answer: str | None = None) -> list[dict[str, str]]:
    """The record as chat messages: up to the last question, then ``answer`` if one is given."""
    if record.get("messages"):
        messages = list(record["messages"])
        if messages[-1]["role"] == "assistant":
            messages.pop()
    else:
        messages = [{"role": "user", "content": record["prompt"]}]
    return messages if answer is None else [*messages, {"role": "assistant", "content": answer}]


def demonstration(record: Record) -> list[dict[str, str]]:
    """The record as the conversation to imitate, with its answer."""
    if record.get("completion") is not None:
        return conversation(record, record["completion"])
    return list(record["messages"])


def target(record: Record) -> str:
    """The answer the record demonstrates."""
    return demonstration(record)[-1]["content"]


def has_pair(record: Record) -> bool:
    """True where the user gave a preferred and a rejected answer."""
    return record.get("chosen") is not None and record.get("rejected") is not None


def texts(record: Record) -> list[str]:
    """Every text of the record that a model may see."""
    fields = [record.get(key) for key in ("prompt", "completion", "chosen", "rejected")]
    return [*(message["content"] for message in record.get("messages") or ()), *filter(None, fields)]


def shortened(problems: list[str], what: str) -> list[str]:
    """The first problems, and how many more there are."""
    if len(problems) <= _SHOWN:
        return problems
    return [*problems[:_SHOWN], f"... and {len(problems) - _SHOWN} more {what} ({len(problems)} in all)"]


def _completed(row: Record, number: int) -> Record:
    if not row.get("prompt"):
        row["prompt"] = next(m["content"] for m in reversed(row["messages"]) if m["role"] == "user")
    row["group"] = row.get("group") or row["prompt"]
    row["kind"] = row.get("kind") or "question"
    row["row"] = number
    return row


def _problem(row: Any, needs: str) -> str | None:
    if not isinstance(row, dict):
        return f"an object was expected, not {type(row).__name__}"
    messages = row.get("messages")
    if messages is not None:
        wrong = _wrong_messages(messages)
        if wrong:
            return wrong
    elif not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
        return "needs `prompt` (text) or `messages`"
    for key in ("completion", "chosen", "rejected"):
        if row.get(key) is not None and (not isinstance(row[key], str) or not row[key].strip()):
            return f"`{key}` must be text that is not empty"
    if (row.get("chosen") is None) != (row.get("rejected") is None):
        return "`chosen` and `rejected` must come together"
    if row.get("chosen") is not None and row["chosen"] == row["rejected"]:
        return "`chosen` and `rejected` are the same text"
    if needs == "answer" and row.get("completion") is None and not (messages and messages[-1]["role"] == "assistant"):
        return "needs `completion`, or `messages` that end with the assistant's answer"
    return None


def _wrong_messages(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return "`messages` must be a list that is not empty"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            return f"every message needs `role`, one of {', '.join(_ROLES)}"
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            return "every message needs `content`, text that is not empty"
    if not any(message["role"] == "user" for message in messages):
        return "`messages` has no user's turn"
    return None

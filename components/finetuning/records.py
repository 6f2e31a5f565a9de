"""Instruction records: reading a file of ``data/instructions`` and saying everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.chat_template import Dialogue, Message
from core.errors import InputProblem

Record = dict[str, Any]

_SHOWN = 10  # examples of one kind of problem; the rest is counted
_ROLES = ("system", "user", "assistant", "tool")


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


def has_no_rows(folder: Path, *names: str) -> bool:
    """True where the curate stage wrote all these files, and none of them has a row."""
    paths = [folder / f"{name}.jsonl" for name in names]
    return all(path.is_file() and path.stat().st_size == 0 for path in paths)


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


def conversation(record: Record, answer: str | None = None) -> Dialogue:
    """The record as chat messages: up to the last question, then ``answer`` if one is given."""
    messages = list(record.get("messages") or [{"role": "user", "content": record["prompt"]}])
    if messages[-1]["role"] == "assistant":
        messages.pop()
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return Dialogue(messages, record.get("tools"))


def demonstration(record: Record) -> Dialogue:
    """The record as the conversation to imitate, with its answer."""
    messages = record.get("messages")
    if messages and (messages[-1].get("tool_calls") or record.get("completion") is None):
        return Dialogue(messages, record.get("tools"))
    return conversation(record, record["completion"])


def demonstrates(record: Record) -> bool:
    """True where the record has an answer to imitate."""
    messages = record.get("messages")
    return record.get("completion") is not None or bool(messages and messages[-1]["role"] == "assistant")


def target(record: Record) -> str:
    """The answer the record demonstrates, its tool calls as JSON."""
    answer = demonstration(record)[-1]
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in answer.get("tool_calls", ())]
    return "\n".join([answer["content"], *calls]).strip() if calls else answer["content"]


def has_pair(record: Record) -> bool:
    """True where the user gave a preferred and a rejected answer, or several in their order."""
    return bool(record.get("ranked")) or (record.get("chosen") is not None and record.get("rejected") is not None)


def texts(record: Record) -> list[str]:
    """Every text of the record that a model may see."""
    fields = [record.get(key) for key in ("prompt", "completion", "chosen", "rejected")]
    said = [message["content"] for message in record.get("messages") or ()]
    return [*said, *filter(None, fields), *(record.get("ranked") or ())]


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
    called = bool(messages and messages[-1].get("tool_calls"))
    for key in ("completion", "chosen", "rejected"):
        value = row.get(key)
        if value is not None and not (isinstance(value, str) and (value.strip() or (called and key == "completion"))):
            return f"`{key}` must be text that is not empty"
    if (row.get("chosen") is None) != (row.get("rejected") is None):
        return "`chosen` and `rejected` must come together"
    if row.get("chosen") is not None and row["chosen"] == row["rejected"]:
        return "`chosen` and `rejected` are the same text"
    if not isinstance(row.get("label"), bool | None):
        return "`label` must be true or false"
    ranked = row.get("ranked")
    if ranked is not None and not (isinstance(ranked, list) and len(ranked) > 1 and all(map(_is_text, ranked))):
        return "`ranked` must be two texts or more, the best first"
    tools = row.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        return "`tools` must be a list of objects"
    if needs == "answer" and row.get("completion") is None and not (messages and messages[-1]["role"] == "assistant"):
        return "needs `completion`, or `messages` that end with the assistant's answer"
    return None


def _wrong_messages(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return "`messages` must be a list that is not empty"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            return f"every message needs `role`, one of {', '.join(_ROLES)}"
        may_be_empty = message["role"] == "tool" or message.get("tool_calls")
        if not isinstance(message.get("content"), str) or not (message["content"].strip() or may_be_empty):
            return "every message needs `content`, text that is not empty"
        if message.get("tool_calls") and not _are_calls(message):
            return "`tool_calls` must be the assistant's, each with a function's name and arguments"
    if not any(message["role"] == "user" for message in messages):
        return "`messages` has no user's turn"
    return None


def _are_calls(message: Message) -> bool:
    calls = message["tool_calls"]
    return (
        message["role"] == "assistant"
        and isinstance(calls, list)
        and all(isinstance(call, dict) and isinstance(call.get("function"), dict) for call in calls)
        and all({"name", "arguments"} <= call["function"].keys() for call in calls)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())

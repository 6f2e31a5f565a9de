"""The forms in which instruction and preference rows come, and how each becomes a record.

A row that has ``chosen`` or ``rejected`` is a pair, and one with several scored or ranked answers is ranked, whatever
else it has: none of them is ever used without the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.curate.documents import identifier
from components.curate.files.tables import text
from components.curate.supervised.messages import (
    Message,
    parsed,
    question,
    read_messages,
    read_tools,
    require_turns,
    with_system,
)
from components.curate.supervised.rankings import ANSWERS, SCORES, best_first, is_ranking

EXPECTED = (
    "instruction, input, output (Alpaca) | messages (chat) | conversations (ShareGPT) | prompt, completion | prompt, "
    "chosen, rejected (pairs) | prompt, completion, label (KTO) | prompt, responses, scores (ranked)"
)
Row = Mapping[str, Any]
Record = dict[str, Any]

LABELS = frozenset({"label", "kto_tag"})
"""Columns of KTO's verdict on an answer."""
NOTES = frozenset({"consent", "provenance"})
"""Columns that say where a row comes from, and are no part of its record."""
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True)
class Form:
    """One form: its name, the columns that make a row one of it, those it reads if they are there, and its function.

    ``convert`` makes a record of a row; it raises ValueError with the reason if it cannot.
    """

    name: str
    needed: frozenset[str]
    others: frozenset[str]
    convert: Callable[[Row], Record]

    @property
    def columns(self) -> frozenset[str]:
        """Every column that it reads."""
        return self.needed | self.others


def form_of(row: Row) -> Form | None:
    """The form of a row by its columns that hold something; ``None`` if it has none.

    Raises:
        ValueError: the row has the columns of two forms.
    """
    present = {name for name, value in row.items() if value is not None}
    if any(row[name] != "" for name in present & {"chosen", "rejected"}):
        return _PAIR
    if is_ranking(row):
        return _RANKED
    found = [form for form in _FORMS if form.needed <= present]
    if len(found) > 1:  # cells of a CSV file are empty where a row has no such column
        found = [form for form in found if all(row[name] != "" for name in form.needed)] or found
    if len(found) > 1:
        named = " and ".join(f"{form.name} ({', '.join(sorted(form.needed))})" for form in found)
        raise ValueError(f"has the columns of two forms, {named}: remove those of one")
    return found[0] if found else None


def convert(row: Row) -> Record:
    """The record of a row in any form. Raises ValueError with the reason if there is none."""
    form = form_of(row)
    if form is None:
        has = ", ".join(str(name) for name, value in row.items() if value is not None) or "nothing"
        raise ValueError(f"has {has}, but one of these is expected: {EXPECTED}")
    record = form.convert(row)
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair in a tool call
        raise ValueError("is not valid Unicode text") from None
    return record


def label_of(row: Row) -> bool | None:
    """KTO's verdict on the row's answer; ``None`` where no column says true or false."""
    for name in sorted(LABELS):
        value = row.get(name)
        if isinstance(value, bool | int | str) and (truth := _TRUTHS.get(str(value).strip().lower())) is not None:
            return truth
    return None


def _alpaca(row: Row) -> Record:
    return _answered("alpaca", row, [*_asked(row), _answer(text(row, "output"))])


def _completion(row: Row) -> Record:
    messages = _prompt(row)
    if isinstance(parsed(row["completion"]), list | dict):
        messages += read_messages(row, "completion", label="completion")
    else:
        messages.append(_answer(text(row, "completion")))
    return _answered("completion", row, with_system(messages, row))


def _chat(row: Row) -> Record:
    name = "messages" if row.get("messages") is not None else "conversations"
    return _answered("chat", row, with_system(read_messages(row, name), row))


def _answered(kind: str, row: Row, messages: list[Message]) -> Record:
    """The record of a conversation that ends with an answer, and KTO's label where the row has one."""
    require_turns(messages, "assistant")
    label = label_of(row)
    record = _record(kind if label is None else "kto", messages[:-1], row, messages[-1]["content"])
    if kind == "chat" or "messages" in record or messages[-1].get("tool_calls"):
        record["messages"] = messages
    return record if label is None else {**record, "label": label}


def _pair(row: Row) -> Record:
    """Both answers as text, with a prompt; or both as messages, which may hold the prompt themselves."""
    as_messages = [isinstance(parsed(row.get(name)), list | dict) for name in ("chosen", "rejected")]
    if all(as_messages):
        chosen, rejected = (read_messages(row, name, label=name) for name in ("chosen", "rejected"))
        if not chosen or not rejected:
            raise ValueError("'chosen' and 'rejected' must end with a message of the assistant")
        before, good, bad = chosen[:-1], chosen[-1], rejected[-1]
        if before != rejected[:-1]:
            raise ValueError("'chosen' and 'rejected' must differ in their last message alone")
        if not (good["role"] == bad["role"] == "assistant"):
            raise ValueError("'chosen' and 'rejected' must end with a message of the assistant")
        if good.get("tool_calls") or bad.get("tool_calls"):
            raise ValueError("'chosen' and 'rejected' must be texts; a tool call cannot be compared")
        before = with_system(before, row) if before else _context(row)
        answers = good["content"], bad["content"]
    elif any(as_messages):
        raise ValueError("'chosen' and 'rejected' must both be text, or both lists of messages")
    else:
        answers = text(row, "chosen"), text(row, "rejected")
        before = _context(row)
    if answers[0] == answers[1]:
        raise ValueError("'chosen' and 'rejected' are the same")
    require_turns(before, "user", "tool")
    return {**_record("pair", before, row, answers[0]), "chosen": answers[0], "rejected": answers[1]}


def _ranked(row: Row) -> Record:
    """Several answers, the best first; the best and the worst of them are a pair as well."""
    ranked = best_first(row)
    before = _context(row)
    require_turns(before, "user", "tool")
    record = {**_record("ranked", before, row, ranked[0]), "chosen": ranked[0], "rejected": ranked[-1]}
    return record if len(ranked) == 2 else {**record, "ranked": ranked}


def _context(row: Row) -> list[Message]:
    """What the answers of a pair answer, from the column that holds it."""
    if row.get("prompt") in (None, ""):
        for name in ("messages", "conversations"):
            if row.get(name) not in (None, ""):
                messages = with_system(read_messages(row, name), row)
                return messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
        if row.get("instruction") not in (None, ""):
            return _asked(row)
    return with_system(_prompt(row), row)


def _prompt(row: Row) -> list[Message]:
    if isinstance(parsed(row.get("prompt")), list | dict):
        return read_messages(row, "prompt")
    return [{"role": "user", "content": text(row, "prompt")}]


def _asked(row: Row) -> list[Message]:
    """The turns up to the question of an Alpaca row, with LLaMA-Factory's ``system`` and ``history``."""
    instruction, context = text(row, "instruction"), row.get("input")
    if context is not None and not isinstance(context, str):
        raise ValueError(f"'input' must be text or left out, not {type(context).__name__}")
    asked = f"{instruction}\n\n{context}" if context and context.strip() else instruction
    return with_system([*_history(row), {"role": "user", "content": asked}], row)


def _history(row: Row) -> list[Message]:
    history = parsed(row.get("history"))
    if history in (None, "", []):
        return []
    if not isinstance(history, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise ValueError("'history' must be a list of [question, answer]")
    messages: list[Message] = []
    for number, (asked, answered) in enumerate(history, start=1):
        names = (f"question {number} of history", f"answer {number} of history")
        messages.append({"role": "user", "content": text({names[0]: asked}, names[0])})
        messages.append(_answer(text({names[1]: answered}, names[1])))
    return messages


def _answer(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _record(kind: str, before: Sequence[Message], row: Row, completion: str) -> Record:
    """A record whose question is ``before``; conversations that begin with one question share a group."""
    tools = read_tools(row)
    prompt = question(before)
    record: Record = {
        "prompt": prompt,
        "completion": completion,
        "kind": kind,
        "group": identifier(question(before, first=True)),
        "style": None,
        "reference": None,
        "verifier": None,
    }
    if len(before) > 1 or tools:
        record["messages"] = list(before)
    return {**record, "tools": tools} if tools else record


def _columns(*names: str) -> frozenset[str]:
    return frozenset(names)


_ALWAYS = ("system", "tools")
_QUESTION = ("prompt", "messages", "conversations", "instruction", "input", "history")
_PAIR = Form("pair", _columns("chosen", "rejected"), _columns(*_QUESTION, *_ALWAYS), _pair)
_RANKED = Form("ranked", _columns(), _columns(*_QUESTION, *_ALWAYS, *ANSWERS, *SCORES), _ranked)
_FORMS = (
    Form("chat", _columns("messages"), _columns(*_ALWAYS, *LABELS), _chat),
    Form("ShareGPT", _columns("conversations"), _columns(*_ALWAYS, *LABELS), _chat),
    Form("completion", _columns("prompt", "completion"), _columns(*_ALWAYS, *LABELS), _completion),
    Form("alpaca", _columns("instruction", "output"), _columns("input", "history", *_ALWAYS, *LABELS), _alpaca),
)
COLUMNS = frozenset().union(*(form.columns for form in (_PAIR, _RANKED, *_FORMS)))
"""Every column that some form reads."""

"""The forms in which instruction and preference rows come, and how each becomes a record.

A row that has ``chosen`` or ``rejected`` is a pair, whatever else it has: they are never used without each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from components.curate.documents import identifier
from components.curate.tables import text

EXPECTED = (
    "instruction, input, output (Alpaca) | messages (chat) | conversations (ShareGPT) | prompt, completion | prompt, "
    "chosen, rejected (pairs)"
)
Row = Mapping[str, Any]
Record = dict[str, Any]
Message = dict[str, str]

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


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
    if present & {"chosen", "rejected"}:
        return _PAIR
    found = [form for form in _FORMS if form.needed <= present]
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
    return form.convert(row)


def _alpaca(row: Row) -> Record:
    return _record("alpaca", _instruction(row), text(row, "output"))


def _instruction(row: Row) -> str:
    instruction, context = text(row, "instruction"), row.get("input")
    if context is not None and not isinstance(context, str):
        raise ValueError(f"'input' must be text or left out, not {type(context).__name__}")
    return f"{instruction}\n\n{context}" if context and context.strip() else instruction


def _completion(row: Row) -> Record:
    return _record("completion", text(row, "prompt"), text(row, "completion"))


def _chat(row: Row) -> Record:
    messages = _messages(row, "messages" if row.get("messages") is not None else "conversations")
    _require_turns(messages, "assistant")
    return {**_record("chat", messages[-2]["content"], messages[-1]["content"]), "messages": messages}


def _pair(row: Row) -> Record:
    """Both answers as text, with a prompt; or both as lists of messages, which may hold the prompt themselves."""
    if isinstance(row.get("chosen"), list) and isinstance(row.get("rejected"), list):
        chosen, rejected = _messages(row, "chosen"), _messages(row, "rejected")
        before, good, bad = chosen[:-1], chosen[-1], rejected[-1]
        if before != rejected[:-1]:
            raise ValueError("'chosen' and 'rejected' must differ in their last message alone")
        if not (good["role"] == bad["role"] == "assistant"):
            raise ValueError("'chosen' and 'rejected' must end with a message of the assistant")
        before = before or _context(row)
        answers = good["content"], bad["content"]
    elif isinstance(row.get("chosen"), list) or isinstance(row.get("rejected"), list):
        raise ValueError("'chosen' and 'rejected' must both be text, or both lists of messages")
    else:
        answers = text(row, "chosen"), text(row, "rejected")
        before = _context(row)
    if answers[0] == answers[1]:
        raise ValueError("'chosen' and 'rejected' are the same")
    _require_turns(before, "user")
    record = {**_record("pair", before[-1]["content"], answers[0]), "chosen": answers[0], "rejected": answers[1]}
    return record if len(before) == 1 else {**record, "messages": before}


def _context(row: Row) -> list[Message]:
    """What the answers of a pair answer, from the column that holds it."""
    if isinstance(row.get("prompt"), list):
        return _messages(row, "prompt")
    if row.get("prompt") is None and row.get("messages") is not None:
        return _messages(row, "messages")
    if row.get("prompt") is None and row.get("instruction") is not None:
        return [{"role": "user", "content": _instruction(row)}]
    return [{"role": "user", "content": text(row, "prompt")}]


def _messages(row: Row, name: str) -> list[Message]:
    """A column of messages, {role, content} or ShareGPT's {from, value}, in the former's words."""
    messages = row.get(name)
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"{name!r} must be a list of {{role, content}}")
    try:
        return [_message(message, position) for position, message in enumerate(messages, start=1)]
    except ValueError as error:
        raise ValueError(f"{name}: {error}" if name in ("chosen", "rejected") else str(error)) from None


def _message(message: Any, position: int) -> Message:
    if not isinstance(message, dict):
        raise ValueError(f"message {position} must be an object with role and content")
    given = {key: value for key, value in message.items() if value not in (None, [], {}, "")}
    role_key, content_key = ("from", "value") if "from" in message else ("role", "content")
    role = _ROLES.get(str(given.get(role_key)))
    if role is None:
        roles = ", ".join(_ROLES)
        raise ValueError(f"message {position} must be an object with {role_key} ({roles}) and {content_key}")
    if given.get("weight") in (1, True):  # what a message without a weight has
        del given["weight"]
    if "weight" in given:
        raise ValueError(
            f"message {position} has the weight {given['weight']!r}, but every answer of the assistant is learnt: end "
            "the conversation before it, or leave the row out"
        )
    if unknown := sorted(set(given) - {role_key, content_key}):
        raise ValueError(f"message {position} has {', '.join(map(repr, unknown))}, which cannot be used: remove it")
    try:
        return {"role": role, "content": text({content_key: _joined(message.get(content_key))}, content_key)}
    except ValueError as error:
        raise ValueError(f"message {position}: {error}") from None


def _joined(content: Any) -> Any:
    """The text of a content that is a list of parts; anything else as it is."""
    if not isinstance(content, list):
        return content
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ValueError(f"a part of its content is not text but {kind!r}")
    return "".join(part["text"] for part in content)


def _require_turns(messages: list[Message], last: str) -> None:
    turns = [message["role"] for message in messages]
    if turns[:1] == ["system"]:
        del turns[0]
    if not turns or turns[-1] != last or turns != [("user", "assistant")[i % 2] for i in range(len(turns))]:
        raise ValueError(f"after an optional system message, user and assistant must alternate and the {last} end")


def _record(kind: str, prompt: str, completion: str) -> Record:
    return {
        "prompt": prompt,
        "completion": completion,
        "kind": kind,
        "group": identifier(prompt),
        "style": None,
        "reference": None,
        "verifier": None,
    }


_PAIR = Form("pair", frozenset({"chosen", "rejected"}), frozenset({"prompt", "instruction", "input"}), _pair)
_FORMS = (
    Form("chat", frozenset({"messages"}), frozenset(), _chat),
    Form("ShareGPT", frozenset({"conversations"}), frozenset(), _chat),
    Form("completion", frozenset({"prompt", "completion"}), frozenset(), _completion),
    Form("alpaca", frozenset({"instruction", "output"}), frozenset({"input"}), _alpaca),
)

"""The forms in which instruction and preference rows come, and how each becomes a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from components.curate.documents import identifier
from components.curate.instructions.rows import Row, text

EXPECTED = (
    "instruction, input, output (Alpaca) | messages (chat) | prompt, completion | prompt, chosen, rejected (pairs)"
)
_LOOKED_AT = 100  # rows that the form of a file is told by
_ROLES = ("system", "user", "assistant")


def detect(rows: Iterable[Row]) -> str | None:
    """The form that most of the first rows have; None if no row has any."""
    votes = [form for row in islice(rows, _LOOKED_AT) if row.columns and (form := _form(row.columns.keys()))]
    return max(sorted(set(votes)), key=votes.count, default=None)


def convert(form: str) -> Callable[[dict[str, Any]], dict]:
    """The function that makes a record of a row of ``form``; it raises ValueError with the reason if it cannot."""
    return _FORMS[form][1]


def _form(columns: Iterable[str]) -> str | None:
    present = set(columns)
    return next((form for form, (needed, _) in _FORMS.items() if needed <= present), None)


def _alpaca(row: dict[str, Any]) -> dict:
    instruction, output = text(row, "instruction"), text(row, "output")
    context = row.get("input")
    if context is not None and not isinstance(context, str):
        raise ValueError(f"'input' must be text or left out, not {type(context).__name__}")
    prompt = f"{instruction}\n\n{context}" if context and context.strip() else instruction
    return _record("alpaca", prompt, output)


def _completion(row: dict[str, Any]) -> dict:
    return _record("completion", text(row, "prompt"), text(row, "completion"))


def _pair(row: dict[str, Any]) -> dict:
    prompt, chosen, rejected = (text(row, name) for name in ("prompt", "chosen", "rejected"))
    if chosen == rejected:
        raise ValueError("'chosen' and 'rejected' are the same")
    return {**_record("pair", prompt, chosen), "chosen": chosen, "rejected": rejected}


def _chat(row: dict[str, Any]) -> dict:
    messages = row["messages"] if "messages" in row else None
    if not isinstance(messages, list) or not messages:
        raise ValueError("'messages' must be a list of {role, content}")
    clean = []
    for position, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise ValueError(f"message {position} must be an object with role {', '.join(_ROLES)} and content")
        try:
            clean.append({"role": message["role"], "content": text(message, "content")})
        except ValueError as error:
            raise ValueError(f"message {position}: {error}") from None
    turns = clean[1:] if clean[0]["role"] == "system" else clean
    wanted = ["user", "assistant"] * (len(turns) // 2)
    if not turns or [turn["role"] for turn in turns] != wanted:
        raise ValueError("after an optional system message, user and assistant must alternate and the assistant end")
    return {**_record("chat", turns[-2]["content"], turns[-1]["content"]), "messages": clean}


def _record(kind: str, prompt: str, completion: str) -> dict:
    return {
        "prompt": prompt,
        "completion": completion,
        "kind": kind,
        "group": identifier(prompt),
        "style": None,
        "reference": None,
        "verifier": None,
    }


# In order of detection: pairs before completions, since both have a prompt.
_FORMS: dict[str, tuple[frozenset[str], Callable[[dict[str, Any]], dict]]] = {
    "chat": (frozenset({"messages"}), _chat),
    "pair": (frozenset({"prompt", "chosen", "rejected"}), _pair),
    "completion": (frozenset({"prompt", "completion"}), _completion),
    "alpaca": (frozenset({"instruction", "output"}), _alpaca),
}

"""Conversations of the user's rows in one form: messages of role and content, with tool calls as OpenAI writes them.

Read are OpenAI's own form (``role``/``content``, ``tool_calls``, role ``tool``) and ShareGPT's (``from``/``value``,
roles ``function_call`` and ``observation``). A message of either becomes ``{role, content}``, and beside it

* ``tool_calls``: ``[{type: function, function: {name, arguments}}]`` of the assistant, the arguments an object;
* ``name`` and ``tool_call_id`` of a tool's message, ``id`` of a call, where the data has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.curate.files.tables import text
from core import bounded

Message = dict[str, Any]

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
"""The role of each name that data gives to one."""
_CALLS = ("function_call", "tool_call")  # roles whose content is a call
_OF_TOOLS = ("name", "tool_call_id")
_REASONING = ("reasoning_content", "reasoning", "thinking")
_FOLLOWS = {  # which roles may follow one; the first of a conversation follows None
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def read_messages(row: Mapping[str, Any], name: str, *, label: str | None = None) -> list[Message]:
    """A column of messages in the one form; a single object is a list of one, a text is read as JSON.

    Messages of one role that follow each other become one, their texts separated by a blank line; the text and the
    tool calls that an assistant gives in two messages likewise. An empty system message is left out.

    Args:
        label: how to name the column in a reason, where the row has several such columns.

    Raises:
        ValueError: with the reason why it cannot be read.
    """
    given = parsed(row.get(name))
    given = [given] if isinstance(given, dict) else given
    if not isinstance(given, list) or not given:
        raise ValueError(f"{name!r} must be a list of {{role, content}}")
    found: list[Message] = []
    try:
        for position, each in enumerate(given, start=1):
            message = _message(each, position)
            if message["role"] == "system" and not message["content"]:
                continue
            if found and _joins(found[-1], message):
                found[-1] = _joined_messages(found[-1], message)
            else:
                found.append(message)
    except ValueError as error:
        raise ValueError(f"{label}: {error}" if label else str(error)) from None
    return found


def with_system(messages: list[Message], row: Mapping[str, Any]) -> list[Message]:
    """The messages behind the row's column ``system``, where it has one.

    Raises:
        ValueError: the messages begin with another system message.
    """
    if row.get("system") in (None, ""):
        return messages
    system = {"role": "system", "content": text(row, "system")}
    if messages and messages[0]["role"] == "system":
        if messages[0] != system:
            raise ValueError("has a column 'system' and another system message: remove one")
        return messages
    return [system, *messages]


def require_turns(messages: Sequence[Message], *ends: str) -> None:
    """Raise ValueError unless the turns follow each other as in a conversation and one of ``ends`` is the last."""
    before = None
    for message in messages:
        role = message["role"]
        calls = before is not None and before["role"] == "assistant" and bool(before.get("tool_calls"))
        allowed = _FOLLOWS[before["role"] if before else None]
        if role not in allowed or (before and before["role"] == "assistant" and (role == "tool") != calls):
            raise ValueError(
                "after an optional system message, user and assistant must alternate, and a tool may answer tool calls "
                f"alone; here {_named(message)} follows {_named(before)}"
            )
        before = message
    if before is None or before["role"] not in ends:
        raise ValueError(
            f"after an optional system message, user and assistant must alternate and the {' or '.join(ends)} end"
        )


def question(messages: Sequence[Message], first: bool = False) -> str:
    """The last (or ``first``) user's turn."""
    ordered = messages if first else reversed(messages)
    return next(str(message["content"]) for message in ordered if message["role"] == "user")


def read_tools(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The row's column ``tools``, each as OpenAI writes it (``{type: function, function: {name, ...}}``).

    Raises:
        ValueError: with the reason why it cannot be read.
    """
    tools = parsed(row.get("tools"))
    if tools in (None, "", [], {}):
        return None
    tools = [tools] if isinstance(tools, dict) else tools
    if not isinstance(tools, list):
        raise ValueError("'tools' must be a list of objects, or the JSON of one")
    return [_tool(tool, position) for position, tool in enumerate(tools, start=1)]


def parsed(value: Any) -> Any:
    """A text that is the JSON of a list or an object (a cell of a CSV file) as what it says; anything else as it is."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return value if bounded.deeper(found) else found


def _tool(tool: Any, position: int) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, dict) and "function" in tool else tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise ValueError(f"tool {position} must be an object with name, description and parameters")
    return {"type": "function", "function": function}


def _message(message: Any, position: int) -> Message:
    if not isinstance(message, dict):
        raise ValueError(f"message {position} must be an object with role and content")
    given = {key: value for key, value in message.items() if value not in (None, [], {}, "")}
    role_key, content_key = ("from", "value") if "from" in message else ("role", "content")
    named = str(given.get(role_key))
    role = ROLES.get(named)
    if role is None:
        roles = ", ".join(ROLES)
        raise ValueError(f"message {position} must be an object with {role_key} ({roles}) and {content_key}")
    if given.get("weight") in (1, True):  # what a message without a weight has
        del given["weight"]
    if "weight" in given:
        raise ValueError(
            f"message {position} has the weight {given['weight']!r}, but every answer of the assistant is learnt: end "
            "the conversation before it, or leave the row out"
        )
    calls_keys = ("tool_calls", "function_call") if role == "assistant" else ()
    used = {role_key, content_key, *calls_keys, *(_OF_TOOLS if role == "tool" else ())}
    if unknown := sorted(set(given) - used):
        how = (
            "write it as <think>...</think> at the beginning of the content"
            if unknown[0] in _REASONING
            else "remove it"
        )
        raise ValueError(f"message {position} has {', '.join(map(repr, unknown))}, which cannot be used: {how}")
    try:
        if named in _CALLS:
            return {"role": role, "content": "", "tool_calls": _calls(given.get(content_key))}
        calls = [call for key in calls_keys if key in given for call in _calls(given[key])]
        content = _content(message.get(content_key), role, content_key, may_be_empty=bool(calls))
    except ValueError as error:
        raise ValueError(f"message {position}: {error}") from None
    extra = {key: str(given[key]) for key in _OF_TOOLS if role == "tool" and key in given}
    return {"role": role, "content": content, **({"tool_calls": calls} if calls else {}), **extra}


def _content(content: Any, role: str, key: str, *, may_be_empty: bool) -> str:
    if role != "tool" or _is_text_parts(content):
        content = _text_of_parts(content)
    elif isinstance(content, list | dict):
        content = json.dumps(content, ensure_ascii=False)
    if content in (None, "") and (may_be_empty or role in ("system", "tool")):
        return ""
    return text({key: content}, key)


def _is_text_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content)


def _text_of_parts(content: Any) -> Any:
    """The text of a content that is a list of parts; anything else as it is."""
    if not isinstance(content, list) or not any(isinstance(part, dict) and "type" in part for part in content):
        return content
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ValueError(f"a part of its content is not text but {kind!r}")
    return "".join(part["text"] for part in content)


def _calls(given: Any) -> list[dict[str, Any]]:
    """Tool calls as OpenAI writes them, their arguments as objects."""
    calls = parsed(given)
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list) or not calls:
        raise ValueError("a tool call must be an object (or its JSON) with name and arguments")
    return [_call(call) for call in calls]


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) and "function" in call else call
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise ValueError("a tool call must be an object with name and arguments")
    arguments = function.get("arguments", function.get("parameters"))
    arguments = {} if arguments in (None, "") else parsed(arguments)
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of the tool call {function['name']!r} must be an object, or the JSON of one")
    identity = {"id": str(call["id"])} if call.get("id") not in (None, "") else {}
    return {**identity, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _joins(before: Message, message: Message) -> bool:
    return before["role"] == message["role"] != "tool" and not (before.get("tool_calls") and message["content"])


def _joined_messages(before: Message, message: Message) -> Message:
    content = "\n\n".join(part for part in (before["content"], message["content"]) if part)
    calls = [*before.get("tool_calls", ()), *message.get("tool_calls", ())]
    return {"role": message["role"], "content": content, **({"tool_calls": calls} if calls else {})}


def _named(message: Message | None) -> str:
    if message is None:
        return "nothing"
    return f"{message['role']} (with a tool call)" if message.get("tool_calls") else str(message["role"])

"""The prompt as the engine will see it: a request that the model cannot take is refused before it reaches an engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from deploy.gateway.errors import ApiError
from deploy.gateway.model_folder import ModelFolder


def chat_text(model: ModelFolder, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
    """A conversation through the model's own template, which the engine uses as well.

    Raises:
        ApiError: the model has no template, or its template refuses the conversation.
    """
    if model.chat_template is None:
        raise ApiError(
            400, "this model has no chat template: it continues texts; use /v1/completions", "no_chat_template",
            param="messages",
        )  # fmt: skip
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        rendered, _ = render_jinja_template(
            [messages], tools=tools, chat_template=model.chat_template, add_generation_prompt=True,
            **model.special_tokens,
        )  # fmt: skip
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        # The template's own message, such as one about a role that it does not know.
        raise ApiError(
            400, f"the model's chat template refuses these messages: {error}", "chat_template", param="messages"
        ) from None
    text: str = rendered[0]
    return text


def refuse_control_tokens(
    model: ModelFolder, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> None:
    """Refuse a conversation in which a text spells one of the model's control tokens, such as ``<|assistant|>``.

    The engine would read it as the token itself: a user could speak as the system or the assistant.

    Raises:
        ApiError: one does; the message names every place.
    """
    found = [
        f"{place} spells the model's control token {token}"
        for place, text in [*_texts(messages, "messages"), *_texts(tools or [], "tools")]
        for token in model.control_tokens
        if token in text
    ]
    if found:
        message = "; ".join(found) + "; write it in another way, such as with a space in it"
        raise ApiError(400, message, "control_token", param=found[0].split()[0])


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """(place, text) of every string in a JSON value, names of fields included."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield place, name
            yield from _texts(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{place}.{index}")


def prepare(model: ModelFolder) -> None:
    """Load the tokenizer and compile the template, so that the first request does not wait for it."""
    model.tokenizer.encode("Hello")
    if model.chat_template is not None:
        with contextlib.suppress(ApiError):  # a template may want more than a greeting
            chat_text(model, [{"role": "user", "content": "Hello"}], None)


def room(model: ModelFolder, text: str, *, special: bool, wanted: int | None, most: int, param: str) -> tuple[int, int]:
    """(tokens of the prompt, most tokens of the answer).

    Args:
        text: the prompt.
        special: add the tokenizer's own marks around it; a chat template has put them already.
        wanted: the request's limit.
        most: the gateway's limit.

    Raises:
        ApiError: the request's limit is above the gateway's, or the prompt leaves no room.
    """
    if wanted is not None and wanted > most:
        message = f"max_tokens: {wanted} is more than the {most} that this gateway allows"
        raise ApiError(400, message, "max_tokens_too_large", param="max_tokens")
    count = len(model.tokenizer.encode(text, add_special_tokens=special).ids)
    if count == 0:
        raise ApiError(400, f"{param}: the prompt has no tokens; write at least one word", "empty_prompt", param=param)
    left = most if model.context is None else model.context - count
    if left < 1:
        raise ApiError(
            400, f"the prompt has {count} tokens and the model's context holds {model.context}, which leaves no room "
            "for an answer; shorten it", "context_length_exceeded", param=param,
        )  # fmt: skip
    return count, min(wanted or most, left)

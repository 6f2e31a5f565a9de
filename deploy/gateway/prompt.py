"""The prompt as the engine will see it, so that what does not fit is refused before an engine is asked."""

from __future__ import annotations

import contextlib
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
            400, "this model has no chat template: it continues texts; ask /v1/completions", "no_chat_template",
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
        # A template says in its own words what it does not take, such as a role that it does not know.
        raise ApiError(
            400, f"the model's chat template refuses these messages: {error}", "chat_template", param="messages"
        ) from None
    return rendered[0]


def prepare(model: ModelFolder) -> None:
    """Load what the first request would otherwise wait for."""
    model.tokenizer.encode("Hello")
    if model.chat_template is not None:
        with contextlib.suppress(ApiError):  # a template may want more than a greeting
            chat_text(model, [{"role": "user", "content": "Hello"}], None)


def room(model: ModelFolder, text: str, *, special: bool, wanted: int | None, most: int, param: str) -> tuple[int, int]:
    """(tokens of the prompt, tokens that the answer may have).

    Args:
        text: the prompt.
        special: whether the tokenizer puts its own marks around it; a chat template has put them already.
        wanted: what the request asks for.
        most: what the gateway allows.

    Raises:
        ApiError: more is wanted than is allowed, or the prompt leaves no room.
    """
    if wanted is not None and wanted > most:
        message = f"max_tokens: {wanted} is more than the {most} that this gateway allows"
        raise ApiError(400, message, "max_tokens_too_large", param="max_tokens")
    count = len(model.tokenizer.encode(text, add_special_tokens=special).ids)
    if count == 0:
        raise ApiError(400, f"{param}: the prompt has no tokens; write something", "empty_prompt", param=param)
    left = most if model.context is None else model.context - count
    if left < 1:
        raise ApiError(
            400, f"the prompt has {count} tokens and the model's context holds {model.context}, which leaves no room "
            "for an answer; shorten it", "context_length_exceeded", param=param,
        )  # fmt: skip
    return count, min(wanted or most, left)

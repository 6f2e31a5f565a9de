"""What a prompt costs, found by ``python prompt_worker.py SECONDS`` in a process that may be killed.

A chat template is a program of the model's, and a tokenizer takes minutes for some texts and lets no other thread run
meanwhile. So both run here, with bounds on processor time, memory and output that the kernel keeps; the gateway sees
a process that ended and starts another one. As ``classification_engine.py`` it imports nothing of Stemma.

Standard input has the model as one line of JSON, then a line for each prompt; each is answered by a line.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

import jinja2
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

LOADING_SECONDS = 60.0  # for the tokenizer
MEMORY_BYTES = 2 * 2**30
RENDERED_BYTES = 64 * 2**20  # of a model whose context is unknown
SHOWN = 20  # places in a message
# Parts of a tokenizer by which one token may stand for a text of any length: white space that is dropped, words that
# become "unknown" as a whole. Elsewhere a token is never longer than the longest entry of the vocabulary.
_SHRINKING = {"WordLevel", "WordPiece", "Whitespace", "WhitespaceSplit", "BertPreTokenizer", "BertNormalizer", "Strip",
              "Replace", "StripAccents", "Precompiled", "CharDelimiterSplit"}  # fmt: skip


class Refused(Exception):
    """The prompt cannot be answered; the message is for the sender."""

    def __init__(self, message: str, code: str, param: str):
        super().__init__(message)
        self.body = {"message": message, "code": code, "param": param}


class Prompts:
    """The prompts of one model.

    Args:
        tokenizer: the file ``tokenizer.json``.
        context: tokens of prompt and answer together; ``None`` where it is unknown.
        special_tokens: by the names that the template knows them by.
    """

    def __init__(self, tokenizer: str, context: int | None, chat_template: str | None, special_tokens: dict[str, str]):
        self.tokenizer = Tokenizer.from_file(tokenizer)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.context, self._template, self._special_tokens = context, chat_template, special_tokens
        added = self.tokenizer.get_added_tokens_decoder().values()
        self.control_tokens = tuple(token.content for token in added if token.special)
        self.most_bytes = None if context is None else most_bytes(self.tokenizer, context)

    @property
    def takes_tools(self) -> bool:
        """Whether the chat template uses the tools of a request."""
        if self._template is None:
            return False
        try:
            return any(kind == "name" and word == "tools" for _, kind, word in jinja2.Environment().lex(self._template))
        except TemplateError:
            return False

    def measure(
        self,
        *,
        prompt: str | None = None,
        messages: list[dict[str, Any]] | None = None,
        tools: list[dict[str, Any]] | None = None,
        tool_choice: str | None = None,
        wanted: int | None,
        most: int,
    ) -> tuple[int, int]:
        """(tokens of the prompt, most tokens of the answer).

        Args:
            prompt: a text to continue; else there are ``messages``.
            wanted: the request's limit.
            most: the gateway's limit.

        Raises:
            Refused: the model cannot take it, or its limit is above the gateway's, or it leaves no room.
        """
        if wanted is not None and wanted > most:
            message = f"max_tokens: {wanted} is more than the {most} that this gateway allows"
            raise Refused(message, "max_tokens_too_large", "max_tokens")
        if messages is None:
            return self._room(prompt or "", special=True, wanted=wanted, most=most, param="prompt")
        if tools and not self.takes_tools:
            raise Refused("tools: this model's chat template takes no tools", "unsupported_parameter", "tools")
        shown = tools if tools and tool_choice != "none" else None
        self.refuse_control_tokens(messages, shown)
        text = self.chat_text(messages, shown)
        return self._room(text, special=False, wanted=wanted, most=most, param="messages")

    def chat_text(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        """A conversation through the model's own template, which the engine uses as well.

        Raises:
            Refused: the model has no template, or its template refuses the conversation.
        """
        if self._template is None:
            raise Refused(
                "this model has no chat template: it continues texts; use /v1/completions", "no_chat_template",
                "messages",
            )  # fmt: skip
        try:
            rendered, _ = render_jinja_template(
                [messages], tools=tools, chat_template=self._template, add_generation_prompt=True,
                **self._special_tokens,
            )  # fmt: skip
        except (TemplateError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
            # The template's own message, such as one about a role that it does not know.
            why = str(error)[:500] or type(error).__name__
            raise Refused(
                f"the model's chat template refuses these messages: {why}", "chat_template", "messages"
            ) from None
        text: str = rendered[0]
        return text

    def refuse_control_tokens(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> None:
        """Refuse a conversation in which a text spells one of the model's control tokens, such as ``<|assistant|>``.

        The engine would read it as the token itself: a user could speak as the system or the assistant.

        Raises:
            Refused: one does; the message names the places.
        """
        found = [
            f"{place[:200]} spells the model's control token {token}"
            for place, text in [*_texts(messages, "messages"), *_texts(tools or [], "tools")]
            for token in self.control_tokens
            if token in text
        ]
        if found:
            more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
            message = "; ".join(found[:SHOWN] + more) + "; write it in another way, such as with a space in it"
            raise Refused(message, "control_token", found[0].split()[0])

    def _room(self, text: str, *, special: bool, wanted: int | None, most: int, param: str) -> tuple[int, int]:
        """As :meth:`measure`.

        Args:
            special: add the tokenizer's own marks around the text; a chat template has put them already.
        """
        size = len(text.encode())
        if size > (RENDERED_BYTES if self.most_bytes is None else self.most_bytes):
            raise self._too_long(f"{size:,} bytes", param)
        count = len(self.tokenizer.encode(text, add_special_tokens=special).ids)
        if count == 0:
            raise Refused(f"{param}: the prompt has no tokens; write at least one word", "empty_prompt", param)
        left = most if self.context is None else self.context - count
        if left < 1:
            raise self._too_long(f"{count} tokens", param)
        return count, min(wanted or most, left)

    def _too_long(self, what: str, param: str) -> Refused:
        return Refused(
            f"the prompt has {what} and the model's context holds {self.context} tokens, which leaves no room for an "
            "answer; shorten it", "context_length_exceeded", param,
        )  # fmt: skip


def most_bytes(tokenizer: Tokenizer, context: int) -> int | None:
    """Bytes that so many tokens can stand for at most, by the longest entry of the vocabulary; ``None``: any number."""

    def kinds(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield part.get("type") or ""
            for value in part.values():
                yield from kinds(value)
        elif isinstance(part, list):
            for value in part:
                yield from kinds(value)

    made = json.loads(tokenizer.to_str())
    model = made["model"]
    parts = [made["normalizer"], made["pre_tokenizer"], {"type": model.get("type")}]
    strips = any(token["lstrip"] or token["rstrip"] for token in made["added_tokens"])
    if strips or model.get("fuse_unk") or model.get("type") == "Unigram" or _SHRINKING & set(kinds(parts)):
        return None
    # As spelled in the vocabulary: there a byte may take two.
    longest = max(len(token.encode()) for token in tokenizer.get_vocab(with_added_tokens=True))
    return context * max(longest, 4)


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


def main() -> None:
    """Answer until standard input ends. A prompt beyond the bounds ends the process instead."""
    seconds = float(sys.argv[1])  # of processor time, for one prompt
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prompts: Prompts | None = None
    for line in sys.stdin.buffer:
        # The signal of this timer ends the process, also within C.
        signal.setitimer(signal.ITIMER_PROF, LOADING_SECONDS if prompts is None else seconds)
        answer: dict[str, Any]
        try:
            if prompts is None:
                prompts, answer = Prompts(**json.loads(line)), {}
            else:
                answer = {"tokens": prompts.measure(**json.loads(line))}
        except Refused as refusal:
            answer = {"refused": refusal.body}
        except MemoryError:
            sys.exit(1)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"[:500]}
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()

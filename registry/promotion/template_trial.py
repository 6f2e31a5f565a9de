"""Whether a model's chat template ends, and says no more than it is given, on the words that it looks for itself.

A template is a program: it can loop for years on one word and behave on every other. Whatever word it compares with
stands in it, so it is rendered with each of those. A condition that no such word meets (a length, a date) is not found
here; the gateway therefore bounds every rendering (``deploy/gateway/prompt_worker.py``).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

SECONDS = 2.0  # of processor time, for all renderings of a template
MOST_WORDS, LONGEST_WORD = 300, 200
GROWTH, FRAME = 100, 2**20  # a text may become so many times as long, plus so many characters of the template's own


class DoesNotEnd(Exception):
    """The template does not end, or makes a text without bound; the message says on what."""


def words_of(template: str) -> list[str]:
    """The strings that stand in a template's statements, each once, as many as are tried."""
    found: dict[str, None] = {}
    try:
        for _, kind, raw in jinja2.Environment().lex(template):
            if kind == "string" and 0 < len(raw) - 2 <= LONGEST_WORD:
                escaped = raw[1:-1].encode("ascii", "backslashreplace")
                found[escaped.decode("unicode-escape", "replace").encode("utf-8", "replace").decode()] = None
    except jinja2.TemplateError:
        pass  # whoever renders it says so
    return list(found)[:MOST_WORDS]


def conversations(template: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(what it is, its messages) of everything that the template is tried on."""
    words = words_of(template)
    together = " ".join(["Hello", *words])
    roles = ("system", "user", "assistant", "user")
    yield "a conversation", [{"role": role, "content": together} for role in roles]
    yield "a question", [{"role": "user", "content": together}]
    for word in words:
        yield repr(word[:40]), [{"role": "user", "content": word}]


def require_end(template: str, special_tokens: dict[str, Any], seconds: float = SECONDS) -> None:
    """Render a template with every word that stands in it. Only in the main thread.

    Raises:
        DoesNotEnd: it takes more processor time than ``seconds``, or makes too long a text.
    """
    tried = "a conversation"
    try:
        with _limited(seconds):
            for tried, messages in conversations(template):
                given = sum(len(message["content"]) for message in messages)
                try:
                    (text,), _ = render_jinja_template(
                        [messages], chat_template=template, add_generation_prompt=True, **special_tokens
                    )
                except (jinja2.TemplateError, TypeError, ValueError, KeyError, ArithmeticError, RecursionError):
                    continue  # it refuses such messages, which is its right
                if len(text) > GROWTH * given + FRAME:
                    raise DoesNotEnd(f"the chat template makes {len(text):,} characters of {given:,} ({tried})")
    except _Late:
        raise DoesNotEnd(f"the chat template does not end within {seconds:g} s on {tried}") from None
    except MemoryError:
        raise DoesNotEnd(f"the chat template uses up the memory on {tried}") from None


class _Late(Exception):
    pass


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """The block ends by :class:`_Late` once it has used so much processor time."""

    def late(*_: object) -> None:
        raise _Late

    previous = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)

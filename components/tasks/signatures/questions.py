"""Closed-answer questions about one function signature, with the answers a parser would give.

The task is *learning to read signatures*: a parser scores 100 %, so the score says how well a model reads, not what it
knows. A kind is left out where it would be ill-defined (``last`` of one parameter) or its answer too long to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from components.tasks.signatures.functions import Function, Parameter

KINDS = (
    "count",
    "optional_count",
    "args",
    "kwargs",
    "keyword_only",
    "first",
    "last",
    "next",
    "default",
    "optional",
    "required",
)
YES_NO = frozenset({"args", "kwargs", "keyword_only"})
LIST_ANSWERS = frozenset({"optional", "required"})

_WORDING = {
    "count": "How many parameters?",
    "optional_count": "How many parameters are optional?",
    "args": "Are extra positional arguments accepted?",
    "kwargs": "Are extra keyword arguments accepted?",
    "keyword_only": "Is {name} keyword-only?",
    "first": "Which parameter is first?",
    "last": "Which parameter is last?",
    "next": "Which parameter comes after {name}?",
    "default": "What is the default of {name}?",
    "optional": "Which parameters are optional?",
    "required": "Which parameters are required?",
}


@dataclass(frozen=True)
class Question:
    """A question with its one right answer (``a, b`` for a list, ``none`` for an empty one)."""

    kind: str
    prompt: str
    answer: str
    function: Function


def ask(function: Function, longest_answer: int) -> Iterator[Question]:
    """Every well-defined question about ``function`` whose answer has at most ``longest_answer`` characters."""
    for kind, name, answer in _facts(function.parameters):
        if len(answer) <= longest_answer:
            yield Question(kind, f"{_WORDING[kind].format(name=name)} {function.text}", answer, function)


def chatty(answer: str) -> str:
    """The wordy form of an answer."""
    return f"The answer is {answer}."


def as_text(question: Question, rendering: int) -> str:
    """A question and its answer as running text for pretraining; rendering 0 is terse, 1 chatty.

    The answer follows a space, as a name does in the signature: a byte-level tokenizer cuts both alike.
    """
    if rendering == 0:
        return f"{question.prompt} Answer: {question.answer}"
    return f"{question.prompt} {chatty(question.answer)}"


def _facts(parameters: tuple[Parameter, ...]) -> Iterator[tuple[str, str, str]]:
    """(kind, parameter asked about or "", answer), computed from the parsed list alone."""
    if not parameters:
        return
    names = [p.name for p in parameters]
    optional = [p.name for p in parameters if p.optional]
    required = [p.name for p in parameters if p.required]
    kinds = {p.kind for p in parameters}
    yield "count", "", str(len(parameters))
    yield "optional_count", "", str(len(optional))
    yield "args", "", _yes("args" in kinds)
    yield "kwargs", "", _yes("kwargs" in kinds)
    if "keyword_only" in kinds and kinds & {"positional", "positional_only"}:
        for parameter in parameters:
            if not parameter.starred:
                yield "keyword_only", parameter.name, _yes(parameter.kind == "keyword_only")
    if len(parameters) > 1:
        yield "first", "", names[0]
        yield "last", "", names[-1]
        for name, following in pairwise(names):
            yield "next", name, following
    for parameter in parameters:
        # A default of several words would make "the same answer" a matter of spacing.
        if parameter.default is not None and not any(c.isspace() for c in parameter.default):
            yield "default", parameter.name, parameter.default
    yield "optional", "", ", ".join(optional) or "none"
    yield "required", "", ", ".join(required) or "none"


def _yes(condition: bool) -> str:
    return "yes" if condition else "no"

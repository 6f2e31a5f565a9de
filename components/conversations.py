"""How conversations and texts become tokens: by the tokenizer's chat template, which alone writes control tokens.

Where a template marks the assistant's part with ``{% generation %}``, its marks are taken. Where it does not, the
answer is found as what the template adds to the question (:mod:`components.answer_spans`), and every row is verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from components.answer_spans import find_answers
from components.chat_template import (
    DATE,
    Dialogue,
    Message,
    Template,
    TemplateRefusal,
    control_tokens,
    is_plain,
    omitted,
    template_for,
    tokens,
)
from core.errors import InputProblem

__all__ = ["Dialogue", "Encoded", "Message", "Prompt", "TrainOn", "control_tokens", "encode", "render", "text_ids"]

Prompt = str | Sequence[Message]
TrainOn = Literal["all", "last"]


class Encoded(NamedTuple):
    """Token ids of conversations, and for each token whether it belongs to an answer (1) or not (0).

    ``faults`` gives, by the place of a conversation, why the template does not show it rightly; no token of it is
    marked.
    """

    input_ids: list[list[int]]
    answer_mask: list[list[int]]
    faults: Mapping[int, str] = MappingProxyType({})

    def labels(self) -> list[list[int]]:
        """Targets of the loss: the answers' tokens, -100 elsewhere."""
        return [
            [token if learnt else -100 for token, learnt in zip(ids, mask, strict=True)]
            for ids, mask in zip(self.input_ids, self.answer_mask, strict=True)
        ]


def encode(tokenizer: Any, conversations: Sequence[Sequence[Message]], *, train_on: TrainOn = "all") -> Encoded:
    """Tokens of whole conversations. The answers' tokens are marked, their end tokens among them.

    The tools of a conversation are those it carries (:class:`Dialogue`).

    Args:
        train_on: ``all`` answers of a conversation are marked, or the ``last`` one.
    """
    if not conversations:
        return Encoded([], [])
    template, template_of = Template.of(tokenizer), template_for(tokenizer)
    if not template.marks_answers:
        return Encoded(*find_answers(tokenizer, conversations, last=train_on == "last"))
    found, faults = Encoded([], []), {}
    easy = [is_plain(conversation) and not template.spells(conversation) for conversation in conversations]
    if any(easy):
        usual = _usual(tokenizer, [list(c) for c, plain in zip(conversations, easy, strict=True) if plain])
        if usual is None:
            easy = [False] * len(conversations)
        else:
            found = Encoded(list(usual["input_ids"]), list(usual["assistant_masks"]))
    for place, (conversation, plain) in enumerate(zip(conversations, easy, strict=True)):
        if plain:
            continue
        ids: list[int] = []
        mask: list[int] = []
        try:
            shown, answers = template_of(conversation).show_with_answers(conversation)
            if not is_plain(conversation) and (lost := omitted(shown, conversation)):
                faults[place] = f"the chat template leaves out {lost}"
            for token, (first, last) in tokens(tokenizer, [shown])[0]:
                ids.append(token)
                mask.append(int(any(first < end and last > begin for begin, end in answers)))
        except TemplateRefusal as reason:
            faults[place] = f"the chat template refuses it: {reason}"
        found.input_ids.insert(place, ids)
        found.answer_mask.insert(place, mask)
    for place in faults:
        found.answer_mask[place] = [0] * len(found.input_ids[place])
    masks = found.answer_mask if train_on == "all" else [_last_run(mask) for mask in found.answer_mask]
    return Encoded(found.input_ids, masks, faults)


def render(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt as the chat template shows it, up to where the answer begins.

    A string is one user's turn. A tokenizer without a chat template gets the plain text of the last message.

    Raises:
        InputProblem: the template refuses a prompt.
    """
    conversations = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    if not conversations:
        return []
    if not tokenizer.chat_template:
        return text_ids(tokenizer, [conversation[-1]["content"] for conversation in conversations])
    template_of = template_for(tokenizer)
    try:
        shown = [template_of(each).show(each, add_generation_prompt=True) for each in conversations]
    except TemplateRefusal as reason:
        raise InputProblem(f"the model's chat template refuses a conversation: {reason}") from reason
    return [[token for token, _ in found] for found in tokens(tokenizer, shown)]


def refusals(tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> dict[int, str]:
    """The prompts that the chat template refuses, by their places, with its reasons."""
    if not tokenizer.chat_template:
        return {}
    template_of, found = template_for(tokenizer), {}
    for place, prompt in enumerate(prompts):
        try:
            template_of(prompt).show(prompt, add_generation_prompt=True)
        except TemplateRefusal as reason:
            found[place] = f"the chat template refuses it: {reason}"
    return found


def text_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of plain texts, without any control token."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def _usual(tokenizer: Any, conversations: list[list[Message]]) -> Any:
    """The tokens and marks of conversations of mere texts, all at once; ``None`` where the template refuses one."""
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(
            conversations, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, date_string=DATE
        )
    except (TemplateError, TypeError):
        return None


def _last_run(mask: list[int]) -> list[int]:
    """The mask with its last run of ones alone."""
    end = max((place for place, learnt in enumerate(mask) if learnt), default=-1)
    start = end
    while start > 0 and mask[start - 1]:
        start -= 1
    return [int(learnt and start <= place) for place, learnt in enumerate(mask)]

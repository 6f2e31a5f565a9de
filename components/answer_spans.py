"""Where the answers are in a conversation whose chat template does not mark them.

An answer is what the template adds to the question: the conversation up to a turn is rendered as a prompt (with
``add_generation_prompt``), and what the whole has beyond it, up to its end token, is that turn. So training sees what
generation continues. Each answer found is verified, as text and as the tokens that are trained: it must be the
assistant's words, what the template puts around every answer, and the end token, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from components.chat_template import (
    Dialogue,
    Message,
    Template,
    TemplateRefusal,
    Tokens,
    bare,
    omitted,
    template_for,
    tokens,
    tools_of,
    training_template,
    unmarked,
    words_of,
)

Span = tuple[int, int]
Frames = frozenset[tuple[str, str]]
_QUESTION = "question55b1"
_PROBES = ("answer1f04", "answer2e77")


def find_answers(
    tokenizer: Any, conversations: Sequence[Sequence[Message]], *, last: bool
) -> tuple[list[list[int]], list[list[int]], dict[int, str]]:
    """Token ids of conversations, which of them are an answer's, and by place why an answer could not be found.

    The tokenizer's own template is taken where only the last answer of a conversation is marked: the turns before it
    then look as they will when it is used. Else it is TRL's template for training this family, where there is one. The
    other one is taken where a template loses words.

    Args:
        last: mark the last answer of each conversation, not all.
    """
    template_of = template_for(tokenizer)
    training: dict[str, Template | None] = {}
    shown: list[tuple[str, list[Span]]] = []
    faults: dict[int, str] = {}

    def candidates(own: Template, single: bool) -> Iterator[Template]:
        if single:
            yield own
        if own.text not in training:  # asked for where it is needed: TRL takes seconds to import
            training[own.text] = training_template(tokenizer, own)
        if other := training[own.text]:
            yield other
        if not single:
            yield own

    for place, conversation in enumerate(conversations):
        single = last or sum(message["role"] == "assistant" for message in conversation) < 2
        for template in candidates(template_of(conversation), single):
            try:
                shown.append(_shown(template, conversation, last))
                break
            except TemplateRefusal as reason:
                faults.setdefault(place, str(reason))  # that of the template of choice
        else:
            shown.append(("", []))
            continue
        faults.pop(place, None)

    encoded = tokens(tokenizer, [text for text, _ in shown])
    masks = []
    for place, ((text, spans), found) in enumerate(zip(shown, encoded, strict=True)):
        learnt = bytearray(len(text))
        for begin, end in spans:
            learnt[begin:end] = b"\1" * (end - begin)
        mask = [int(learnt.find(1, first, behind) >= 0) for _, (first, behind) in found]
        if spans and (fault := _lost_in_tokens(tokenizer, text, spans, found)):
            faults[place], mask = fault, [0] * len(mask)
        masks.append(mask)
    return [[token for token, _ in found] for found in encoded], masks, faults


def _shown(template: Template, conversation: Sequence[Message], last: bool) -> tuple[str, list[Span]]:
    """The conversation as text, and where its answers are in it. Raises TemplateRefusal if that is unclear."""
    try:
        text, spans = _spans(template, conversation, last)
        frames = _frames(template)
    except TemplateRefusal as reason:
        raise TemplateRefusal(f"the chat template refuses it: {reason}") from reason
    for turn, (begin, end) in spans.items():
        if fault := _fault(template, text[:end], begin, conversation[turn], frames):
            raise TemplateRefusal(fault)
    if lost := omitted(text, conversation):
        raise TemplateRefusal(f"the chat template leaves out {lost}")
    return text, list(spans.values())


def _spans(template: Template, conversation: Sequence[Message], last: bool) -> tuple[str, dict[int, Span]]:
    """The conversation as text; of each assistant's turn, the place of what is added to the prompt before it."""
    whole = template.show(conversation)
    turns = [place for place, message in enumerate(conversation) if message["role"] == "assistant"]
    spans = {}
    for turn in turns[-1:] if last else turns:
        begin = _shared(template, whole, template.show(_until(conversation, turn), add_generation_prompt=True))
        end = len(whole)
        if turn + 1 < len(conversation):
            end = _shared(template, whole, template.show(_until(conversation, turn + 1)))
        ends = [token.end() for token in template.control.finditer(whole, begin, end)]
        if ends and not whole[ends[-1] : end].strip():
            end = ends[-1]  # the white space behind an end token is never generated
        words = _words(template, whole[:begin], conversation[turn])
        if end < len(whole) and words not in bare(unmarked(whole[begin:end])):
            # The last turn has an end token of its own, so that the two were only alike up to this one's.
            end = next((token.end() for token in template.control.finditer(whole, end)), end)
        spans[turn] = (begin, end)
    return whole, spans


def _until(conversation: Sequence[Message], turn: int) -> list[Message]:
    return Dialogue(conversation[:turn], tools_of(conversation))


def _shared(template: Template, whole: str, part: str) -> int:
    """How much of ``whole`` the rendered ``part`` is; up to a control token, where it goes on otherwise."""
    if whole.startswith(part):
        return len(part)
    common = next((place for place, (a, b) in enumerate(zip(whole, part, strict=False)) if a != b), len(whole))
    return max((token.end() for token in template.control.finditer(whole) if token.end() <= common), default=0)


def _words(template: Template, prompt: str, message: Message) -> str:
    """The message's words that are not at the end of the prompt (``<think>``)."""
    return bare(message["content"]).removeprefix(bare(template.control.split(prompt)[-1]))


def _fault(template: Template, text: str, begin: int, message: Message, frames: Frames) -> str | None:
    """What is wrong with the end of a text from ``begin`` on, which was found to be the ``message``."""
    ends = [token.end() for token in template.control.finditer(text, begin)]
    if not ends or ends[-1] != len(text):
        return "no end token follows the answer, so a model would not learn to stop"
    found, words = bare(unmarked(text[begin:])), _words(template, text[:begin], message)
    if words not in found:
        return "the chat template leaves out words of an answer"
    if calls := message.get("tool_calls"):
        whole = all(word in found for word in words_of(calls))
        return None if whole else "the chat template leaves out a tool call"
    if not any(found == before + words + behind for before, behind in frames):
        return f"what is found beside the answer is not the assistant's: {found.replace(words, '', 1)[:60]!r}"
    return None


@lru_cache(maxsize=32)
def _frames(template: Template) -> Frames:
    """What the template puts before and behind the words of an answer, without white space.

    Before them it may be an empty thought, which an answer that was thought over does not have.
    """
    probe = [
        {"role": role, "content": content}
        for answer in _PROBES
        for role, content in (("user", _QUESTION), ("assistant", answer))
    ]
    try:
        text, spans = _spans(template, probe, last=False)
    except TemplateRefusal:  # a template for one question and its answer
        text, spans = _spans(template, probe[:2], last=False)
    frames = set()
    for answer, (begin, end) in zip(_PROBES, spans.values(), strict=False):
        before, found, behind = bare(text[begin:end]).partition(answer)
        if found and _QUESTION not in before + behind:
            frames |= {(before, behind), ("", behind)}
    return frozenset(frames)


def _lost_in_tokens(tokenizer: Any, text: str, spans: Sequence[Span], found: Tokens) -> str | None:
    """What is wrong with the tokens that are trained, against the text that they stand for."""
    for begin, end in spans:
        inside = [(token, first) for token, (first, last) in found if first < end and last > begin]
        straddles = text[inside[0][1] : begin] if inside else ""
        if straddles.strip():
            return f"a token holds the end of the question and the beginning of the answer ({straddles!r} ...)"
        decoded, wanted = tokenizer.decode([token for token, _ in inside]), unmarked(text[begin:end])
        if bare(decoded) != bare(wanted) and not lost_characters(tokenizer, wanted):
            return f"the trained tokens are not the answer but {decoded[:60]!r}"
    return None


def lost_characters(tokenizer: Any, text: str) -> list[str]:
    """Characters of a text that the tokenizer has no tokens for: what it makes of them is something else."""
    characters = sorted(set(text))
    if not characters:
        return []
    encoded = tokenizer(characters, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    pairs = zip(characters, encoded, strict=True)
    return [character for character, ids in pairs if bare(tokenizer.decode(ids)) != bare(character)]

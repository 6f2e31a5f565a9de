"""How conversations and texts become tokens: by the tokenizer's chat template, which alone writes control tokens.

A control token is one that the tokenizer declares special: the ends of texts and turns, the tags of roles. Text that
spells one (``<|endoftext|>`` in a question about tokenizers) is text and is encoded as such, as the corpus is: a row
must not be able to end its own turn or to speak in another role.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

Message = dict[str, Any]
"""``role`` and ``content`` (text), and beside them ``tool_calls``, ``name`` and ``tool_call_id`` as in OpenAI's API."""
Prompt = str | list[Message]

# Around a spelled control token while the template renders it. Unicode keeps these code points free for such use.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"


class Dialogue(list[Message]):
    """Messages, with the ``tools`` (JSON schemas) that the assistant may call in them."""

    def __init__(self, messages: Iterable[Message], tools: list[dict[str, Any]] | None = None):
        super().__init__(messages)
        self.tools = tools


class Encoded(NamedTuple):
    """Token ids of conversations, and for each token whether it belongs to an answer (1) or not (0)."""

    input_ids: list[list[int]]
    answer_mask: list[list[int]]

    def labels(self) -> list[list[int]]:
        """Targets of the loss: the answers' tokens, -100 elsewhere."""
        return [
            [token if learnt else -100 for token, learnt in zip(ids, mask, strict=True)]
            for ids, mask in zip(self.input_ids, self.answer_mask, strict=True)
        ]


def encode(tokenizer: Any, conversations: Sequence[list[Message]]) -> Encoded:
    """Tokens of whole conversations. Every answer's tokens are marked, its end token among them."""
    if not conversations:
        return Encoded([], [])
    spelling = control_tokens(tokenizer)
    plain = [not _spells(conversation, spelling) for conversation in conversations]
    found = Encoded([], [])
    if any(plain):
        usual = tokenizer.apply_chat_template(
            [conversation for conversation, easy in zip(conversations, plain, strict=True) if easy],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        found = Encoded(list(usual["input_ids"]), list(usual["assistant_masks"]))
    for place, (conversation, easy) in enumerate(zip(conversations, plain, strict=True)):
        if not easy:
            ids, mask = _escaped(tokenizer, conversation, spelling, add_generation_prompt=False)
            found.input_ids.insert(place, ids)
            found.answer_mask.insert(place, mask)
    return found


def render(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt as the chat template shows it, up to where the answer begins.

    A string is one user's turn. A tokenizer without a chat template gets the plain text of the last message.
    """
    conversations = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    if not conversations:
        return []
    if not tokenizer.chat_template:
        return text_ids(tokenizer, [conversation[-1]["content"] for conversation in conversations])
    spelling = control_tokens(tokenizer)
    texts = tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for place, conversation in enumerate(conversations):
        if _spells(conversation, spelling):
            ids[place], _ = _escaped(tokenizer, conversation, spelling, add_generation_prompt=True)
    return ids


def text_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of plain texts, without any control token."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Matches the spelling of any control token of the tokenizer."""
    tokens = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _spells(conversation: Sequence[Message], spelling: re.Pattern[str]) -> bool:
    return any(spelling.search(message["content"]) for message in conversation)


def _escaped(
    tokenizer: Any, conversation: Sequence[Message], spelling: re.Pattern[str], *, add_generation_prompt: bool
) -> tuple[list[int], list[int]]:
    """Tokens, and which are an answer's, of a conversation that spells control tokens."""
    from transformers.utils.chat_template_utils import render_jinja_template

    marked = [
        {
            **message,
            "content": spelling.sub(f"{_OPEN}\\g<0>{_CLOSE}", re.sub(f"[{_OPEN}{_CLOSE}]", "", message["content"])),
        }
        for message in conversation
    ]
    [rendered], [answers] = render_jinja_template(
        conversations=[marked],
        chat_template=tokenizer.chat_template,
        return_assistant_tokens_mask=True,
        add_generation_prompt=add_generation_prompt,
        **tokenizer.special_tokens_map,
    )
    ids: list[int] = []
    mask: list[int] = []
    # Of the pieces every second one is a spelled token; a mark that the template tore from its token only separates.
    start = 0
    for piece in re.split(f"({_OPEN}[^{_OPEN}{_CLOSE}]+{_CLOSE}|[{_OPEN}{_CLOSE}])", rendered):
        text = piece.strip(_OPEN + _CLOSE)
        if text:
            for token, (first, last) in _piece(tokenizer, text, spelled=text != piece, beginning=not ids):
                first, last = start + first, start + last
                ids.append(token)
                mask.append(int(any(first < end and last > begin for begin, end in answers)))
        start += len(piece)
    return ids, mask


def _piece(tokenizer: Any, text: str, *, spelled: bool, beginning: bool) -> list[tuple[int, tuple[int, int]]]:
    """Tokens of a piece of a rendered conversation, each with the characters it covers."""
    # After a newline, where it is not the beginning: SentencePiece puts a space before the first word of a string.
    lead = "" if beginning else "\n"
    encoded = tokenizer(
        lead + text, add_special_tokens=False, split_special_tokens=spelled, return_offsets_mapping=True
    )
    tokens = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
    kept = [(token, (first - len(lead), last - len(lead))) for token, (first, last) in tokens if last > len(lead)]
    whole = all(first >= 0 for _, (first, _) in kept)
    return kept if whole or not lead else _piece(tokenizer, text, spelled=spelled, beginning=True)

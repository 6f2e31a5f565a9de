"""A chat template as a function from a conversation to text, in which spelled control tokens are told from real ones.

A control token is one that the tokenizer declares special: the ends of texts and turns, the tags of roles. Text that
spells one (``<|endoftext|>`` in a question about tokenizers) is text and is encoded as such, as the corpus is: a row
must not be able to end its own turn or to speak in another role.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Message = dict[str, Any]
"""``role`` and ``content`` (text), and beside them ``tool_calls``, ``name`` and ``tool_call_id`` as in OpenAI's API."""
Tokens = list[tuple[int, tuple[int, int]]]
"""Token ids, each with the characters of the text that it covers."""

# Around a spelled control token while the template renders it. Unicode keeps these code points free for such use.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"

DATE = "26 Jul 2024"
"""What Llama 3.1 says in place of the day. Later templates write today's, unless they are given one: no run could be
repeated."""


class TemplateRefusal(ValueError):
    """The template does not take a conversation."""


class Dialogue(list[Message]):
    """Messages, with the ``tools`` (JSON schemas) that the assistant may call in them."""

    def __init__(self, messages: Iterable[Message], tools: list[dict[str, Any]] | None = None):
        super().__init__(messages)
        self.tools = tools


def template_for(tokenizer: Any) -> Callable[[Sequence[Message]], Template]:
    """The function that gives a conversation its template: some tokenizers have another one for tools."""
    own = Template.of(tokenizer)
    with_tools = Template.of(tokenizer, []) if isinstance(tokenizer.chat_template, dict) else own
    return lambda conversation: with_tools if tools_of(conversation) else own


def tools_of(conversation: Sequence[Message]) -> list[dict[str, Any]] | None:
    """The tools that a conversation brings."""
    return getattr(conversation, "tools", None)


def is_plain(conversation: Sequence[Message]) -> bool:
    """True for one of texts alone, without tools."""
    return not tools_of(conversation) and all(message.keys() == {"role", "content"} for message in conversation)


def control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """Matches the spelling of any control token of the tokenizer."""
    tokens = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


@dataclass(frozen=True)
class Template:
    """A chat template with what it needs of its tokenizer.

    Attributes:
        text: the template's source.
        special: the tokenizer's special tokens by role (``eos_token`` ...), which templates may name.
        spelling: matches the spelling of a control token.
        control: matches a control token in what :meth:`show` returns, but not a spelled one.
    """

    text: str
    special: dict[str, Any] = field(compare=False)
    spelling: re.Pattern[str]
    control: re.Pattern[str]

    @classmethod
    def of(cls, tokenizer: Any, tools: list[dict[str, Any]] | None = None) -> Template:
        """The tokenizer's own template; of several, the one for ``tools`` where there are any."""
        spelling = control_tokens(tokenizer)
        control = re.compile(f"(?<!{_OPEN})(?:{spelling.pattern})")
        return cls(tokenizer.get_chat_template(tools=tools), tokenizer.special_tokens_map, spelling, control)

    @property
    def marks_answers(self) -> bool:
        """True where the template itself says which part is the assistant's, by ``{% generation %}``."""
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.text) is not None

    def spells(self, conversation: Sequence[Message]) -> bool:
        """True where the conversation's text spells a control token."""
        found = any(self.spelling.search(message["content"]) for message in conversation)
        if found or is_plain(conversation):
            return found
        return any(self.spelling.search(text) for text in _texts([*conversation, tools_of(conversation)]))

    def show(self, conversation: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The conversation as text; spelled control tokens stand between marks that :func:`tokens` takes off.

        Raises:
            TemplateRefusal: with the template's reason.
        """
        return self.show_with_answers(conversation, add_generation_prompt=add_generation_prompt)[0]

    def show_with_answers(
        self, conversation: Sequence[Message], *, add_generation_prompt: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """As :meth:`show`, with the places that a template which marks answers gives as the assistant's."""
        calls = any(message.get("tool_calls") for message in conversation)
        as_text, as_none = _style(self) if calls else (False, False)
        messages = [_styled(message, as_text, as_none) for message in conversation]
        return self._render(messages, tools_of(conversation), add_generation_prompt)

    def _render(
        self, messages: list[Message], tools: list[dict[str, Any]] | None, add_generation_prompt: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            [text], places = render_jinja_template(
                conversations=[[self._marked(message) for message in messages]],
                tools=self._marked(tools),
                chat_template=self.text,
                return_assistant_tokens_mask=self.marks_answers,
                add_generation_prompt=add_generation_prompt,
                **{"date_string": DATE, **self.special},
            )
        except (TemplateError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise TemplateRefusal(str(error) or type(error).__name__) from error
        return text, places[0] if places else []

    def _marked(self, value: Any) -> Any:
        """A value with each spelled control token in it between marks."""
        if isinstance(value, str):
            value = unmarked(value) if _OPEN in value or _CLOSE in value else value
            return self.spelling.sub(f"{_OPEN}\\g<0>{_CLOSE}", value) if self.spelling.search(value) else value
        if isinstance(value, dict):
            return {self._marked(key): self._marked(part) for key, part in value.items()}
        return [self._marked(part) for part in value] if isinstance(value, list) else value


def unmarked(text: str) -> str:
    """What :meth:`Template.show` returned, as a reader sees it."""
    return re.sub(f"[{_OPEN}{_CLOSE}]", "", text)


def tokens(tokenizer: Any, shown: Sequence[str]) -> list[Tokens]:
    """The tokens of texts that :meth:`Template.show` returned."""
    plain = [place for place, text in enumerate(shown) if _OPEN not in text]
    found: list[Tokens] = [[] for _ in shown]
    if plain:
        batch = tokenizer([shown[place] for place in plain], add_special_tokens=False, return_offsets_mapping=True)
        for place, ids, offsets in zip(plain, batch["input_ids"], batch["offset_mapping"], strict=True):
            found[place] = list(zip(ids, offsets, strict=True))
    for place in set(range(len(shown))).difference(plain):
        found[place] = _tokens_of_pieces(tokenizer, shown[place])
    return found


def omitted(shown: str, conversation: Sequence[Message]) -> str | None:
    """What of a conversation, its assistant's texts aside, is not in what the template shows of it; None: nothing."""
    found = bare(unmarked(shown))
    for message in conversation:
        content = message["content"]
        if message["role"] != "assistant" and bare(content) not in found and bare(_json(content)[1:-1]) not in found:
            return f"a message of role {message['role']}"
        if any(word not in found for word in words_of(message.get("tool_calls", []))):
            return "a tool call"
    names = [tool.get("function", tool).get("name", "") for tool in tools_of(conversation) or ()]
    return "the tools" if any(bare(name) not in found for name in names) else None


def words_of(calls: Any) -> list[str]:
    """Names, and keys and values of the arguments, of tool calls, as they stand in JSON but without white space."""
    if isinstance(calls, list):
        return [word for part in calls for word in words_of(part)]
    if isinstance(calls, dict) and "function" in calls:
        return [bare(calls["function"]["name"]), *words_of(calls["function"]["arguments"])]
    if isinstance(calls, dict):
        return [word for key, part in calls.items() for word in (bare(key), *words_of(part))]
    return [bare(_json(calls)[1:-1])] if isinstance(calls, str) else []  # numbers and such are written in many ways


def bare(text: str) -> str:
    """Text without white space, which templates trim, in one form of Unicode, into which tokenizers bring it."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def training_template(tokenizer: Any, own: Template) -> Template | None:
    """TRL's template for training models of this family, where it knows one: it keeps every word of an answer (that of
    Qwen 3 drops what was thought in earlier turns) and shows a turn alike whatever follows it."""
    from jinja2 import TemplateError
    from trl.chat_template_utils import get_training_chat_template

    try:
        text = get_training_chat_template(tokenizer)
    except (ValueError, TypeError, KeyError, TemplateError):  # no such family
        return None
    return Template(text, own.special, own.spelling, own.control) if text and text != own.text else None


_NAME, _KEY, _VALUE, _ANSWER = "nameaf31", "keyb9d4", "valuecd6e", "answer7c4f"
_PROBE: list[Message] = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "",
     "tool_calls": [{"id": "call00001", "type": "function", "function": {"name": _NAME, "arguments": {_KEY: _VALUE}}}]},
    {"role": "tool", "name": _NAME, "tool_call_id": "call00001", "content": _ANSWER},
]  # fmt: skip


@lru_cache(maxsize=32)
def _style(template: Template) -> tuple[bool, bool]:
    """How the template takes tool calls: arguments as text instead of objects, no content instead of an empty one."""
    for style in ((False, False), (True, False), (False, True), (True, True)):
        try:
            text, _ = template._render([_styled(message, *style) for message in _PROBE], None, False)
        except TemplateRefusal:
            continue
        if all(word in text for word in (_NAME, _KEY, _VALUE, _ANSWER)):
            return style
    return False, False


def takes_tools(template: Template) -> bool:
    """True where the template shows a call and a tool's answer whole."""
    try:
        text = template.show(_PROBE)
    except TemplateRefusal:
        return False
    return all(word in text for word in (_NAME, _KEY, _VALUE, _ANSWER))


def _styled(message: Message, as_text: bool, as_none: bool) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = message["tool_calls"]
    if as_text:
        calls = [
            {**call, "function": {**call["function"], "arguments": _json(call["function"]["arguments"])}}
            for call in calls
        ]
    content = None if as_none and not message["content"] else message["content"]
    return {**message, "content": content, "tool_calls": calls}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, part in value.items() for text in (str(key), *_texts(part))]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []


def _tokens_of_pieces(tokenizer: Any, shown: str) -> Tokens:
    found: Tokens = []
    # Of the pieces every second one is a spelled token; a mark that the template tore from its token only separates.
    start = 0
    for piece in re.split(f"({_OPEN}[^{_OPEN}{_CLOSE}]+{_CLOSE}|[{_OPEN}{_CLOSE}])", shown):
        text = piece.strip(_OPEN + _CLOSE)
        if text:
            inside = start + piece.index(text)
            for token, (first, last) in _piece(tokenizer, text, spelled=text != piece, beginning=not found):
                found.append((token, (inside + first, inside + last)))
        start += len(piece)
    return found


def _piece(tokenizer: Any, text: str, *, spelled: bool, beginning: bool) -> Tokens:
    """Tokens of a piece of a rendered conversation, each with the characters it covers."""
    # After a newline, where it is not the beginning: SentencePiece puts a space before the first word of a string.
    lead = "" if beginning else "\n"
    encoded = tokenizer(
        lead + text, add_special_tokens=False, split_special_tokens=spelled, return_offsets_mapping=True
    )
    pairs = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
    kept = [(token, (first - len(lead), last - len(lead))) for token, (first, last) in pairs if last > len(lead)]
    whole = all(first >= 0 for _, (first, _) in kept)
    return kept if whole or not lead else _piece(tokenizer, text, spelled=spelled, beginning=True)

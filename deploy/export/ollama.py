"""A ``Modelfile`` of Ollama: the chat template as a Go template, where it stops, how it samples.

No program translates Jinja into Go. But most chat templates put a fixed text before and behind each turn, by its role;
so the model's own template is rendered with marked messages, the texts are read off, and what they make is held against
the template on other conversations. ChatML, Llama 3, Mistral, Gemma, Phi and Stemma's own templates are of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from core.errors import InputProblem

Messages = list[dict[str, str]]
_SYSTEM, _USER, _ANSWER, _NEXT = "\x00system\x00", "\x00user\x00", "\x00answer\x00", "\x00next\x00"


@dataclass(frozen=True)
class Turns:
    """Texts around the messages of a conversation.

    Attributes:
        around: (before, behind) a message, by its role.
        begin: before a conversation that has a system message, ``plain`` before one that has none.
        prompt: what asks for an answer.
    """

    around: dict[str, tuple[str, str]]
    begin: str
    plain: str
    prompt: str

    def render(self, messages: Messages) -> str:
        """A conversation, up to where its answer begins."""
        parts = [self.begin if messages[0]["role"] == "system" else self.plain]
        for message in messages:
            before, behind = self.around[message["role"]]
            parts.append(before + message["content"] + behind)
        return "".join(parts) + self.prompt

    @property
    def system(self) -> str | None:
        """The system message that the template puts where a conversation has none."""
        if "system" not in self.around or self.plain == self.begin:
            return None
        before, behind = self.around["system"]
        rest = self.plain.removeprefix(self.begin)
        if self.plain.startswith(self.begin + before) and rest.endswith(behind):
            return rest[len(before) : len(rest) - len(behind)] or None
        return None


class _NotRegular(Exception):
    pass


def turns(template: str, special_tokens: Mapping[str, str]) -> Turns:
    """The texts that a chat template puts around messages.

    Raises:
        InputProblem: the template is not of that kind.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(messages: Messages, prompt: bool = False) -> str:
        (text,), _ = render_jinja_template(
            [messages], chat_template=template, add_generation_prompt=prompt, **special_tokens
        )
        return str(text)

    failures = (jinja2.TemplateError, TypeError, ValueError, KeyError, _NotRegular)
    try:
        try:
            found = _read_off(render, system=True)
        except failures:
            found = _read_off(render, system=False)
        for messages in _trials("system" in found.around):
            if found.render(messages) != render(messages, True):
                raise _NotRegular
    except failures:
        raise InputProblem(
            "Ollama: the model's chat template is not a fixed text around each message, so no TEMPLATE follows from "
            "it; use --format gguf, which keeps the template as it is, or give the model another template"
        ) from None
    return found


def modelfile(
    gguf: str,
    found: Turns,
    control_tokens: Sequence[str],
    end: str | None,
    sampling: Mapping[str, Any],
    begins_with: str | None,
) -> str:
    """The text of the ``Modelfile``.

    Args:
        gguf: name of the file beside it.
        control_tokens: of the tokenizer; those that the turns use are where an answer stops.
        end: the token that ends an answer.
        sampling: of ``generation_config.json``.
        begins_with: the token that the engine puts before every prompt by itself.

    Raises:
        InputProblem: a text of the template cannot be written in a ``Modelfile``.
    """
    system, around = found.system, dict(found.around)
    begin, plain = found.begin, found.begin if system else found.plain
    if begins_with:
        if not begin and "system" in around:
            around["system"] = (around["system"][0].removeprefix(begins_with), around["system"][1])
        begin, plain = begin.removeprefix(begins_with), plain.removeprefix(begins_with)
    parts = [_go(begin)] if begin == plain else ["{{ if .System }}", _go(begin), "{{ else }}", _go(plain), "{{ end }}"]
    word = "if"
    parts.append("{{ range .Messages }}")
    for role, (before, behind) in around.items():
        parts.append(f'{{{{ {word} eq .Role "{role}" }}}}{_go(before)}{{{{ .Content }}}}{_go(behind)}')
        word = "else if"
    parts.append("{{ end }}{{ end }}" + _go(found.prompt))
    lines = [f"FROM ./{gguf}", f'TEMPLATE """{"".join(parts)}"""']
    if system:
        lines.append(f'SYSTEM """{_quotable(system)}"""')
    texts = "".join(text for pair in found.around.values() for text in pair)
    stops = [token for token in control_tokens if token in texts]
    if not any(token in found.around["user"][0] for token in control_tokens):
        stops.append(found.around["user"][0].strip())  # turns without control tokens: the next question's first words
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in dict.fromkeys([*filter(None, [end]), *filter(None, stops)])]
    lines += [f"PARAMETER {name} {value}" for name, value in parameters(sampling).items()]
    return "\n".join(lines) + "\n"


def parameters(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's sampling parameters; all are given, since its defaults (top_k 40, repeat_penalty 1.1 ..) are its own."""
    given = {name: generation.get(name) for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
    default = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    found = {name: default[name] if value is None else value for name, value in given.items()}
    found["repeat_penalty"] = found.pop("repetition_penalty")
    if not generation.get("do_sample"):
        found["temperature"] = 0
    return found


def _read_off(render: Any, *, system: bool) -> Turns:
    start: Messages = [{"role": "system", "content": _SYSTEM}] if system else []
    first: Messages = [*start, {"role": "user", "content": _USER}]
    second: Messages = [*first, {"role": "assistant", "content": _ANSWER}]
    third: Messages = [*second, {"role": "user", "content": _NEXT}]
    # Some templates render a turn otherwise once another follows; what they make then is no sum of turns.
    asked, answered, again, prompted = render(first), render(second), render(third), render(first, True)
    answer = _around(_rest(answered, asked), _ANSWER)
    user = _around(_rest(again, answered), _NEXT)
    around = {"user": user, "assistant": answer}
    head, behind = _around(asked, _USER)
    if behind != user[1] or not head.endswith(user[0]):
        raise _NotRegular
    begin = head[: len(head) - len(user[0])]
    if not system:
        return Turns(around, begin, begin, _rest(prompted, asked))
    before, after = _around(begin, _SYSTEM)
    alone, _ = _around(render([{"role": "user", "content": _USER}]), _USER)
    if not alone.endswith(user[0]):
        raise _NotRegular
    plain = alone[: len(alone) - len(user[0])]
    common = next(size for size in range(len(before), -1, -1) if plain.startswith(before[:size]))
    shared = before[:common] if not plain or common == len(plain) else ""
    around = {"system": (before[len(shared) :], after), **around}
    return Turns(around, shared, plain, _rest(prompted, asked))


def _rest(longer: str, shorter: str) -> str:
    if not longer.startswith(shorter):
        raise _NotRegular
    return longer[len(shorter) :]


def _around(text: str, mark: str) -> tuple[str, str]:
    before, found, behind = text.partition(mark)
    if not found or mark in behind:
        raise _NotRegular
    return before, behind


def _trials(system: bool) -> list[Messages]:
    turns: Messages = [
        {"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "It is 4.\n\nOr: four."},
        {"role": "user", "content": "Thanks. And\n3 + 3?"}, {"role": "assistant", "content": "6"},
        {"role": "user", "content": "x"},
    ]  # fmt: skip
    plain = [turns[:1], turns[:3], turns]
    head: Messages = [{"role": "system", "content": "Be brief."}]
    return [*plain, *([*head, *some] for some in plain if system)]


def _go(text: str) -> str:
    """A text as it stands in a Go template."""
    return _quotable(text).replace("{{", '{{ "{{" }}')


def _quotable(text: str) -> str:
    if '"""' in text:
        raise InputProblem('Ollama: the chat template has """ in it, which a Modelfile cannot hold; use --format gguf')
    return text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

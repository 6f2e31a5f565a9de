"""How a conversation becomes tokens, and which of them are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from components.finetuning.records import Record, conversation, shortened
from components.generation import render
from core.errors import InputProblem

# One turn of the prompt of Stanford Alpaca (Taori et al., 2023). It is installed as the model's chat template, so that
# training, sampling, evaluation and serving render a prompt the same way.
ALPACA = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}"
    "{{ '### Instruction:\n' + message['content'] + '\n\n### Response:\n' }}"
    "{% else %}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{% endif %}"
    "{% endfor %}"
)

# For a tokenizer that brings none; the pipeline's own tokenizer has special tokens for the turns.
PLAIN_CHAT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'assistant:\n' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['role'] + ':\n' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)


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


def install_template(tokenizer: Any, template: str) -> None:
    """Give the tokenizer the chat template that ``template`` names: ``chat`` (its own) or ``alpaca``.

    Raises:
        InputProblem: the tokenizer's own template does not mark which part is the answer.
    """
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if template == "alpaca":
        tokenizer.chat_template = ALPACA
    elif not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_CHAT
    elif "{% generation %}" not in tokenizer.chat_template.replace("{%-", "{%").replace("-%}", "%}"):
        raise InputProblem(
            "models/base: the tokenizer's chat template has no {% generation %} markers, so that answers cannot be "
            "told from questions: add them, or set instruct_finetune.template to alpaca"
        )


def encode(tokenizer: Any, conversations: Sequence[list[dict[str, str]]]) -> Encoded:
    """Tokens of whole conversations. Every answer's tokens are marked, its end token among them."""
    if not conversations:
        return Encoded([], [])
    encoded = tokenizer.apply_chat_template(
        list(conversations), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return Encoded(encoded["input_ids"], encoded["assistant_masks"])


def fitting(
    records: Sequence[Record],
    lengths: Sequence[int],
    limit: int,
    *,
    where: str,
    what: str,
    too_long: str,
    parameter: str,
    warn: Any,
) -> list[int]:
    """Indices of the records whose ``lengths`` are at most ``limit`` tokens.

    Rows that do not fit are an error (``too_long`` is ``fail``), or are left out, counted and told of (``skip``).

    Raises:
        InputProblem: rows do not fit and may not be skipped, or none is left.
    """
    wrong = [index for index, length in enumerate(lengths) if length > limit]
    if wrong and too_long == "fail":
        listed = [
            f"{where}, row {records[i]['row']}: {what} of {lengths[i]} tokens, the context holds {limit}" for i in wrong
        ]
        raise InputProblem(
            [
                *shortened(listed, "rows that are too long"),
                f"shorten them, use a base model of a longer context, or set {parameter}.too_long to skip",
            ]
        )
    if len(wrong) == len(lengths):
        raise InputProblem(f"{where}: no row fits into the context of {limit} tokens")
    if wrong:
        rows = ", ".join(str(records[index]["row"]) for index in wrong[:5])
        warn(
            f"{where}: {len(wrong)} of {len(lengths)} rows exceed {limit} tokens and are left out (such as row {rows})"
        )
    excluded = set(wrong)
    return [index for index in range(len(lengths)) if index not in excluded]


class Answered(NamedTuple):
    """Questions and given answers as token ids; together they are the conversation the chat template makes."""

    prompts: list[list[int]]
    answers: list[list[int]]

    def whole(self) -> Encoded:
        """The conversations, with the last answer alone marked."""
        return Encoded(
            [prompt + answer for prompt, answer in zip(self.prompts, self.answers, strict=True)],
            [[0] * len(prompt) + [1] * len(answer) for prompt, answer in zip(self.prompts, self.answers, strict=True)],
        )


def encode_answers(tokenizer: Any, records: Sequence[Record], answers: Sequence[str]) -> Answered:
    """Tokens of each record's question and of one answer to it, the end token among the answer's.

    Raises:
        InputProblem: the chat template renders a question otherwise once it is answered.
    """
    prompts = render(tokenizer, [conversation(record) for record in records])
    whole = encode(tokenizer, [conversation(r, answer) for r, answer in zip(records, answers, strict=True)]).input_ids
    for prompt, ids in zip(prompts, whole, strict=True):
        if ids[: len(prompt)] != prompt:
            raise InputProblem(
                "the model's chat template renders a question otherwise once it is answered; use another"
            )
    return Answered(prompts, [ids[len(prompt) :] for prompt, ids in zip(prompts, whole, strict=True)])

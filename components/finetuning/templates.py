"""How records become tokens: the chat template, what of it is learnt, and what fits into the model's context."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from components.contract import Context
from components.conversations import Encoded, control_tokens, encode, render
from components.finetuning.records import Record, conversation, shortened, texts
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
    elif not re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.chat_template):
        raise InputProblem(
            "the tokenizer's chat template has no {% generation %} markers, so answers cannot be distinguished from "
            "questions: add the markers, or set instruct_finetune.template to alpaca"
        )


def template_problem(tokenizer: Any, template: str = "chat") -> str | None:
    """Why ``instruct_finetune`` or a later stage could not train with this tokenizer; None if nothing is wrong.

    Tried on a conversation, so that it can be said before anything is trained.
    """
    from jinja2 import TemplateError

    trial, question, answer = copy.deepcopy(tokenizer), "What is it?", "It is a test."
    try:
        install_template(trial, template)
        marked = encode_answers(trial, [{"prompt": question}], [answer])
        encoded = encode(trial, [conversation({"prompt": question}, answer)])
    except InputProblem as problem:
        return str(problem)
    except (TemplateError, TypeError, ValueError) as error:
        return f"the tokenizer's chat template cannot show a question with its answer: {error}"
    learnt = trial.decode([token for token in encoded.labels()[0] if token != -100])
    if answer not in learnt or question in learnt or not marked.answers[0]:
        return (
            "the {% generation %} markers of the tokenizer's chat template do not enclose the answer and nothing else: "
            "correct them, or set instruct_finetune.template to alpaca"
        )
    return None


def fitting(
    context: Context,
    stage: str,
    files: Mapping[str, tuple[Sequence[Record], Sequence[int]]],
    limit: int,
    *,
    what: str,
) -> list[list[int]]:
    """Places of the records that are at most ``limit`` tokens long, for each file.

    Records that do not fit are an error where the stage's ``too_long`` is ``fail``; with ``skip`` they are left out
    and a warning counts them.

    Args:
        files: records with their lengths in tokens, by the name of the file in ``data/instructions``.
        what: what is that long, for messages.

    Raises:
        InputProblem: records do not fit and may not be skipped, or none of a file is left.
    """
    kept, problems = [], []
    for name, (records, lengths) in files.items():
        where = f"data/instructions/{name}.jsonl"
        fits = [index for index, length in enumerate(lengths) if length <= limit]
        wrong = [index for index, length in enumerate(lengths) if length > limit]
        kept.append(fits)
        if wrong and context.parameters.too_long == "fail":
            listed = [
                f"{where}, row {records[i]['row']}: {what} of {lengths[i]} tokens, the context holds {limit}"
                for i in wrong
            ]
            problems += shortened(listed, "rows that are too long")
        elif wrong and not fits:
            problems.append(f"{where}: no row fits into the context of {limit} tokens")
        elif wrong:
            rows = ", ".join(str(records[index]["row"]) for index in wrong[:5])
            context.warn(
                f"{where}: {len(wrong)} of {len(lengths)} rows exceed {limit} tokens and are left out "
                f"(such as row {rows})"
            )
    if problems and context.parameters.too_long == "fail":
        problems.append(f"shorten them, use a base model with a longer context, or set {stage}.too_long to skip")
    if problems:
        raise InputProblem(problems)
    return kept


def with_room(
    context: Context, stage: str, tokenizer: Any, files: Mapping[str, list[Record]], limit: int
) -> list[list[Record]]:
    """The records of each file whose question leaves room for an answer. Raises as :func:`fitting`."""
    lengths = {
        name: (records, [len(ids) + 1 for ids in render(tokenizer, [conversation(record) for record in records])])
        for name, records in files.items()
    }
    kept = fitting(context, stage, lengths, limit, what="question (and room for an answer)")
    return [[records[place] for place in places] for records, places in zip(files.values(), kept, strict=True)]


def warn_of_control_tokens(context: Context, tokenizer: Any, files: Mapping[str, Sequence[Record]]) -> None:
    """Warn of records whose text spells control tokens: often conversations that a template was applied to before."""
    spelling = control_tokens(tokenizer)
    for name, records in files.items():
        found = [
            (record["row"], match.group()) for record in records if (match := spelling.search("\n".join(texts(record))))
        ]
        if found:
            row, token = found[0]
            context.warn(
                f"data/instructions/{name}.jsonl: {len(found)} of {len(records)} rows spell control tokens (row {row}: "
                f"{token!r}), which are read as plain text. Rows that hold whole conversations in one string belong "
                "into `messages`, one for each turn"
            )


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

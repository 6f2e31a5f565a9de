"""How records become tokens: the chat template, what of it is learnt, and what fits into the model's context."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType
from typing import Any, NamedTuple

from components.answer_spans import lost_characters
from components.chat_template import Template, TemplateRefusal, control_tokens, takes_tools
from components.contract import Context
from components.conversations import Encoded, encode, refusals, render, text_ids
from components.finetuning.records import Record, conversation, shortened, texts
from core.errors import InputProblem

_TOLERATED = 0.01  # share of a file's rows that a template may fail to show
_REASONS = 3

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
    """Give the tokenizer the chat template that ``template`` names: ``chat`` (its own) or ``alpaca``."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if template == "alpaca":
        tokenizer.chat_template = ALPACA
    elif not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_CHAT


def template_problem(tokenizer: Any, template: str = "chat") -> str | None:
    """Why ``instruct_finetune`` or a later stage could not train with this tokenizer; None if nothing is wrong.

    Tried on a conversation, so that it can be said before anything is trained.
    """
    from jinja2 import TemplateError

    trial, question, answer = copy.deepcopy(tokenizer), "What is it?", "It is a test."
    try:
        install_template(trial, template)
        encoded = encode(trial, [conversation({"prompt": question}, answer)])
        if encoded.faults:
            return (
                f"the tokenizer's chat template cannot show a question with its answer: {encoded.faults[0]}; correct "
                "it, or set instruct_finetune.template to alpaca"
            )
        marked = encode_answers(trial, [{"prompt": question}], [answer])
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


def template_limits(tokenizer: Any) -> list[str]:
    """What conversations the tokenizer's chat template does not take, each in a few words."""
    if not tokenizer.chat_template:
        return []
    template = Template.of(tokenizer)
    user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    trials = {
        "system messages": [{"role": "system", "content": "systemword"}, user, assistant],
        "conversations of several turns": [user, assistant, user, assistant],
    }
    found = []
    for what, messages in trials.items():
        try:
            if all(message["content"] in template.show(messages) for message in messages):
                continue
            found.append(what)
        except TemplateRefusal as reason:
            found.append(f"{what} ({reason})")
    return found if takes_tools(template) else [*found, "tool calls"]


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
        ways = "skip or truncate" if stage == "instruct_finetune" else "skip"
        problems.append(f"shorten them, use a base model with a longer context, or set {stage}.too_long to {ways}")
    if problems:
        raise InputProblem(problems)
    return kept


def shown_rightly(context: Context, name: str, records: Sequence[Record], faults: Mapping[int, str]) -> list[int]:
    """Places of the records that the chat template shows rightly; the others are left out, with a warning.

    Args:
        name: of the records' file in ``data/instructions``.
        faults: why it does not show a record rightly, by place.

    Raises:
        InputProblem: these are more than 1 % of the records.
    """
    if not faults:
        return list(range(len(records)))
    reasons = Counter(faults.values())
    first = {reason: records[place]["row"] for place, reason in reversed(sorted(faults.items()))}
    listed = "; ".join(
        f"{reason} ({count} rows, such as row {first[reason]})" for reason, count in reasons.most_common(_REASONS)
    )
    message = f"data/instructions/{name}.jsonl: {len(faults)} of {len(records)} rows do not fit the chat template"
    if len(faults) > _TOLERATED * len(records):
        raise InputProblem(
            f"{message}: {listed}. Change or remove these rows, or use a model whose chat template takes them"
        )
    context.warn(f"{message} and are left out: {listed}")
    return [place for place in range(len(records)) if place not in faults]


def with_room(
    context: Context,
    stage: str,
    tokenizer: Any,
    files: Mapping[str, list[Record]],
    limit: int,
    *,
    later: Callable[[str, Record], bool] = lambda name, record: False,
) -> list[list[Record]]:
    """The records of each file whose question leaves room for an answer.

    Args:
        later: whether a record of the file is held against the limit again, with its answers. Where rows that are too
            long are skipped, it is left to that, so that each is counted once.

    Raises as :func:`fitting` and :func:`shown_rightly`.
    """
    lengths: dict[str, tuple[list[Record], list[int]]] = {}
    for name, records in files.items():
        questions = [conversation(record) for record in records]
        try:
            found = render(tokenizer, questions)
        except InputProblem:
            places = shown_rightly(context, name, records, refusals(tokenizer, questions))
            records, found = [records[p] for p in places], render(tokenizer, [questions[p] for p in places])
        passed = [context.parameters.too_long != "fail" and later(name, record) for record in records]
        lengths[name] = (records, [0 if skip else len(ids) + 1 for ids, skip in zip(found, passed, strict=True)])
    kept = fitting(context, stage, lengths, limit, what="question (and room for an answer)")
    return [[records[p] for p in places] for (records, _), places in zip(lengths.values(), kept, strict=True)]


def warn_of_control_tokens(context: Context, tokenizer: Any, files: Mapping[str, Sequence[Record]]) -> None:
    """Warn of records whose text spells control tokens, often conversations that a template was applied to before, and
    of those with characters that the tokenizer has no tokens for."""
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
        signs: set[str] = set().union(*(text for record in records for text in texts(record)))
        lost = lost_characters(tokenizer, "".join(signs))
        rows = [record["row"] for record in records if lost and not set(lost).isdisjoint("".join(texts(record)))]
        if rows:
            context.warn(
                f"data/instructions/{name}.jsonl: {len(rows)} of {len(records)} rows (such as row {rows[0]}) have "
                f"characters that the tokenizer has no tokens for ({', '.join(map(ascii, lost[:5]))}): the model sees "
                "something else there"
            )


class Answered(NamedTuple):
    """Questions and given answers as token ids; together they are the conversation the chat template makes.

    ``faults`` gives, by the place of an answer, why the template does not show it: its tokens are those of the text.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    faults: Mapping[int, str] = MappingProxyType({})

    def whole(self) -> Encoded:
        """The conversations, with the last answer alone marked."""
        return Encoded(
            [prompt + answer for prompt, answer in zip(self.prompts, self.answers, strict=True)],
            [[0] * len(prompt) + [1] * len(answer) for prompt, answer in zip(self.prompts, self.answers, strict=True)],
        )


def encode_answers(tokenizer: Any, records: Sequence[Record], answers: Sequence[str]) -> Answered:
    """Tokens of each record's question and of one answer to it, the end token among the answer's.

    Raises:
        InputProblem: the chat template refuses a question, or renders it otherwise once it is answered.
    """
    prompts = render(tokenizer, [conversation(record) for record in records])
    whole = encode(
        tokenizer, [conversation(r, answer) for r, answer in zip(records, answers, strict=True)], train_on="last"
    )
    found: list[list[int]] = []
    for place, (ids, mask) in enumerate(zip(whole.input_ids, whole.answer_mask, strict=True)):
        if place in whole.faults:  # an answer that a model wrote may be anything: its tokens and the end
            found.append([*text_ids(tokenizer, [answers[place]])[0], tokenizer.eos_token_id])
        elif ids[: len(prompts[place])] == prompts[place]:
            behind = len(mask) - mask[::-1].index(1) if 1 in mask else len(ids)
            found.append(ids[len(prompts[place]) : behind])
        elif 1 in mask and not Template.of(tokenizer).marks_answers:
            begin = mask.index(1)  # the template begins answers with what this one does not have, such as a thought
            prompts[place] = ids[:begin]
            found.append(ids[begin : len(mask) - mask[::-1].index(1)])
        else:
            raise InputProblem(
                "the model's chat template renders a question otherwise once it is answered; use another"
            )
    return Answered(prompts, found, whole.faults)


class AnsweredTwice(NamedTuple):
    """Questions with a better and a worse answer each, as token ids."""

    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]


def encode_pairs(
    tokenizer: Any, records: Sequence[Record], chosen: Sequence[str], rejected: Sequence[str]
) -> AnsweredTwice:
    """Tokens of each record's question and of two answers to it, each with its end token.

    A template may end the question otherwise for one of them (that of DeepSeek-R1 opens a thought only where the answer
    has one). The question is then what both begin with, and the rest belongs to the answers: trainers of pairs know one
    question, and would put one side's behind the other's.

    Raises:
        InputProblem: as :func:`encode_answers`.
    """
    found = AnsweredTwice([], [], [])
    sides = [encode_answers(tokenizer, records, answers) for answers in (chosen, rejected)]
    for better, worse in zip(*(zip(side.prompts, side.answers, strict=True) for side in sides), strict=True):
        same = takewhile(lambda pair: pair[0] == pair[1], zip(better[0], worse[0], strict=False))
        prompt = [token for token, _ in same]
        found.prompts.append(prompt)
        for answers, (own, answer) in ((found.chosen, better), (found.rejected, worse)):
            answers.append(own[len(prompt) :] + answer)
    return found

"""Supervised fine-tuning: the base model imitates demonstrated answers, with the loss on the answers alone."""

from __future__ import annotations

from typing import Any

from components.contract import Context, Metric
from components.conversations import Encoded, encode, render
from components.finetuning import adapters
from components.finetuning.models import context_length, load_causal, load_tokenizer, save
from components.finetuning.records import Record, conversation, demonstration, read_files
from components.finetuning.sampling import answer_records
from components.finetuning.scoring import AnswerScores, Likelihood, checkable, likelihood, score, score_baselines
from components.finetuning.templates import fitting, install_template, warn_of_control_tokens
from components.finetuning.training import Curve, arguments, train
from components.instruct_finetune.report import write_report

_MEASURED = 2000  # held-out demonstrations whose loss is measured


def run(context: Context) -> None:
    """Train ``models/instruct`` from ``models/base`` on ``data/instructions/instruct.jsonl``."""
    names = ("instruct", "development")
    training, development = read_files(context.inputs["instructions"], names, needs="answer")
    tokenizer = load_tokenizer(context.inputs["base"])
    install_template(tokenizer, context.parameters.template)
    warn_of_control_tokens(context, tokenizer, {"instruct": training, "development": development})
    model = load_causal(context.inputs["base"], **adapters.loading(context.parameters))
    training, encoded, development = _fit(context, model, tokenizer, training, development)
    held_out = encode(tokenizer, [demonstration(record) for record in development[:_MEASURED]])

    before = likelihood(model, held_out, pad=tokenizer.pad_token_id)
    adapter = context.parameters.adapter
    model = adapters.attach(model, adapter, task="causal", seed=context.seed)
    curve = fit(context, model, tokenizer, encoded)
    model = adapters.finished(model, adapter)
    after = likelihood(model, held_out, pad=tokenizer.pad_token_id)
    judged = checkable(development)
    answers = answer_records(context, "development", model, tokenizer, development, context.parameters.generation)
    if not context.is_main:
        return
    save(model, tokenizer, context.outputs["model"], base=context.inputs["base"])

    scores, baselines = None, {}
    if judged:
        given = {id(record): answer for record, answer in zip(development, answers, strict=True)}
        scores = score(judged, [given[id(record)] for record in judged])
        baselines = score_baselines(training, judged)
    _record(context, scores, baselines, before, after, len(held_out.input_ids))
    write_report(context, curve, training, development, answers, scores, baselines, before, after)


def fit(context: Context, model: Any, tokenizer: Any, encoded: Encoded) -> Curve:
    """Train ``model`` in place; the loss counts the answers' tokens, the end token among them."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings = arguments(context, SFTConfig, context.parameters)
    return train(
        context,
        SFTTrainer,
        context.parameters,
        description="instruct_finetune",
        model=model,
        lengths=[len(ids) for ids in encoded.input_ids],
        train_dataset=Dataset.from_dict({"input_ids": encoded.input_ids, "labels": encoded.labels()}),
        args=settings,
        processing_class=tokenizer,
    )


def _fit(
    context: Context, model: Any, tokenizer: Any, training: list[Record], development: list[Record]
) -> tuple[list[Record], Encoded, list[Record]]:
    """The records that fit into the model's context, and the training ones as tokens."""
    encoded = encode(tokenizer, [demonstration(record) for record in training])
    whole = encode(tokenizer, [demonstration(record) for record in development])
    prompts = render(tokenizer, [conversation(record) for record in development])
    # A development question needs room for an answer, and its demonstration must fit for its loss to be measured.
    lengths = [max(len(ids), len(prompt) + 1) for ids, prompt in zip(whole.input_ids, prompts, strict=True)]
    files = {"instruct": (training, [len(ids) for ids in encoded.input_ids]), "development": (development, lengths)}
    limit = context_length(model, tokenizer, context.parameters.seq_length)
    rows, development_rows = fitting(context, "instruct_finetune", files, limit, what="question and answer")
    return (
        [training[row] for row in rows],
        Encoded([encoded.input_ids[row] for row in rows], [encoded.answer_mask[row] for row in rows]),
        [development[row] for row in development_rows],
    )


def _record(
    context: Context,
    scores: AnswerScores | None,
    baselines: dict[str, AnswerScores],
    before: Likelihood,
    after: Likelihood,
    n: int,
) -> None:
    if scores:
        correct, terse = scores.correct, scores.terse
        beside = {name: baseline.correct.value for name, baseline in baselines.items()}
        context.record(
            Metric("accuracy", correct.value, True, correct.stderr, correct.n, "instructions", beside), headline=True
        )
        context.record(Metric("correct_and_terse", terse.value, True, terse.stderr, terse.n, "instructions", beside))
    loss = Metric("answer_loss", after.loss, False, None, n, "instructions", {"base": before.loss})
    context.record(loss, headline=scores is None)

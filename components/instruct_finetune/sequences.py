"""Supervised fine-tuning of an encoder-decoder: the encoder reads the question, the decoder learns the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components import encoder_decoder
from components.contract import Context, Metric
from components.finetuning import adapters, lengths, sequences
from components.finetuning.models import context_length, give_padding, load_tokenizer, save
from components.finetuning.overlap import COPY, Overlap, measure_overlap, record_overlap
from components.finetuning.records import Record, conversation, read_files, target
from components.finetuning.sampling import answer_records
from components.finetuning.scoring import AnswerScores, Likelihood, checkable, score, score_baselines
from components.finetuning.templates import fitting
from components.finetuning.training import Watch
from components.instruct_finetune.report import write_report
from core.errors import InputProblem

_MEASURED = 2000  # held-out demonstrations whose loss and overlap are measured
INSTRUCT, BASE = "instruct", "base"


def run(context: Context) -> None:
    """Train ``models/instruct`` from an encoder-decoder in ``models/base``."""
    parameters = context.parameters
    if parameters.template != "chat":
        raise InputProblem(
            f"instruct_finetune.template is {parameters.template}, which is for decoders; an encoder-decoder reads the "
            "question as it is: set it to chat"
        )
    if parameters.sharding != "ddp":
        raise InputProblem(
            f"instruct_finetune.sharding is {parameters.sharding}, which is for decoders; models/base is an "
            "encoder-decoder: set it to ddp"
        )
    base = context.inputs["base"]
    training, development = read_files(context.inputs["instructions"], (INSTRUCT, "development"), needs="answer")
    tokenizer = load_tokenizer(base)
    give_padding(tokenizer, base)
    if tokenizer.eos_token_id is None:
        raise InputProblem("models/base: the tokenizer names no end token, so answers could not end: set eos_token")
    model = sequences.load_encoder_decoder(base, **adapters.loading(parameters))
    model = adapters.attach(model, parameters.adapter, task="seq2seq", seed=context.seed)
    limit = context_length(model, tokenizer, parameters.seq_length)
    limit, (training, development) = _fitting(context, limit, tokenizer, training, development)
    questions, targets = _encode(tokenizer, training, limit)
    held_out = _encode(tokenizer, development[:_MEASURED], limit)

    untuned = answer_records(context, "untuned", model, tokenizer, development[:_MEASURED], parameters.generation)
    before = sequences.likelihood(model, *held_out, pad=tokenizer.pad_token_id)
    watch = None
    if parameters.evaluate_every is not None:
        some = [half[: parameters.evaluation_examples] for half in held_out]
        watch = Watch(
            lambda model: sequences.likelihood(model, *some, pad=tokenizer.pad_token_id).loss,
            parameters.evaluate_every,
            parameters.patience,
        )
    curve = sequences.fit(
        context, parameters, model, tokenizer, questions, targets, description="instruct_finetune", watch=watch
    )
    model = adapters.finished(model, parameters.adapter)
    after = sequences.likelihood(model, *held_out, pad=tokenizer.pad_token_id)
    answers = answer_records(context, "development", model, tokenizer, development, parameters.generation)
    if not context.is_main:
        return
    save(model, tokenizer, context.outputs["model"], base=base)

    judged = checkable(development)
    scores, baselines = None, {}
    if judged:
        given = {id(record): answer for record, answer in zip(development, answers, strict=True)}
        scores = score(judged, [given[id(record)] for record in judged])
        baselines = score_baselines(training, judged)
    said = {
        INSTRUCT: [answer[0] for answer in answers[:_MEASURED]],
        BASE: [answer[0] for answer in untuned],
        COPY: [record["prompt"] for record in development[:_MEASURED]],
    }
    alike = measure_overlap(said, development[:_MEASURED], context.seed)
    _record(context, scores, baselines, alike, before, after, len(targets))
    write_report(context, curve, training, development, answers, scores, baselines, before, after, [], alike)


def _encode(
    tokenizer: Any, records: Sequence[Record], limit: int | None = None
) -> tuple[list[list[int]], list[list[int]]]:
    """What the encoder reads and what the decoder is to write, as token ids, each cut to ``limit`` with its last
    token kept, which ends it."""
    questions = encoder_decoder.sources(tokenizer, [conversation(record) for record in records])
    answers = encoder_decoder.targets(tokenizer, [target(record) for record in records])

    def cut(row: list[int]) -> list[int]:
        return row if limit is None or len(row) <= limit else [*row[: limit - 1], row[-1]]

    return [cut(row) for row in questions], [cut(row) for row in answers]


def _fitting(
    context: Context, limit: int, tokenizer: Any, training: list[Record], development: list[Record]
) -> tuple[int, list[list[Record]]]:
    """The records whose question, and whose answer, have at most ``limit`` tokens, or what is chosen in its place."""
    files = {}
    for name, records in ((INSTRUCT, training), ("development", development)):
        files[name] = (records, [max(map(len, both)) for both in zip(*_encode(tokenizer, records), strict=True)])
    limit = lengths.settle(context, limit, lambda: [length for _, found in files.values() for length in found])
    if context.parameters.too_long == "truncate":
        for name, (_, found) in files.items():
            if cut := sum(length > limit for length in found):
                context.warn(f"data/instructions/{name}.jsonl: {cut} of {len(found)} rows are cut to {limit} tokens")
        return limit, [training, development]
    kept = fitting(context, "instruct_finetune", files, limit, what="question or answer")
    return limit, [[records[row] for row in rows] for (records, _), rows in zip(files.values(), kept, strict=True)]


def _record(
    context: Context,
    scores: AnswerScores | None,
    baselines: dict[str, AnswerScores],
    alike: dict[str, Overlap],
    before: Likelihood,
    after: Likelihood,
    n: int,
) -> None:
    if scores:
        correct = scores.correct
        beside = {name: baseline.correct.value for name, baseline in baselines.items()}
        context.record(
            Metric("accuracy", correct.value, True, correct.stderr, correct.n, "instructions", beside), headline=True
        )
    record_overlap(context, alike, headline=scores is None)
    context.record(Metric("answer_loss", after.loss, False, None, n, "instructions", {BASE: before.loss}))

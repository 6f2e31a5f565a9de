"""Supervised fine-tuning: the base model imitates demonstrated answers, with the loss on the answers alone."""

from __future__ import annotations

from typing import Any

from components.contract import Context, Metric
from components.conversations import Encoded
from components.finetuning import adapters, families, lengths, sharding
from components.finetuning.memory import require_memory
from components.finetuning.models import context_length, load_causal, load_tokenizer, save
from components.finetuning.preview import all_parts
from components.finetuning.report import shown
from components.finetuning.sampling import answer_records
from components.finetuning.scoring import AnswerScores, Likelihood, checkable, likelihood, score, score_baselines
from components.finetuning.templates import install_template
from components.finetuning.training import Curve, Watch, arguments, train
from components.instruct_finetune import packing, sequences
from components.instruct_finetune.examples import read, within
from components.instruct_finetune.report import write_report

_PREVIEWED = 10  # training examples shown in the report

_NOTHING = Encoded([], [])


def run(context: Context) -> None:
    """Train ``models/instruct`` from ``models/base`` on ``data/instructions/instruct.jsonl``."""
    require_memory(context.inputs["base"], context.parameters, "instruct_finetune")
    packs = context.parameters.packing != "none"
    if families.require(context.inputs["base"], "instruct_finetune", packs=packs).kind == "encoder-decoder":
        sequences.run(context)
        return
    tokenizer = load_tokenizer(context.inputs["base"])
    install_template(tokenizer, context.parameters.template)
    examples = read(context, tokenizer)

    def load() -> Any:
        return load_causal(context.inputs["base"], **adapters.loading(context.parameters))

    adapter = context.parameters.adapter

    def begin(model: Any = None) -> Any:
        return adapters.attach(load() if model is None else model, adapter, task="causal", seed=context.seed)

    model = load()
    limit = context_length(model, tokenizer, context.parameters.seq_length)
    limit = lengths.settle(context, limit, examples.lengths)
    examples = within(context, examples, limit)
    training, encoded, development = examples.training, examples.encoded, examples.development
    held_out = examples.measured()
    packed = packing.pack(encoded, limit) if packs else None
    if packed:
        packing.require(context, model)

    before = likelihood(model, held_out, pad=tokenizer.pad_token_id)
    context.log({"development_loss": before.loss}, 0)
    model = begin(model)
    curve = fit(context, model, tokenizer, packed or encoded, held_out)
    model = adapters.finished(sharding.whole(model, begin), adapter)
    after = likelihood(model, held_out, pad=tokenizer.pad_token_id)
    if context.parameters.evaluate_every is None:
        context.log({"development_loss": after.loss}, int(curve[-1]["step"]))
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
    preview = all_parts(tokenizer, encoded, shown(training)[:_PREVIEWED])
    write_report(
        context, curve, training, development, answers, scores, baselines, before, after, preview, packed=packed
    )


def fit(
    context: Context, model: Any, tokenizer: Any, examples: Encoded | packing.Packed, held_out: Encoded = _NOTHING
) -> Curve:
    """Train ``model`` in place; the loss counts the answers' tokens, the end token among them.

    ``held_out`` is what ``evaluate_every`` measures.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings: dict[str, Any] = {
        "description": "instruct_finetune",
        "model": model,
        "args": arguments(context, SFTConfig, context.parameters),
        "processing_class": tokenizer,
        "watch": _watch(context, tokenizer, held_out),
    }
    if isinstance(examples, packing.Packed):
        settings |= {"lengths": examples.lengths, "train_dataset": examples.rows}
        with packing.training(context, tokenizer, model) as (trainer, own):
            return train(context, trainer, context.parameters, **settings, **own)
    rows = Dataset.from_dict({"input_ids": examples.input_ids, "labels": examples.labels()})
    lengths = [len(ids) for ids in examples.input_ids]
    return train(context, SFTTrainer, context.parameters, lengths=lengths, train_dataset=rows, **settings)


def _watch(context: Context, tokenizer: Any, held_out: Encoded) -> Watch | None:
    parameters = context.parameters
    if parameters.evaluate_every is None:
        return None
    most = parameters.evaluation_examples
    some = Encoded(held_out.input_ids[:most], held_out.answer_mask[:most])

    def loss(model: Any) -> float:
        return likelihood(model, some, pad=tokenizer.pad_token_id).loss

    return Watch(loss, parameters.evaluate_every, parameters.patience)


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

"""Fine-tune the base model into a classifier, and measure it beside the majority and a linear model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.classify_finetune.classifier import choose_trained, encode_texts, load_classifier, predict
from components.classify_finetune.decision import (
    Calibration,
    calibration,
    choose_threshold,
    decide,
    probabilities,
    require_two_labels,
)
from components.classify_finetune.labels import SPLITS, LabelledTexts, class_weights, read_labels
from components.classify_finetune.report import ClassifierResult, write_report
from components.classify_finetune.scores import ClassScores, f1_of, majority, score, tfidf_logistic_regression
from components.contract import Context, Interrupted, Metric
from components.finetuning import adapters, lengths
from components.finetuning.memory import require_memory
from components.finetuning.models import context_length, give_padding, load_tokenizer, save
from components.finetuning.training import Curve, arguments, train
from components.statistics import clustered_bootstrap_stderr

MODEL = "classifier"


def run(context: Context) -> None:
    """Train ``models/classifier`` from ``models/base`` on ``data/labels``."""
    parameters = context.parameters
    if parameters.train == "all":
        require_memory(context.inputs["base"], parameters, "classify_finetune")
    data = read_labels(context.inputs["labels"])
    if untaught := data.untaught():
        context.warn(f"no training text has the labels {', '.join(untaught)}: they cannot be learnt")
    tokenizer = load_tokenizer(context.inputs["base"])
    weights = class_weights(parameters.class_weights, data)
    require_two_labels(parameters.threshold, data.names)
    pad = give_padding(tokenizer, context.inputs["base"])
    options = adapters.loading(parameters)
    model = load_classifier(context.inputs["base"], data.names, pad, context.seed, **options)
    trained = choose_trained(model, parameters.train)
    if parameters.adapter.type != "none":
        model = adapters.attach(model, parameters.adapter, task="classification", seed=context.seed)
        trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
    limit = context_length(model, tokenizer, parameters.seq_length)
    # Kept with the model, so that every program that loads it cuts texts where training did.
    tokenizer.model_max_length = limit
    end = model.config.eos_token_id if model.config.is_encoder_decoder else None
    encoded = {split: encode_texts(tokenizer, getattr(data, split).texts, end=end) for split in SPLITS}
    if parameters.seq_length == "auto":
        limit = lengths.settle(context, limit, lambda: [len(ids) for ids in encoded["train"]])
        tokenizer.model_max_length = limit
        encoded = {split: encode_texts(tokenizer, getattr(data, split).texts, end=end) for split in SPLITS}
    curve = fit(context, model, tokenizer, data, encoded["train"], weights, encoded["validation"])
    model = adapters.finished(model, parameters.adapter)
    found = {split: _predict(context, model, tokenizer, split, encoded[split]) for split in ("validation", "test")}
    if not context.is_main:
        return
    shares = {split: probabilities(scores) for split, scores in found.items()}
    threshold = choose_threshold(parameters.threshold, shares["validation"], data)
    if threshold:  # read by what serves the model
        model.config.decision_threshold = {data.names[threshold.positive]: threshold.probability}
    model.requires_grad_(True)
    save(model, tokenizer, context.outputs["model"], base=context.inputs["base"])

    linear = tfidf_logistic_regression(data, weights)
    commonest = majority(data)
    # The linear model is given the same choices as the model.
    of_linear = choose_threshold(parameters.threshold, linear.validation, data)
    predicted = {
        split: {
            MODEL: decide(shares[split], threshold),
            "tfidf_logistic_regression": decide(getattr(linear, split), of_linear),
            "majority": np.full(len(shares[split]), commonest),
        }
        for split in shares
    }
    scores = {
        split: {name: _score(context, data, split, rows) for name, rows in of_split.items()}
        for split, of_split in predicted.items()
    }
    trust = calibration(
        (found["validation"], data.validation.labels),
        (found["test"], data.test.labels),
        data.test.groups,
        context.seed,
    )
    _record(context, data, scores["validation"], scores["test"], predicted["test"], trust)
    cut = sum(len(ids) == limit for ids in encoded["train"])  # at the limit: cut, or just fitting
    result = ClassifierResult(
        data, curve, predicted["test"], scores, linear.strength, trained, limit, cut, weights, threshold, trust
    )
    write_report(context, result)


def fit(
    context: Context,
    model: Any,
    tokenizer: Any,
    data: LabelledTexts,
    encoded: list[list[int]],
    weights: NDArray[np.float64] | None = None,
    development: list[list[int]] | None = None,
) -> Curve:
    """Train ``model`` in place.

    Args:
        weights: of the labels in the loss (shape ``[labels]``).
        development: the encoded texts of validation, which ``evaluate_every`` measures.
    """
    import torch
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    class ClassifierTrainer(Trainer):  # type: ignore[misc]
        """The Trainer, corrected: the loss of a sequence classifier is a mean over its part of the batch.

        A forward that takes any keywords passes for one that divides by the count of the whole batch.
        """

        def __init__(self, **values: Any) -> None:
            super().__init__(**values)
            self.model_accepts_loss_kwargs = False

        def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any) -> Any:
            if weights is None:
                return super().compute_loss(model, inputs, return_outputs, **kwargs)
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            each = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="none")
            # Divided by the texts, not by their weights: a batch without the rare class must not count for more.
            loss = (each * torch.tensor(weights, dtype=each.dtype, device=each.device)[labels]).mean()
            return (loss, outputs) if return_outputs else loss

    def settings(*, max_length: None, **values: Any) -> TrainingArguments:
        return TrainingArguments(**values)  # max_length is TRL's own; the texts are cut already

    some = (development or [])[: context.parameters.evaluation_examples]
    validation = {"input_ids": some, "labels": data.validation.labels[: len(some)].tolist()}
    return train(
        context,
        ClassifierTrainer,
        context.parameters,
        description="classify_finetune",
        model=model,
        lengths=[len(ids) for ids in encoded],
        train_dataset=Dataset.from_dict({"input_ids": encoded, "labels": data.train.labels.tolist()}),
        development=Dataset.from_dict(validation) if some else None,
        args=arguments(context, settings, context.parameters),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
    )


def _predict(context: Context, model: Any, tokenizer: Any, split: str, encoded: list[list[int]]) -> NDArray[np.float32]:
    with context.progress(f"classify {split}", len(encoded), unit="texts") as advance:

        def on_batch(count: int) -> None:
            advance(count)
            if context.stopping:
                raise Interrupted("stopped while classifying; the trained weights are kept")

        return predict(
            model,
            encoded,
            pad=tokenizer.pad_token_id,
            batch_size=context.parameters.prediction_batch_size,
            advance=on_batch,
        )


def _score(context: Context, data: LabelledTexts, split: str, predicted: NDArray[np.int64]) -> ClassScores:
    texts = getattr(data, split)
    return score(texts.labels, predicted, texts.groups, len(data.names), context.seed)


def _record(
    context: Context,
    data: LabelledTexts,
    validation: dict[str, ClassScores],
    test: dict[str, ClassScores],
    predicted: dict[str, NDArray[np.int64]],
    trust: Calibration,
) -> None:
    own = test[MODEL]
    others = {name: scores for name, scores in test.items() if name != MODEL}
    accuracies = {name: scores.accuracy for name, scores in others.items()}
    context.record(
        Metric("accuracy", own.accuracy, True, own.accuracy_stderr, own.n, "labels", accuracies), headline=True
    )
    f1 = {name: scores.macro_f1 for name, scores in others.items()}
    context.record(Metric("macro_f1", own.macro_f1, True, own.macro_f1_stderr, own.n, "labels", f1))
    if len(data.names) == 2:
        rare = data.rarer
        of = {name: f1_of(data.test.labels, rows, rare) for name, rows in predicted.items()}
        error = clustered_bootstrap_stderr(
            lambda rows: f1_of(data.test.labels[rows], predicted[MODEL][rows], rare, of[MODEL]),
            data.test.groups,
            seed=context.seed,
        )
        value = of[MODEL]
        beside = {name: each for name, each in of.items() if name != MODEL}
        context.record(Metric("rarer_class_f1", value, True, error, own.n, "labels", beside))
    context.record(Metric("expected_calibration_error", trust.error, False, trust.stderr, own.n, "labels"))
    chosen = validation[MODEL]
    before = {name: scores.accuracy for name, scores in validation.items() if name != MODEL}
    context.record(
        Metric("validation_accuracy", chosen.accuracy, True, chosen.accuracy_stderr, chosen.n, "labels", before)
    )

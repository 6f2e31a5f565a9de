"""Held-out loss, perplexity and bits per byte, beside n-gram baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from components.contract import Metric
from components.conversations import text_ids
from components.evaluate import documents, figures
from components.evaluate.heldout import negative_log_likelihoods
from components.evaluate.ngrams import NGramModel
from components.evaluate.subject import Subject
from components.statistics import ratio_stderr

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def held_out_section(subject: Subject, test: documents.Sample, training: documents.Sample) -> dict[str, Any]:
    """Record bits per byte, loss and perplexity on ``test``, beside n-gram models of ``training``."""
    context = subject.context
    parameters = context.parameters.held_out
    window = min(parameters.context or subject.window, subject.window)
    end = subject.tokenizer.eos_token_id
    tokens = _tokens(subject.tokenizer, test.documents)
    total = sum(map(len, tokens))

    with context.progress("held-out loss", total, unit="tokens") as advance:

        def on_tokens(count: int) -> None:
            advance(count)
            subject.stop_if_asked()

        losses = negative_log_likelihoods(subject.model, tokens, separator=end, context=window, on_tokens=on_tokens)
    context.tokens += total

    training_tokens = _tokens(subject.tokenizer, training.documents)
    orders = {"unigram": 1, f"{parameters.baseline_order}-gram": parameters.baseline_order}
    vocabulary = len(subject.tokenizer)
    ngrams = {name: NGramModel(training_tokens, vocabulary, order, end) for name, order in orders.items()}
    by_system = {context.instance: losses}
    by_system |= {name: [-row for row in ngram.log_probabilities(tokens)] for name, ngram in ngrams.items()}

    sizes = np.array([len(document.text.encode()) for document in test.documents], float)
    counts = np.array([len(row) for row in tokens], float)
    nats = {name: np.array([row.sum() for row in rows]) for name, rows in by_system.items()}
    groups = [document.group for document in test.documents]
    own, *others = by_system
    bits = {name: float(values.sum() / math.log(2) / sizes.sum()) for name, values in nats.items()}
    loss = {name: float(values.sum() / counts.sum()) for name, values in nats.items()}
    bits_stderr = {name: ratio_stderr(values / math.log(2), sizes, groups) for name, values in nats.items()}
    loss_stderr = ratio_stderr(nats[own], counts, groups)
    perplexity = {name: math.exp(value) for name, value in loss.items()}

    def metric(name: str, values: dict[str, float], stderr: float | None, n: int) -> Metric:
        return Metric(name, values[own], False, stderr, n, "corpus", {other: values[other] for other in others})

    n = len(test.documents)
    context.record(metric("bits_per_byte", bits, bits_stderr[own], n), headline=subject.headline == "bits_per_byte")
    context.record(metric("loss", loss, loss_stderr, n))
    # Delta method: the error of exp(loss) is exp(loss) times that of the loss.
    context.record(metric("perplexity", perplexity, loss_stderr and perplexity[own] * loss_stderr, n))

    baselines = {name: bits[name] for name in others}
    context.figure("bits_per_byte", figures.bits_per_byte(own, bits[own], bits_stderr[own], baselines))
    kinds = _bits_by_kind(test.documents, nats, sizes)
    return {
        "documents": n,
        "documents_available": test.available,
        "tokens": total,
        "bytes": int(sizes.sum()),
        "window": window,
        "stride": max(window // 2, 1),
        "end_token_scored": True,
        "baseline_documents": len(training.documents),
        "baseline_documents_available": training.available,
        "baseline_smoothing": "interpolated modified Kneser-Ney",
        "bits_per_byte": bits,
        "bits_per_byte_stderr": bits_stderr,
        "loss": loss,
        "loss_stderr": loss_stderr,
        "perplexity": perplexity,
        "bits_per_byte_by_kind": kinds,
    }


def _tokens(tokenizer: PreTrainedTokenizerBase, sampled: Sequence[documents.Document]) -> list[list[int]]:
    """Token ids of each document, its end token last."""
    encoded = text_ids(tokenizer, [document.text for document in sampled])
    return [[*ids, tokenizer.eos_token_id] for ids in encoded]


def _bits_by_kind(
    sampled: Sequence[documents.Document], nats: dict[str, NDArray[np.float64]], sizes: NDArray[np.float64]
) -> dict[str, dict[str, Any]]:
    kinds = np.array([document.kind for document in sampled])
    return {
        str(kind): {
            "documents": int((kinds == kind).sum()),
            "bits_per_byte": {
                name: float(values[kinds == kind].sum() / math.log(2) / sizes[kinds == kind].sum())
                for name, values in nats.items()
            },
        }
        for kind in np.unique(kinds)
    }

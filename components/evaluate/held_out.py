"""Loss, perplexity and bits per byte on held-out documents, in sliding windows, beside n-gram baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.contract import Metric
from components.conversations import text_ids
from components.evaluate.items import Item, identities
from components.evaluate.subject import BASELINE_COLOURS, MODEL_COLOUR, Subject
from components.ngrams import NGramModel
from components.statistics import ratio_stderr
from core.errors import InputProblem

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH_ROWS = 4096
# Largest block of logits held at once, in elements: 256 MB in float32.
_LOGITS = 2**26


@dataclass(frozen=True)
class SampledDocument:
    """One document. ``group`` is the cluster for standard errors: documents of one module share it."""

    text: str
    kind: str
    group: str


@dataclass(frozen=True)
class Sample:
    """``documents`` in corpus order, drawn from ``available`` ones of the split."""

    documents: list[SampledDocument]
    available: int


def is_empty(corpus: Path) -> bool:
    """True for the corpus of a workspace without text: its shards are there, and have no rows."""
    shards = list(corpus.glob("*.parquet"))
    try:
        return bool(shards) and not any(pq.read_metadata(path).num_rows for path in shards)
    except (OSError, pa.ArrowException):
        return False  # :func:`sample` says what is wrong


def sample(corpus: Path, split: str, limit: int, seed: int) -> Sample:
    """At most ``limit`` documents of ``split``, drawn without replacement and kept in order.

    Raises:
        InputProblem: the split is missing or empty, or a shard lacks a column or cannot be read.
    """
    shards = sorted(corpus.glob(f"{split}-*.parquet"))
    problems, rows = [], []
    for path in shards:
        try:
            with pq.ParquetFile(path) as file:
                missing = {"text", "kind", "group"} - set(file.schema_arrow.names)
                rows.append(file.metadata.num_rows)
        except (OSError, pa.ArrowException) as error:
            problems.append(f"{corpus.name}/{path.name} is not a readable parquet file: {error}")
            continue
        problems += [f"{corpus.name}/{path.name} has no column {column!r}" for column in sorted(missing)]
    if not problems and not sum(rows):
        problems.append(
            f"the corpus has no documents in its {split} split, so nothing can be measured on it; add sources, or give "
            f"the split a larger share under `curate`"
        )
    if problems:
        raise InputProblem(problems)
    available = sum(rows)
    wanted = np.arange(available)
    if available > limit:
        wanted = np.sort(np.random.default_rng(seed).choice(available, size=limit, replace=False))
    documents: list[SampledDocument] = []
    start = 0
    for path in shards:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=["text", "kind", "group"]):
                here = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
                documents += [SampledDocument(**row) for row in batch.take(pa.array(here)).to_pylist()]
                start += len(batch)
    return Sample(documents, available)


def measure_held_out(subject: Subject, test: Sample, training: Sample) -> dict[str, Any]:
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
            subject.raise_if_stopping()

        losses = negative_log_likelihoods(subject.model, tokens, separator=end, context=window, on_tokens=on_tokens)
    context.tokens += total

    training_tokens = _tokens(subject.tokenizer, training.documents)
    orders = {"unigram": 1, f"{parameters.baseline_order}-gram": parameters.baseline_order}
    vocabulary = len(subject.tokenizer)
    ngrams = {name: NGramModel(training_tokens, vocabulary, order, end) for name, order in orders.items()}
    by_system = {subject.name: losses}
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
    names = identities(document.text for document in test.documents)
    subject.items.extend(
        Item("corpus", name, "bits_per_byte", nat / math.log(2) / size, None, None, None, group, size)
        for name, nat, size, group in zip(names, nats[own].tolist(), sizes.tolist(), groups, strict=True)
        if size
    )
    # Delta method: the error of exp(loss) is exp(loss) times that of the loss.
    context.record(metric("perplexity", perplexity, loss_stderr and perplexity[own] * loss_stderr, n))

    baselines = {name: bits[name] for name in others}
    context.figure("bits_per_byte", _plot_bits(own, bits[own], bits_stderr[own], baselines))
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


def _tokens(tokenizer: PreTrainedTokenizerBase, sampled: Sequence[SampledDocument]) -> list[list[int]]:
    """Token ids of each document, its end token last."""
    encoded = text_ids(tokenizer, [document.text for document in sampled])
    return [[*ids, tokenizer.eos_token_id] for ids in encoded]


def _bits_by_kind(
    sampled: Sequence[SampledDocument], nats: dict[str, NDArray[np.float64]], sizes: NDArray[np.float64]
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


def windows(length: int, context: int) -> Iterator[tuple[int, int, int]]:
    """How ``length`` tokens are covered: (first input, end of inputs, first of them whose prediction is scored).

    Each window moves on by half a context, so that every token is scored once, and all but a document's first with at
    least half a context before it (Hugging Face's "Perplexity of fixed-length models", stride = context / 2).
    """
    stride = max(context // 2, 1)
    scored = 0
    for start in range(0, length, stride):
        end = min(start + context, length)
        yield start, end, scored
        scored = end
        if end == length:
            return


def negative_log_likelihoods(
    model: PreTrainedModel,
    documents: Sequence[Sequence[int]],
    *,
    separator: int,
    context: int,
    on_tokens: Callable[[int], None] = lambda tokens: None,
) -> list[NDArray[np.float64]]:
    """Negative log likelihood, in nats, of every token of every document.

    Each document is scored alone, after the separator (as in training, where documents are packed with separators
    between them). A document's own end token, if it is to count, must be its last.

    Args:
        model: in eval mode, on the device to use.
        documents: token ids of each document.
        separator: token that precedes a document.
        context: tokens in a window, at most the model's own.
        on_tokens: called with the number of tokens scored in each batch.
    """
    import torch

    losses = [np.zeros(len(document)) for document in documents]
    work = [
        (number, start, end, scored)
        for number, document in enumerate(documents)
        for start, end, scored in windows(len(document), context)
    ]
    work.sort(key=lambda window: (window[2] - window[1], window))
    vocabulary = model.get_output_embeddings().weight.shape[0]
    with torch.inference_mode():
        for batch in _batches(work, vocabulary):
            width = max(end - start for _, start, end, _ in batch)
            # Inputs are the tokens shifted right by one; right padding is harmless under a causal mask.
            inputs = torch.full((len(batch), width), separator, dtype=torch.long)
            targets = torch.full((len(batch), width), -100, dtype=torch.long)
            for row, (number, start, end, scored) in enumerate(batch):
                document = torch.as_tensor(documents[number], dtype=torch.long)
                shifted = torch.cat([torch.tensor([separator]), document[:-1]])
                inputs[row, : end - start] = shifted[start:end]
                targets[row, scored - start : end - start] = document[scored:end]
            logits = model(input_ids=inputs.to(model.device), use_cache=False).logits.float()
            token_losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.to(model.device).flatten(), reduction="none"
            )
            rows = token_losses.view(len(batch), width).double().cpu().numpy()
            for row, (number, start, end, scored) in enumerate(batch):
                losses[number][scored:end] = rows[row, scored - start : end - start]
            on_tokens(sum(end - scored for _, _, end, scored in batch))
    return losses


def _batches(work: list[tuple[int, int, int, int]], vocabulary: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """Windows of about one length side by side, as many as the block of logits allows."""
    batch: list[tuple[int, int, int, int]] = []
    for window in work:  # sorted by length, so the newest is the widest
        if batch and (len(batch) + 1) * (window[2] - window[1]) * vocabulary > _LOGITS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _plot_bits(model: str, value: float, stderr: float | None, baselines: Mapping[str, float]) -> Figure:
    """The model's bits per byte beside the baselines'; shorter is better."""
    from matplotlib.figure import Figure

    names, values = [model, *baselines], [value, *baselines.values()]
    figure = Figure(figsize=(6.5, 0.6 + 0.45 * len(names)))
    axes = figure.subplots()
    bars = axes.barh(
        names,
        values,
        xerr=[stderr or 0.0] + [0.0] * len(baselines),
        color=[MODEL_COLOUR, *[BASELINE_COLOURS[0]] * len(baselines)],
    )
    axes.bar_label(bars, fmt="%.3f", padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.15)
    axes.set_xlabel("bits per byte on held-out documents (lower is better)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure

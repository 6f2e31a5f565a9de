"""The tokenize stage: tokenizer, packed shards, and what they are like."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract import Context, Metric
from components.tokenize import corpus as corpora
from components.tokenize.parameters import PARENT, TokenizeParameters
from components.tokenize.parent import copy_files
from core.errors import InputProblem

if TYPE_CHECKING:
    from pyarrow import LargeStringArray, RecordBatch

    from components.tokenize.compression import SplitCompression
    from components.tokenize.encoding import Encoder
    from components.tokenize.mixture import Stock
    from components.tokenize.packing import Writer
    from components.tokenize.shards import SplitEntry
    from components.tokenize.tokenizer import Packing


def run(context: Context) -> None:
    """Train or load the tokenizer, pack each split, report bytes per token."""
    # Only now: the Rust library reads it at its first use. Encoding is parallel within a batch.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import pyarrow as pa

    from components.tokenize import mixture
    from components.tokenize.compression import SplitCompression
    from components.tokenize.report import write_report
    from components.tokenize.shards import dtype_for, write_index

    # Arrow's own allocator keeps tens of megabytes that it has no use for.
    pa.set_memory_pool(pa.system_memory_pool())
    parameters: TokenizeParameters = context.parameters
    corpus, folder = context.inputs["corpus"], context.outputs["tokens"]
    if not (without_text := corpora.is_empty(corpus)):
        corpora.check(corpus)
    elif parameters.tokenizer is None:
        raise InputProblem(
            "the corpus has no text to train a tokenizer on: set tokenize.tokenizer to parent, or to a tokenizer"
        )
    mix = None if without_text else parameters.mixture
    if mix:
        mixture.check(corpus, mix)
    tokenizer = _tokenizer(context)
    if parameters.bos and tokenizer.start is None:
        raise InputProblem("tokenize.bos: the tokenizer has no bos_token to begin documents with; make it false")
    encoder = _encoder(context, tokenizer)
    splits: dict[str, SplitEntry] = {}
    compressions = {split: SplitCompression() for split in corpora.SPLITS}
    drawn: dict[str, Any] | None = None
    total = sum(corpora.documents(corpus, split) for split in corpora.SPLITS)
    with context.progress("tokenize", total, unit="documents") as advance:
        for split in corpora.SPLITS:
            batches = corpora.batches(corpus, split, parameters.batch_documents, mixture.columns(mix))
            writer = _writer(context, tokenizer, split)
            stock = mixture.Stock(context.scratch, mix, context.seed) if mix and split == "train" else None
            splits[split] = _pack(batches, encoder, writer, compressions[split], advance, stock)
            drawn = stock.drawn if stock else drawn
    if not splits["test"]["documents"] and not without_text:
        context.warn("the corpus has no test split")
    write_index(
        folder,
        dtype=dtype_for(tokenizer.vocabulary),
        vocabulary=tokenizer.vocabulary,
        end=tokenizer.end,
        splits=splits,
        start=tokenizer.start if parameters.bos else None,
        seq_length=parameters.seq_length,
    )
    if parameters.tokenizer == PARENT:
        copy_files(context.inputs["parent"], context.outputs["tokenizer"])
    else:
        tokenizer.save(context.outputs["tokenizer"])
    context.tokens += sum(split["tokens"] for split in splits.values())

    if not without_text:
        _record_compression(context, compressions)
    context.record(Metric("train_tokens", splits["train"]["tokens"]))
    context.record(Metric("vocabulary", tokenizer.vocabulary), headline=without_text)
    if drawn:
        context.environment["mixture"] = mixture.sentence(drawn)
        for warning in mixture.warnings(drawn):
            context.warn(warning)
    write_report(context, tokenizer, splits, compressions, trained=parameters.tokenizer is None, mixture=drawn)


def _record_compression(context: Context, compressions: dict[str, SplitCompression]) -> None:
    validation = compressions["validation"].whole
    context.record(
        Metric(
            "bytes_per_token",
            validation.bytes_per_token,
            higher_is_better=True,
            stderr=validation.stderr,
            n=validation.documents,
            eval_set="corpus",
            baselines={"bytes": 1.0},
        ),
        headline=True,
    )
    context.record(
        Metric("train_bytes_per_token", compressions["train"].whole.bytes_per_token, True, eval_set="corpus")
    )


def _tokenizer(context: Context) -> Packing:
    from components.tokenize import tokenizer as tokenizers

    parameters: TokenizeParameters = context.parameters
    if parameters.tokenizer == PARENT:
        loaded = tokenizers.load_parent(context.inputs.get("parent"))
        _warn_of_template(context, loaded, "the parent")
        return tokenizers.existing(loaded)
    if parameters.tokenizer is not None:
        loaded, added = tokenizers.load(parameters.tokenizer)
        if added:
            context.warn(f"added to the tokenizer {parameters.tokenizer}: {'; '.join(added)}")
        if Path(parameters.tokenizer).exists():
            context.warn(
                f"tokenize.tokenizer: the files in {parameters.tokenizer} are not watched: where they change, give "
                f"them another name and set tokenize.tokenizer to it"
            )
        _warn_of_template(context, loaded, parameters.tokenizer)
        return tokenizers.existing(loaded)
    from components.tokenize.training import limited, train

    def read() -> Iterator[LargeStringArray]:
        batches = corpora.batches(context.inputs["corpus"], "train", parameters.batch_documents)
        return limited((batch.column("text") for batch in batches), parameters.training_bytes)

    size = parameters.vocabulary_size
    if parameters.model == "bpe":
        backend = train(read, vocabulary_size=size, min_frequency=parameters.min_frequency, scratch=context.scratch)
    else:
        from components.tokenize import pieces

        backend = pieces.train("unigram" if parameters.model == "unigram" else "bpe", read(), size)
    made = tokenizers.trained(backend)
    if made.vocabulary < parameters.vocabulary_size:
        context.warn(
            f"the corpus yields only {made.vocabulary} of the {parameters.vocabulary_size} vocabulary entries of "
            f"tokenize.vocabulary_size"
        )
    return made


def _warn_of_template(context: Context, tokenizer: Any, name: str) -> None:
    """Say before anything is trained what the fine-tuning stages could not do with an existing tokenizer."""
    from components.finetuning import families
    from components.finetuning.templates import template_limits, template_problem

    if parent := context.inputs.get("parent"):
        kind = families.of(parent).kind
        if kind == "encoder" or (kind == "encoder-decoder" and not tokenizer.chat_template):
            return  # neither needs one
    if problem := template_problem(tokenizer):
        context.warn(f"with template: chat, instruct_finetune cannot use the tokenizer of {name}: {problem}")
    elif limits := template_limits(tokenizer):
        context.warn(f"the chat template of {name} does not take {'; '.join(limits)}")


def _encoder(context: Context, tokenizer: Packing) -> Encoder:
    """The fastest encoder that gives the ids of `tokenizers`; which one that is goes into the receipt."""
    from components.tokenize import encoding

    sample = corpora.sample(context.inputs["corpus"])
    encoder, context.environment["encoder"] = encoding.choose(tokenizer.backend.to_str(), tokenizer.end, sample)
    return encoder


def _writer(context: Context, tokenizer: Packing, split: str) -> Writer:
    """What writes the split. The held-out ones are never padded: each of their tokens is predicted once."""
    from components.tokenize.packing import BestFitWriter, Preceded
    from components.tokenize.shards import TokenShardWriter, dtype_for

    parameters: TokenizeParameters = context.parameters
    start = tokenizer.start if parameters.bos and tokenizer.start is not None else tokenizer.end
    best_fit = parameters.packing == "best_fit" and split == "train"
    writer = TokenShardWriter(
        context.outputs["tokens"],
        split,
        dtype=dtype_for(tokenizer.vocabulary),
        shard_tokens=parameters.shard_tokens,
        first=start if parameters.bos and start == tokenizer.end and not best_fit else None,
    )
    if best_fit and parameters.seq_length is not None:
        return BestFitWriter(writer, parameters.seq_length, start, start != tokenizer.end)
    return writer if start == tokenizer.end else Preceded(writer, start)


def _pack(
    batches: Iterable[RecordBatch],
    encoder: Encoder,
    writer: Writer,
    compression: SplitCompression,
    advance: Callable[..., None],
    stock: Stock | None,
) -> SplitEntry:
    """Write a split; where there is a ``stock``, what is drawn from it."""
    for batch in batches:
        before = compression.whole.bytes
        ids, lengths = encoder.encode(batch.column("text"))
        compression.add(batch, lengths - 1)
        if stock:
            stock.add(batch, ids, lengths)
        else:
            writer.add(ids, lengths, compression.whole.bytes - before)
        advance(len(batch))
    if stock:
        stock.draw(writer)
    return writer.finish()

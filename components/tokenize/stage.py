"""The tokenize stage: tokenizer, packed shards, and what they are like."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract import Context, Interrupted, Metric
from components.tokenize import corpus as corpora
from components.tokenize.parameters import PARENT, TokenizeParameters
from components.tokenize.parent import copy_files
from core.errors import InputProblem

if TYPE_CHECKING:
    from pyarrow import LargeStringArray

    from components.tokenize.compression import SplitCompression
    from components.tokenize.encoded import EncodingOrders
    from components.tokenize.mixture import Stock
    from components.tokenize.packing import Writer
    from components.tokenize.tokenizer import Packing

# Bytes of text that a processor encodes in a second, about: by gigatoken, and by `tokenizers`.
FAST, SLOW = 20e6, 0.8e6


def run(context: Context) -> None:
    """Train or load the tokenizer, pack each split, report bytes per token."""
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
    orders = _orders(context, tokenizer)
    compressions = {split: SplitCompression() for split in corpora.SPLITS}
    writers = {split: _writer(context, tokenizer, split) for split in corpora.SPLITS}
    stock = mixture.Stock(mix, context.seed) if mix else None
    _pack(context, orders, writers, compressions, stock)
    splits = {split: writer.finish() for split, writer in writers.items()}
    shutil.rmtree(orders.folder)
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
    drawn = stock.drawn if stock else None
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
        parts = corpora.parts(context.inputs["corpus"], "train")
        batches = (batch for part in parts for batch in corpora.batches(part, parameters.batch_documents))
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


def _orders(context: Context, tokenizer: Packing) -> EncodingOrders:
    """How the parts are encoded: by the fastest encoder that gives the ids of `tokenizers`, which the receipt names."""
    from components.tokenize import encoded, encoding, mixture
    from components.tokenize.encoded import EncodingOrders
    from components.tokenize.shards import dtype_for
    from core.files import write_text

    parameters: TokenizeParameters = context.parameters
    body = tokenizer.backend.to_str()
    encoder, context.environment["encoder"] = encoding.choose(
        tokenizer.backend, tokenizer.end, corpora.sample(context.inputs["corpus"])
    )
    folder, name = context.scratch / "encoded", f"tokenizer-{hashlib.sha256(body.encode()).hexdigest()[:16]}.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / name, body)
    engine = parameters.engine
    orders = EncodingOrders(
        folder,
        tokenizer=name,
        end=tokenizer.end,
        fast=encoder.fast,
        dtype=dtype_for(tokenizer.vocabulary).str,
        documents=parameters.batch_documents,
        columns=tuple(mixture.columns(parameters.mixture)),
        threads=engine.type == "local" and engine.workers == "auto",
        elsewhere=engine.type == "ray",
        versions=encoding.versions(),
    )
    encoded.use(encoder, orders)
    return orders


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
    context: Context,
    orders: EncodingOrders,
    writers: dict[str, Writer],
    compressions: dict[str, SplitCompression],
    stock: Stock | None,
) -> None:
    """Encode every part, wherever the engine does it, and write the splits; of a ``stock``, what is drawn from it."""
    from components import engine
    from components.tokenize import encoded

    parts = [part for split in corpora.SPLITS for part in corpora.parts(context.inputs["corpus"], split)]
    total = sum(part.documents for part in parts)
    seconds = sum(part.bytes for part in parts) / (FAST if orders.fast else SLOW)
    work = engine.run(partial(encoded.encode, orders), parts, context.parameters.engine, seconds)
    with closing(work) as paths, context.progress("tokenize", total, unit="documents") as advance:
        stocked = []
        for part, path in zip(parts, paths, strict=True):
            if context.stopping:
                raise Interrupted
            for batch in encoded.read(path):
                ids, lengths = encoded.tokens_of(batch)
                compressions[part.split].add(batch, lengths - 1)
                if stock and part.split == "train":
                    stock.add(batch, lengths)
                else:
                    writers[part.split].add(ids, lengths, int(corpora.numbers(batch.column("bytes")).sum()))
            if stock and part.split == "train":
                stocked.append(path)
            advance(part.documents)
    if stock:
        stock.draw(writers["train"], lambda: itertools.chain.from_iterable(map(encoded.read, stocked)))

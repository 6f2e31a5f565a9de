"""The tokenize stage: tokenizer, packed shards, and what they are like."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract import Context, Metric
from components.tokenize import corpus as corpora
from components.tokenize.compression import Compression
from components.tokenize.parameters import PARENT, TokenizeParameters
from components.tokenize.parent import copy_files, end_of
from core.errors import InputProblem

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

    from components.tokenize.shards import SplitEntry


def run(context: Context) -> None:
    """Train or load the tokenizer, pack each split, report bytes per token."""
    # Only now: the Rust library reads it at its first use. Encoding is parallel within a batch.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from components.tokenize.report import write_report
    from components.tokenize.shards import dtype_for, write_index

    parameters: TokenizeParameters = context.parameters
    corpus = context.inputs["corpus"]
    if not (without_text := corpora.is_empty(corpus)):
        corpora.check(corpus)
    elif parameters.tokenizer is None:
        raise InputProblem(
            "the corpus has no text to train a tokenizer on: set tokenize.tokenizer to parent, or to a tokenizer"
        )
    tokenizer = _tokenizer(context)
    vocabulary = len(tokenizer)
    dtype = dtype_for(vocabulary)
    splits, compressions, lengths = {}, {}, {}
    total = sum(corpora.documents(corpus, split) for split in corpora.SPLITS)
    with context.progress("tokenize", total, unit="documents") as advance:
        for split in corpora.SPLITS:
            splits[split], compressions[split], lengths[split] = _pack(context, tokenizer, split, dtype, advance)
    if not splits["test"]["documents"] and not without_text:
        context.warn("the corpus has no test split")
    write_index(context.outputs["tokens"], dtype=dtype, vocabulary=vocabulary, end=end_of(tokenizer), splits=splits)
    if parameters.tokenizer == PARENT:
        copy_files(context.inputs["parent"], context.outputs["tokenizer"])
    else:
        tokenizer.save_pretrained(context.outputs["tokenizer"])
    context.tokens += sum(split["tokens"] for split in splits.values())

    if not without_text:
        _record_compression(context, compressions)
    context.record(Metric("train_tokens", splits["train"]["tokens"]))
    context.record(Metric("vocabulary", vocabulary), headline=without_text)
    write_report(context, tokenizer, splits, compressions, lengths, trained=parameters.tokenizer is None)


def _record_compression(context: Context, compressions: dict[str, dict[str, Compression]]) -> None:
    validation = _sum(compressions["validation"])
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
        Metric("train_bytes_per_token", _sum(compressions["train"]).bytes_per_token, True, eval_set="corpus")
    )


def _tokenizer(context: Context) -> PreTrainedTokenizerBase:
    parameters: TokenizeParameters = context.parameters
    if parameters.tokenizer == PARENT:
        from components.tokenize.tokenizer import load_parent

        tokenizer = load_parent(context.inputs.get("parent"))
        _warn_of_template(context, tokenizer, "the parent")
        return tokenizer
    if parameters.tokenizer is not None:
        from components.tokenize.tokenizer import load

        tokenizer, added = load(parameters.tokenizer)
        if added:
            context.warn(f"added to the tokenizer {parameters.tokenizer}: {'; '.join(added)}")
        if Path(parameters.tokenizer).is_dir():
            context.warn(
                f"tokenize.tokenizer: the files in {parameters.tokenizer} are not watched: where they change, put them "
                f"into a folder of another name and set tokenize.tokenizer to it"
            )
        _warn_of_template(context, tokenizer, parameters.tokenizer)
        return tokenizer
    from components.tokenize.tokenizer import limited, train

    batches = (texts for texts, _ in corpora.batches(context.inputs["corpus"], "train", parameters.batch_documents))
    tokenizer = train(
        limited(batches, parameters.training_bytes),
        vocabulary_size=parameters.vocabulary_size,
        min_frequency=parameters.min_frequency,
    )
    if len(tokenizer) < parameters.vocabulary_size:
        context.warn(
            f"the corpus yields only {len(tokenizer)} of the {parameters.vocabulary_size} vocabulary entries of "
            f"tokenize.vocabulary_size"
        )
    return tokenizer


def _warn_of_template(context: Context, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Say before anything is trained what the fine-tuning stages could not do with an existing tokenizer."""
    from components.finetuning.templates import template_limits, template_problem

    if problem := template_problem(tokenizer):
        context.warn(f"with template: chat, instruct_finetune cannot use the tokenizer of {name}: {problem}")
    elif limits := template_limits(tokenizer):
        context.warn(f"the chat template of {name} does not take {'; '.join(limits)}")


def _pack(
    context: Context, tokenizer: PreTrainedTokenizerBase, split: str, dtype: np.dtype[Any], advance: Callable[..., None]
) -> tuple[SplitEntry, dict[str, Compression], Counter[int]]:
    from components.tokenize.shards import TokenShardWriter

    parameters: TokenizeParameters = context.parameters
    backend = tokenizer.backend_tokenizer
    # Text that spells a special token is text: a document must not be able to end itself or to speak as the user.
    backend.encode_special_tokens = True
    writer = TokenShardWriter(
        context.outputs["tokens"],
        split,
        dtype=dtype,
        end=end_of(tokenizer),
        shard_tokens=parameters.shard_tokens,
    )
    compressions: dict[str, Compression] = defaultdict(Compression)
    lengths: Counter[int] = Counter()
    for texts, kinds in corpora.batches(context.inputs["corpus"], split, parameters.batch_documents):
        encoded = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
        sizes = [len(text.encode()) for text in texts]
        writer.add(encoded, sum(sizes))
        for kind, size, ids in zip(kinds, sizes, encoded, strict=True):
            compressions[kind].add(size, len(ids))
        lengths.update(map(len, encoded))
        advance(len(texts))
    backend.encode_special_tokens = False
    return writer.finish(), compressions, lengths


def _sum(compressions: dict[str, Compression]) -> Compression:
    total = Compression()
    for part in compressions.values():
        for name in vars(total):
            setattr(total, name, getattr(total, name) + getattr(part, name))
    return total

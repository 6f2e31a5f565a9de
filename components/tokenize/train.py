"""Training of a byte-level BPE tokenizer (Sennrich et al. 2016, on bytes as in GPT-2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from components.tokenize.chat import CHAT_TEMPLATE, END, PAD, ROLES, SPECIAL_TOKENS


def train(batches: Iterable[list[str]], *, vocabulary_size: int, min_frequency: int) -> PreTrainedTokenizerFast:
    """Learn the merges from batches of texts.

    Every text survives encoding and decoding unchanged: nothing is normalised, and all 256 bytes are in the
    vocabulary. Special tokens take the first ids.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(batches, trainer=trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES.values()),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def limited(batches: Iterable[list[str]], bytes_: int) -> Iterator[list[str]]:
    """Whole batches until ``bytes_`` bytes of text have been given."""
    given = 0
    for batch in batches:
        if given >= bytes_:
            return
        given += sum(len(text.encode()) for text in batch)
        yield batch

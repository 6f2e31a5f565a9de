"""A tokenizer trained on the corpus: byte-level BPE (Sennrich et al. 2016, on bytes as in GPT-2), and its files.

The files are those that transformers would write for it, without the seconds that importing transformers takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from components.tokenize.corpus import joined, text_bytes
from components.tokenize.encoding import Encoder

END = "<|endoftext|>"
PAD = "<|pad|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = [END, PAD, *ROLES.values()]

# No newlines between turns: a small vocabulary has none to spare. The generation markers show trainers which tokens
# are the assistant's own, the end token among them. Content is put in as it is: a tag in it is the caller's to refuse.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' -}}"
    "{%- generation -%}{{- message['content'] + eos_token -}}{%- endgeneration -%}"
    "{%- elif message['role'] in ('system', 'user') -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] -}}"
    "{%- else -%}"
    "{{- raise_exception('no such role: ' + message['role'] + '; there are system, user and assistant') -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_SIGNS = {byte: chr(byte) for byte in _PRINTABLE}
_SIGNS |= {byte: chr(0x100 + number) for number, byte in enumerate(b for b in range(256) if b not in _PRINTABLE)}
"""The character that stands for a byte in the vocabulary, as in GPT-2."""
_ALPHABET = sorted(_SIGNS.values())
_BETWEEN = b"\xff"  # no text has it: it is no UTF-8


def train(
    read: Callable[[], Iterable[pa.LargeStringArray]], *, vocabulary_size: int, min_frequency: int, scratch: Path
) -> Tokenizer:
    """Learn a byte-level BPE from texts.

    Every text survives encoding and decoding unchanged: nothing is normalised, and all 256 bytes are in the
    vocabulary. Special tokens take the first ids.

    Args:
        read: gives the texts, each time from the beginning.
        scratch: folder for a copy of the texts, one byte longer each.
    """
    tokenizer = _trained_fast(read, vocabulary_size=vocabulary_size, min_frequency=min_frequency, scratch=scratch)
    if tokenizer is None:
        tokenizer = _untrained(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            min_frequency=min_frequency,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=_ALPHABET,
            show_progress=False,
        )
        tokenizer.train_from_iterator((texts.to_pylist() for texts in read()), trainer=trainer)
    return finished(tokenizer)


def finished(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with its special tokens, and what transformers adds to it when it saves it."""
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    return tokenizer


def limited(batches: Iterable[pa.LargeStringArray], bytes_: int) -> Iterator[pa.LargeStringArray]:
    """Whole batches until ``bytes_`` bytes of text have been given."""
    given = 0
    for texts in batches:
        if given >= bytes_:
            return
        given += int(text_bytes(texts).sum())
        yield texts


def _untrained(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _trained_fast(
    read: Callable[[], Iterable[pa.LargeStringArray]], *, vocabulary_size: int, min_frequency: int, scratch: Path
) -> Tokenizer | None:
    """The tokenizer that `tokenizers` would train, by gigatoken: in a tenth of the time, the texts mapped from a file.

    ``None`` where it may differ: gigatoken knows no ``min_frequency``, and gives merges until there are enough.
    """
    try:
        from gigatoken import gigatoken_rs
    except ImportError:
        return None
    path = scratch / "training-texts"
    try:
        with open(path, "wb") as file:
            for texts in read():
                file.write(joined(texts, _BETWEEN))
        with _silenced():
            source = gigatoken_rs.TextFileSource([path], _BETWEEN)
            _, pairs = gigatoken_rs.train_bpe(source, vocabulary_size, SPECIAL_TOKENS)
    finally:
        path.unlink(missing_ok=True)
    merges = [(_spelled(left), _spelled(right)) for left, right in pairs]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *_ALPHABET])}
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    if len(vocabulary) != vocabulary_size:  # too little text, or one token made by two merges
        return None
    tokenizer = _untrained(models.BPE(vocab=vocabulary, merges=merges))
    encoder = Encoder(tokenizer, 0, fast=True)
    # No merge was of a pair that was rarer than the last one's, whose token nothing has merged any further.
    found = 0
    for texts in read():
        found += int((encoder.encode(texts)[0] == vocabulary_size - 1).sum())
        if found >= min_frequency:
            return tokenizer
    return None


def _spelled(token: bytes) -> str:
    return "".join(map(_SIGNS.__getitem__, token))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Nothing is written to standard output and error: gigatoken's training reports its progress there."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, number)
            os.close(saved)
        os.close(nowhere)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer trained here, with its special tokens and its chat template, as transformers would."""
    config = {
        "backend": "tokenizers",
        "bos_token": END,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "extra_special_tokens": list(ROLES.values()),
        "model_max_length": int(1e30),  # transformers' word for no limit
        "pad_token": PAD,
        "tokenizer_class": "TokenizersBackend",
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")

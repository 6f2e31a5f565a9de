"""A tokenizer trained on the corpus: byte-level BPE (Sennrich et al. 2016, on bytes as in GPT-2), and its files.

The files are those that transformers would write for it, without the seconds that importing transformers takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

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


def train(batches: Iterable[list[str]], *, vocabulary_size: int, min_frequency: int) -> Tokenizer:
    """Learn the merges from batches of texts.

    Every text survives encoding and decoding unchanged: nothing is normalised, and all 256 bytes are in the
    vocabulary. Special tokens take the first ids.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(batches, trainer=trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    return tokenizer


def limited(batches: Iterable[list[str]], bytes_: int) -> Iterator[list[str]]:
    """Whole batches until ``bytes_`` bytes of text have been given."""
    given = 0
    for batch in batches:
        if given >= bytes_:
            return
        given += sum(len(text.encode()) for text in batch)
        yield batch


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

"""The tokenizer: a byte-level BPE that is trained here, or an existing one, completed with what later stages need.

Byte-level BPE: Sennrich et al. 2016, on bytes as in GPT-2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from core.errors import InputProblem

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


def load_parent(folder: Path | None) -> PreTrainedTokenizerBase:
    """The tokenizer of the model in ``models/parent``, to which nothing is added.

    Raises:
        InputProblem: there is no such model, or its tokenizer cannot pack texts.
    """
    if folder is None:
        raise InputProblem("tokenize.tokenizer is parent, and models/parent is empty: name a model in pretrain.init")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputProblem(f"tokenize.tokenizer: the tokenizer in {folder} cannot be loaded: {error}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise InputProblem(f"tokenize.tokenizer: the model in {folder} has no tokenizer.json, which the packing needs")
    if tokenizer.eos_token is None and tokenizer.sep_token is None:
        raise InputProblem(
            f"tokenize.tokenizer: the tokenizer in {folder} has no token that ends a text (eos_token or sep_token)"
        )
    return tokenizer


def load(name: str) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The tokenizer called ``name`` (folder or hub id), and what had to be added to it, in words.

    Its own end token, padding token and chat template are kept where it has them.
    """
    if Path(name).exists() and not Path(name).is_dir():
        raise InputProblem(f"tokenize.tokenizer: {name} is a file; name the folder that holds tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise InputProblem(
            f"tokenize.tokenizer: cannot load a tokenizer from {name!r}, neither as a folder nor from the hub: {error}"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise InputProblem(f"tokenize.tokenizer: {name!r} has no tokenizer.json, which the packing needs")
    added = []
    if tokenizer.eos_token is None:
        tokenizer.add_special_tokens({"eos_token": END})
        added.append(f"the end token {END}")
    if tokenizer.bos_token is None:
        tokenizer.bos_token = tokenizer.eos_token
        added.append(f"{tokenizer.eos_token} as the token that begins a text")
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
        added.append(f"the padding token {PAD}")
    if tokenizer.chat_template is None:
        missing = [tag for tag in ROLES.values() if tag not in tokenizer.get_vocab()]
        tokenizer.add_tokens(missing, special_tokens=True)
        tokenizer.chat_template = CHAT_TEMPLATE
        added.append(f"a chat template with {', '.join(ROLES.values())}")
    return tokenizer, added

"""An existing tokenizer, completed with what the later stages need of it."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from components.tokenize.chat import CHAT_TEMPLATE, END, PAD, ROLES
from core.errors import InputProblem


def load(name: str) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The tokenizer called ``name`` (folder or hub id), and what had to be added to it, in words.

    Its own end token, padding token and chat template are kept where it has them.
    """
    if Path(name).exists() and not Path(name).is_dir():
        raise InputProblem(f"tokenize.tokenizer: {name} is a file; name the folder that holds tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True)
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

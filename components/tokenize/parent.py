"""The tokenizer of the model that ``pretrain.init`` names: its own files, byte for byte."""

from __future__ import annotations

import shutil
from pathlib import Path

FILES = ("tokenizer*.json", "tokenizer.model", "sentencepiece*.model", "spiece.model", "vocab.json", "vocab.txt",
         "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
         "chat_template.json", "config.json")  # fmt: skip
"""What a tokenizer is made of; ``config.json`` names its class where ``tokenizer_config.json`` does not."""


def copy_files(folder: Path, target: Path) -> None:
    """Copy a tokenizer's files as they are."""
    for file in sorted({file for pattern in FILES for file in folder.glob(pattern) if file.is_file()}):
        shutil.copyfile(file, target / file.name)

"""A tokenizer trained in a moment on a few texts, as transformers loads what the tokenize stage writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from components.tokenize import training


def trained(texts: list[str], *, vocabulary_size: int, min_frequency: int = 2) -> PreTrainedTokenizerBase:
    backend = training.train([texts], vocabulary_size=vocabulary_size, min_frequency=min_frequency)
    with tempfile.TemporaryDirectory() as folder:
        training.save(backend, Path(folder))
        return AutoTokenizer.from_pretrained(folder)

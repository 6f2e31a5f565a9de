"""A tokenizer trained in a moment on a few texts, as transformers loads what the tokenize stage writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from components.tokenize import training
from components.tokenize.corpus import array


def trained(texts: list[str], *, vocabulary_size: int, min_frequency: int = 2) -> PreTrainedTokenizerBase:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backend = training.train(
            lambda: [array(texts)], vocabulary_size=vocabulary_size, min_frequency=min_frequency, scratch=folder
        )
        training.save(backend, folder)
        return AutoTokenizer.from_pretrained(folder)

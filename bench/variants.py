"""What is measured: the model, the batch, and each trainer with its settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

# 12,681,280 parameters, the head not tied to the embedding.
SMALL: dict[str, Any] = {
    "vocab_size": 8192,
    "hidden_size": 320,
    "intermediate_size": 864,
    "num_hidden_layers": 6,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "tie_word_embeddings": False,
}
CONTEXT, BATCH = 256, 16

# Peak rates of AdamW that the sweep chooses from; 3e-3 is our default, and Muon's is scaled along.
LEARNING_RATES = (1e-3, 3e-3, 1e-2)
# Share of the steps, as by our default; then a cosine to a tenth of the peak.
WARMUP = 0.05


@dataclass(frozen=True)
class Variant:
    """A trainer with one choice of settings.

    Attributes:
        name: its name on the command line and in the results.
        title: its name on the page.
        trainer: which program; its environment's requirements file bears the same name.
        precision: of the peers' arithmetic; ``auto`` is the stage's own choice.
        settings: parameters of the pretrain stage that differ from its defaults (our side only).
    """

    name: str
    title: str
    trainer: Literal["stemma", "litgpt", "transformers"]
    precision: Literal["auto", "fp32", "bf16"]
    settings: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("stemma", "Stemma (defaults: Muon)", "stemma", "auto"),
        Variant("stemma-adamw", "Stemma, AdamW", "stemma", "auto", {"optimizer": "adamw"}),
        Variant("stemma-compiled", "Stemma, compiled", "stemma", "auto", {"compile": True}),
        Variant("litgpt-bf16", "litgpt, bf16-mixed", "litgpt", "bf16"),
        Variant("litgpt-fp32", "litgpt, 32-true", "litgpt", "fp32"),
        Variant("trainer-fp32", "HF Trainer (defaults: fp32)", "transformers", "fp32"),
        Variant("trainer-bf16", "HF Trainer, bf16", "transformers", "bf16"),
    )
}


def parameter_count(shape: dict[str, Any]) -> int:
    """Parameters of a Llama of this shape: embedding, blocks, last norm, and the head where it is not tied."""
    hidden, inner, heads = shape["hidden_size"], shape["intermediate_size"], shape["num_attention_heads"]
    keys = hidden * shape["num_key_value_heads"] // heads
    block = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner + 2 * hidden
    tables = shape["vocab_size"] * hidden * (1 if shape["tie_word_embeddings"] else 2)
    return tables + shape["num_hidden_layers"] * block + hidden

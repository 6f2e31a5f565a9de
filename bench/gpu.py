"""Model FLOPs utilisation on a GPU at 124M and 1.3B, in bfloat16, where a GPU is at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench import speed
from bench.cells import Bench
from bench.variants import SMALL, Variant, parameter_count

CONTEXT = 1024
# The bench's own vocabulary of 8,192 entries, so the blocks are a little larger than in models of these names.
MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "124M": ({**SMALL, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
              "num_attention_heads": 12, "num_key_value_heads": 12}, 32),
    "1.3B": ({**SMALL, "hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 24,
              "num_attention_heads": 16, "num_key_value_heads": 16}, 8),
}  # fmt: skip
TRAINERS = (
    Variant("stemma-gpu", "Stemma", "stemma", "bf16", {"precision": "bf16"}),
    Variant("stemma-gpu-compiled", "Stemma, compiled", "stemma", "bf16", {"precision": "bf16", "compile": True}),
    Variant("litgpt-gpu", "litgpt, bf16-mixed", "litgpt", "bf16"),
    Variant("plain-gpu", "plain transformers loop", "transformers", "bf16", {"program": "plain_loop.py"}),
)
# Dense bfloat16 FLOP/s by the makers' data sheets, by a part of the device's name.
PEAK = {"H100": 989e12, "H200": 989e12, "B200": 2250e12, "A100": 312e12, "L40S": 362e12, "A10": 125e12, "4090": 165e12}


def measure(bench: Bench, *, rounds: int, steps: int) -> dict[str, Any]:
    """Rows of tokens/s and MFU; or, under ``reason``, why there are none."""
    import torch

    if not torch.cuda.is_available():
        return {"reason": "no GPU at hand (torch.cuda.is_available() is false)"}
    device = torch.cuda.get_device_name()
    peak = next((flops for part, flops in PEAK.items() if part in device), None)
    if peak is None:
        return {"reason": f"the peak FLOP/s of {device} are not known: add them to bench/gpu.py"}
    rows = []
    for name, (shape, batch) in MODELS.items():
        sized = replace(bench, shape=shape, context=CONTEXT, batch=batch)
        options = {"cores": bench.results.machine["cores"], "rounds": rounds, "steps": steps, "slow_steps": steps}
        speed.measure(sized, TRAINERS, **options)
        for row in speed.summarise(sized, TRAINERS, **options):
            rows.append({**row, "model": name, "mfu": row["tokens_per_second"] * flops_per_token(shape) / peak})
    return {"device": device, "rows": rows}


def flops_per_token(shape: dict[str, Any]) -> float:
    """6 N + 12 L d T of a training step (Chowdhery et al. 2022, appendix B); N without the embedding's table."""
    looked_up = shape["vocab_size"] * shape["hidden_size"]
    attention = 12 * shape["num_hidden_layers"] * shape["hidden_size"] * CONTEXT
    return 6 * (parameter_count(shape) - looked_up) + attention

"""A plain loop around a transformers model, for GPUs: `python plain_loop.py ORDER.json` in the Trainer's venv."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from huggingface_trainer import PackedTokens
from marks import Marks
from transformers import LlamaConfig, LlamaForCausalLM


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(order["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=order["context"], **order["shape"])).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    data = PackedTokens(order["tokens"], order["dtype"], order["context"])
    loader = torch.utils.data.DataLoader(data, order["batch"], shuffle=True, drop_last=True)
    marks = Marks(order["marks"])
    marks.mark()
    batches = iter(loader)
    for _ in range(order["steps"]):
        if (batch := next(batches, None)) is None:
            batches = iter(loader)
            batch = next(batches)
        with torch.autocast(device, torch.bfloat16):
            loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        if device == "cuda":
            torch.cuda.synchronize()
        marks.mark()


if __name__ == "__main__":
    main()

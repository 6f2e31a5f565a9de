"""Bits a byte of a transformers folder on the held-out tokens: `python -m bench.trainers.score ORDER.json`.

The same code, tokens and float32 arithmetic for every trainer's weights.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from components.pretrain.data import TokenSplit
from components.pretrain.evaluation import evaluate
from components.pretrain.loss import CausalLoss


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = AutoModelForCausalLM.from_pretrained(
        Path(order["folder"]) / "models/base", dtype=torch.float32, trust_remote_code=False
    )
    held = TokenSplit(Path(order["data"]) / "data/tokens", "validation")
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    result = evaluate(
        accelerator, CausalLoss(model).to(accelerator.device), held, order["context"], tokens=None, batch=8
    )
    body = {"loss": result.loss, "bits_per_byte": result.bits_per_byte(held), "tokens": result.tokens}
    (Path(order["folder"]) / "score.json").write_text(json.dumps(body))


if __name__ == "__main__":
    main()

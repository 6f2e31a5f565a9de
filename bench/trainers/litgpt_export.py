"""litgpt's final weights as a transformers folder, by litgpt's own conversion: `python litgpt_export.py ORDER.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from litgpt.config import Config
from litgpt.scripts.convert_lit_checkpoint import copy_weights_llama
from safetensors.torch import save_file


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(order["folder"])
    final = folder / "litgpt/final"
    # Beside the weights it holds litgpt's loaders, which only a full unpickling reads; it was written a moment ago.
    state = torch.load(final / "lit_model.pth", weights_only=False)["model"]
    weights: dict[str, torch.Tensor] = {}
    copy_weights_llama(Config.from_file(final / "model_config.yaml"), weights, state)
    target = folder / "models/base"
    target.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, target / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "max_position_embeddings": order["context"],
        **order["shape"],
    }
    (target / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()

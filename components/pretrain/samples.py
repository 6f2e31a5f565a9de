"""Text that the model continues, to look at."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from components.pretrain.loss import CausalLoss


@torch.no_grad()
def sample(
    module: CausalLoss,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    *,
    tokens: int,
    seed: int,
    together: bool = False,
) -> list[str]:
    """One continuation of each prompt at temperature 0.8 among the 50 likeliest; the random state stays as it was.

    It has at most ``tokens`` tokens, and ends where the model's positions do.

    Args:
        together: all processes call this, since each has a part of the weights; they get the same texts.
    """
    training, model = module.training, module.model
    module.eval()
    texts = []
    room = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for prompt in prompts:
            ids = [tokenizer.eos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)][-(room - 1) :]
            inputs = torch.tensor([ids], device=model.device)
            output = module.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=True,
                temperature=0.8,
                top_k=50,
                max_new_tokens=min(tokens, room - len(ids)),
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                synced_gpus=together,
            )
            texts.append(tokenizer.decode(output[0, 1:], skip_special_tokens=True))
    module.train(training)
    return texts

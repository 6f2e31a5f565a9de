"""What a decoder can do: its validation loss beside the unigram model's, and text that it continues."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedTokenizerBase

from components.pretrain.data import IGNORED, TokenSplit, document_positions, evaluation_batches
from components.pretrain.loss import CausalLoss
from components.pretrain.parallelism import Parallelism


@dataclass(frozen=True)
class Held:
    """A loss on held-out tokens, in nats a token.

    Attributes:
        loss: mean over tokens.
        stderr: its standard error over windows of one context (tokens of a window are not independent).
        tokens: how many were predicted.
    """

    loss: float
    stderr: float
    tokens: int

    def bits_per_byte(self, split: TokenSplit) -> float:
        """The loss in bits a byte of text; the cost of the separators is counted in, their bytes are not."""
        return bits_per_byte(self.loss, split)


def bits_per_byte(loss: float, split: TokenSplit) -> float:
    """Nats a token as bits a byte, by the split's own tokens a byte."""
    return loss / math.log(2) * split.tokens / max(1, split.bytes)


@torch.no_grad()
def evaluate(
    accelerator: Accelerator,
    model: nn.Module,
    split: TokenSplit,
    context: int,
    *,
    tokens: int | None,
    batch: int = 32,
    documents: bool = False,
) -> Held:
    """Loss on the split, shared among the processes; every process gets the result.

    Args:
        model: a :class:`CausalLoss`, prepared by accelerate or not.
        tokens: about how many of the split's tokens to take; ``None``: all.
        batch: sequences at once.
        documents: attention ends at documents, as in a training that masks them.
    """
    module: CausalLoss = accelerator.unwrap_model(model)
    parallelism = Parallelism.of(accelerator)
    training = module.training
    module.eval()
    # Processes that share each product look at the same windows.
    # Sums over windows of: 1, loss, tokens, loss squared, loss times tokens, tokens squared.
    sums = torch.zeros(6, dtype=torch.float64)
    for inputs, labels in evaluation_batches(
        split,
        context,
        batch,
        tokens=tokens,
        rank=parallelism.rank // parallelism.tensor_parallel,
        processes=parallelism.averaging,
    ):
        inputs = inputs.to(accelerator.device)
        positions = document_positions(inputs, split.start) if documents else None
        with accelerator.autocast():
            losses = module.token_losses(inputs, labels.to(accelerator.device), positions)
        loss = losses.double().sum(dim=1).cpu()
        count = (labels != IGNORED).sum(dim=1).double()
        ones = (count > 0).double()
        sums += torch.stack([ones, loss, count, loss * loss, loss * count, count * count], dim=1).sum(dim=0)
    module.train(training)
    # float64 stays on the CPU where the device has none.
    sums = accelerator.reduce(sums.to(accelerator.device), "sum").cpu() / parallelism.tensor_parallel
    n, loss, count, loss2, product, count2 = sums.tolist()
    mean = loss / count
    squares = max(0.0, loss2 - 2 * mean * product + mean * mean * count2)
    stderr = math.sqrt(squares * n / (n - 1)) / count if n > 1 else math.inf
    return Held(mean, stderr, int(count))


def unigram(train: TokenSplit, held: TokenSplit) -> float:
    """Loss on ``held`` (nats a token) of the training tokens' frequencies, each counted once more (Laplace)."""
    counts = train.counts() + 1
    surprise = math.log(counts.sum()) - np.log(counts)
    return float(surprise @ held.counts() / held.tokens)


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

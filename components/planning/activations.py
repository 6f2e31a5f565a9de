"""Bytes that autograd keeps for the backward pass, by its own account on tensors that take no memory.

Formulas such as Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198) hold for one family and one set of fused
kernels. Here the real module runs forward on fake tensors with one and two blocks and one and two sequences, and every
tensor that is saved is counted; from these four the bytes of a block and of what stands around the blocks follow.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

#: Float32 copies of the scores over the vocabulary that live at once in the backward pass: the scores, their
#: log-softmax, and the gradients of both.
SCORE_COPIES = 4


@dataclass(frozen=True)
class Activations:
    """Bytes a sequence, for one context and precision.

    Attributes:
        context: tokens of a sequence.
        block: kept by each block.
        outside: kept before and after the blocks, the scores over the vocabulary left out.
        scores: those scores, with all copies that live at once.
        block_input: what gradient checkpointing keeps of a block: its input.
        blocks: how many blocks there are.
    """

    context: int
    block: int
    outside: int
    scores: int
    block_input: int
    blocks: int

    def kept(self, *, checkpointed: bool = False, divided: int = 1, whole: int = 0) -> int:
        """Bytes a sequence that the blocks and what stands around them keep.

        Args:
            checkpointed: only the blocks' inputs are kept, and one block at a time is computed again.
            divided: devices among which tensor parallelism divides a block.
            whole: bytes a sequence of a block that it does not divide.
        """
        whole = min(whole, self.block)
        block = whole + (self.block - whole) // divided
        if checkpointed:
            return self.blocks * self.block_input + block + self.outside
        return self.blocks * block + self.outside


def measure(config: PreTrainedConfig, context: int, *, mixed: bool = False) -> Activations:
    """What the decoder of ``config`` keeps, in float32 or (``mixed``) under bfloat16 autocast.

    Memory-efficient attention is taken for granted, which PyTorch picks wherever it can. The expert layers of a mixture
    run as grouped products with every token's experts.
    """
    config = copy.deepcopy(config)
    config.use_cache = False
    blocks = config.num_hidden_layers
    # Long contexts are measured at a shorter one: nothing that is kept grows faster than the context.
    short = min(context, 256)
    kept = {(layers, rows): _saved(config, layers, rows, short, mixed) for layers in (1, 2) for rows in (1, 2)}
    one, two = (kept[layers, 2] - kept[layers, 1] for layers in (1, 2))
    block = two - one
    scale = context / short
    return Activations(
        context=context,
        block=round(block * scale),
        outside=max(0, round((one - block) * scale)),
        scores=SCORE_COPIES * 4 * context * config.vocab_size,
        block_input=(2 if mixed else 4) * context * config.hidden_size,
        blocks=blocks,
    )


def _saved(config: PreTrainedConfig, layers: int, rows: int, context: int, mixed: bool) -> int:
    """Bytes saved by a forward pass over ``rows`` sequences with ``layers`` blocks, without the scores."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    # Grouped products exist in bfloat16 alone where there is no accelerator: there a mixture is measured in it.
    grouped = bool(getattr(config, "num_experts_per_tok", None))
    dtype = torch.bfloat16 if grouped else torch.float32
    with FakeTensorMode(allow_non_fake_inputs=True), torch.random.fork_rng():
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).train()
        ids = torch.zeros(rows, context, dtype=torch.long)
        own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
        seen: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                seen[storage._cdata] = storage
            return tensor

        autocast = torch.autocast("cpu", dtype=torch.bfloat16) if mixed and not grouped else contextlib.nullcontext()
        with autocast, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.base_model(input_ids=ids, use_cache=False)
    total = sum(storage.nbytes() for storage in seen.values())
    return total * 2 if grouped and not mixed else total

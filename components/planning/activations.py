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

from components.finetuning.parameters import AdapterParameters
from components.planning import adapters

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

#: Float32 copies of the scores over the vocabulary that live at once in the backward pass where all are made at once:
#: the scores, their log-softmax, and the gradients of both.
SCORE_COPIES = 4
#: In the pretrain stage's chunked loss (components/pretrain/loss.py): a chunk's scores and a temporary.
CHUNK_COPIES = 2
_FUSED = "causal_sdpa"


@dataclass(frozen=True)
class Activations:
    """Bytes a sequence, for one context and precision.

    Attributes:
        context: tokens of a sequence.
        block: kept by each block.
        outside: kept before and after the blocks, the scores over the vocabulary left out.
        scores: what the scores over the vocabulary add for a sequence, with all copies that live at once.
        chunk: what they take whatever the batch, where they are made in chunks.
        block_input: what gradient checkpointing keeps of a block: its input.
        blocks: how many blocks there are.
    """

    context: int
    block: int
    outside: int
    scores: int
    block_input: int
    blocks: int
    chunk: int = 0

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


def measure(
    config: PreTrainedConfig,
    context: int,
    *,
    mixed: bool = False,
    on_processor: bool = False,
    chunked: bool = False,
    adapter: AdapterParameters | None = None,
) -> Activations:
    """What the decoder of ``config`` keeps, in float32 or (``mixed``) under bfloat16 autocast.

    Attention is PyTorch's fused one without a mask, as trainings on whole sequences run it; a family that knows none
    keeps every score, and so it is counted. The experts of a mixture run as grouped products.

    Args:
        on_processor: where no fused attention knows dropout, so that a model with it keeps every score.
        chunked: the loss makes the scores over the vocabulary in chunks, as the pretrain stage's does.
        adapter: its weights alone learn; a base in 4 bits keeps what one in bfloat16 does.
    """
    config = copy.deepcopy(config)
    for name in ("attention_dropout", "attn_pdrop"):
        if not on_processor and getattr(config, name, None):
            setattr(config, name, 0.0)
    kept = {
        (blocks, rows): _saved(config, blocks, rows, context, mixed, adapter) for blocks in (1, 2) for rows in (1, 2)
    }
    one, two = (kept[blocks, 2] - kept[blocks, 1] for blocks in (1, 2))
    hidden = (2 if mixed else 4) * context * config.hidden_size
    scores, chunk = SCORE_COPIES * 4 * context * config.vocab_size, 0
    if chunked:
        # The gradients of the hidden states and of the output layer are made on the way forward.
        scores = hidden
        chunk = 4 * (CHUNK_COPIES * _chunk_logits(on_processor) + config.vocab_size * config.hidden_size)
    return Activations(
        context=context,
        block=two - one,
        outside=max(0, 2 * one - two),
        scores=scores,
        block_input=hidden,
        blocks=config.num_hidden_layers,
        chunk=chunk,
    )


def _chunk_logits(on_processor: bool) -> int:
    from components.pretrain.loss import CHUNK_LOGITS, CHUNK_LOGITS_ELSEWHERE

    return CHUNK_LOGITS["cpu"] if on_processor else CHUNK_LOGITS_ELSEWHERE


def _saved(
    config: PreTrainedConfig, blocks: int, rows: int, context: int, mixed: bool, adapter: AdapterParameters | None
) -> int:
    """Bytes saved by a forward pass over ``rows`` sequences through ``blocks`` blocks, without the scores."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    config = copy.deepcopy(config)
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:blocks]
    # Grouped products exist in bfloat16 alone where there is no accelerator: there a mixture is measured in it.
    grouped = bool(getattr(config, "num_experts_per_tok", None))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.random.fork_rng():
        in_bfloat16 = grouped or (mixed and adapter is not None)
        model = _model(config, torch.bfloat16 if in_bfloat16 else torch.float32).train()
        if adapter is not None:
            adapters.pretend(model, adapter)
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


def _model(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The module with fused attention and no mask (whether one is needed cannot be seen on fake tensors)."""
    from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register(_FUSED, sdpa_attention_forward)
    AttentionMaskInterface.register(_FUSED, lambda *_, **__: None)
    try:
        return AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=dtype, attn_implementation=_FUSED, trust_remote_code=False
        )
    except (ValueError, KeyError):  # the family has only attention of its own
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)

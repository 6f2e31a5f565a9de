"""How the processes of a training divide batches and weights among them, as the launch file of accelerate says.

Ranks are numbered as accelerate numbers them: those that share a matrix product are neighbours, then those that share
a sequence, then those that share the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import fsdp2_prepare_model
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, register_fsdp_forward_method
from torch.optim import Optimizer
from transformers import PreTrainedModel
from transformers.integrations.tensor_parallel import apply_tensor_parallelism, replace_layer_number_by_wildcard

from components.pretrain import zero3
from components.pretrain.host_copies import whole
from components.pretrain.loss import CausalLoss
from core.errors import InputProblem

#: Ways of dividing a product whose gradients have been found to be one process's. transformers sums those of a norm
#: between divided products (Qwen3's) again at every micro-batch.
EXACT_STYLES = {"colwise", "rowwise", "packed_colwise", "moe_tp_experts"}


@dataclass(frozen=True)
class Parallelism:
    """How the processes of a training are used.

    Attributes:
        rank: this process's number.
        world_size: how many there are.
        tensor_parallel: processes that share each matrix product and therefore see the same sequences, whole.
        context_parallel: processes that share each sequence, of which each takes a part.
        sharded: weights, gradients and moments are divided among the processes (FSDP2, ZeRO-3).
    """

    rank: int = 0
    world_size: int = 1
    tensor_parallel: int = 1
    context_parallel: int = 1
    sharded: bool = False

    @classmethod
    def of(cls, accelerator: Accelerator) -> Parallelism:
        """What accelerate was started with."""
        degrees = accelerator.parallelism_config
        return cls(
            accelerator.process_index,
            accelerator.num_processes,
            tensor_parallel=degrees.tp_size if degrees else 1,
            context_parallel=degrees.cp_size if degrees else 1,
            sharded=accelerator.is_fsdp2 or zero3.active(accelerator),
        )

    @property
    def model_parallel(self) -> int:
        """Processes that read the same sequences."""
        return self.tensor_parallel * self.context_parallel

    @property
    def data_parallel(self) -> int:
        """Into how many parts each batch is cut."""
        return self.world_size // self.model_parallel

    @property
    def data_parallel_rank(self) -> int:
        """The part of the batch that this process reads."""
        return self.rank // self.model_parallel

    @property
    def averaging(self) -> int:
        """Processes over which gradients are averaged: those that share a product have parts of one gradient."""
        return self.world_size // self.tensor_parallel


def prepare(
    accelerator: Accelerator,
    module: CausalLoss,
    build: Callable[[PreTrainedModel], Optimizer],
    *,
    seq_length: int,
    max_grad_norm: float | None,
) -> tuple[nn.Module, Optimizer, Optimizer]:
    """Divide the model as accelerate is configured to, with gradients summed in float32 in any case.

    Args:
        build: makes the optimizer of a model.
        seq_length: tokens of a sequence.
        max_grad_norm: largest norm of the gradient; only an engine that clips by itself has to know it.

    Returns:
        The module to train, the optimizer as ``build`` made it, and as accelerate wrapped it.

    Raises:
        InputProblem: the model cannot be divided so.
    """
    parallelism, model = Parallelism.of(accelerator), module.model
    if problems := unsuited(model, parallelism, seq_length):
        raise InputProblem(problems)
    if zero3.active(accelerator):
        return zero3.prepare(accelerator, module, build, max_grad_norm=max_grad_norm)
    if parallelism.sharded:
        # Weights are gathered in the precision of the products: under autocast alone, the backward pass would keep a
        # bfloat16 copy of the whole model. accelerate's own policy would also sum gradients and return the loss in it.
        dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(dtype, reduce_dtype=torch.float32)
    if parallelism.tensor_parallel > 1:
        # accelerate's own preparation of divided products needs a class that transformers no longer has. Dividing
        # is transformers' work anyway, and sharding the result is accelerate's.
        apply_tensor_parallelism(model, accelerator.torch_device_mesh["tp"], products(model))
        module = fsdp2_prepare_model(accelerator, module)
        optimizer = wrapped = build(model)
    else:
        optimizer = build(model)
        module, wrapped = accelerator.prepare(module, optimizer)
    for method in ("token_losses", "generate"):
        register_fsdp_forward_method(module, method)  # changes nothing where the module is not sharded
    return module, optimizer, wrapped


def products(model: PreTrainedModel) -> dict[str, str]:
    """How each module and parameter of the blocks is divided, by transformers' plan for the architecture.

    The embedding and the head stay whole: the loss is computed from them by chunks.
    """
    ends = {model.get_input_embeddings(), model.get_output_embeddings()}
    found = {}
    for name, module in model.named_modules():
        if module in ends:
            continue
        style = model.tp_plan.get(replace_layer_number_by_wildcard(name))
        for parameter, _ in module.named_parameters(recurse=False):
            own = model.tp_plan.get(replace_layer_number_by_wildcard(f"{name}.{parameter}"), style)
            if own is not None:
                found[f"{name}.{parameter}"] = own
        if style is not None:
            found[name] = style
    return found


def unsuited(model: PreTrainedModel, parallelism: Parallelism, seq_length: int) -> list[str]:
    """Why the model cannot be divided so."""
    config, kind, found = model.config, model.config.model_type, []
    if parallelism.tensor_parallel > 1:
        where = "pretrain.sharding: tensor_parallel"
        styles = set(products(model).values())
        if not styles:
            found.append(f"{where}: transformers has no plan to divide the products of a {kind}; fsdp2 divides any")
        elif styles - EXACT_STYLES:
            odd = ", ".join(sorted(styles - EXACT_STYLES))
            found.append(
                f"{where}: transformers' plan for a {kind} ({odd}) does not give one process's gradients; use fsdp2"
            )
        heads = {name: getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads")}
        found += [
            f"{where}: {name} {count} is not divisible by {parallelism.tensor_parallel}, the processes of a product"
            for name, count in heads.items()
            if count and count % parallelism.tensor_parallel
        ]
    if parallelism.context_parallel > 1:
        where = "pretrain.sharding: context_parallel"
        kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
        if kinds or getattr(config, "sliding_window", None):
            found.append(f"{where}: a {kind} looks at part of the sequence alone, which ring attention cannot")
        elif not any(name.endswith("self_attn") for name, _ in model.named_modules()):
            found.append(f"{where}: accelerate does not know the attention of a {kind}; use fsdp2")
        if seq_length % (2 * parallelism.context_parallel):
            multiple = 2 * parallelism.context_parallel
            found.append(f"{where}: seq_length must be a multiple of {multiple}, and it is {seq_length}")
    return found


def bound_to_processes(model: PreTrainedModel) -> list[str]:
    """Why another number of processes would train the model to other sums, not merely rounded otherwise."""
    found = []
    noise = [
        f"{name}.{setting}" if name else setting
        for name, module in model.named_modules()
        for setting, value in vars(module).items()
        if isinstance(value, float) and value > 0
        if "drop" in setting or "jitter" in setting or (isinstance(module, nn.Dropout) and setting == "p")
    ]
    if noise:
        found.append(f"each process draws dropout or noise of its own ({noise[0]} of the model): set it to 0")
    if getattr(model.config, "output_router_logits", False):
        found.append("the load-balancing loss is one of each micro-batch: make output_router_logits false")
    return found


@contextmanager
def shared_sequences(
    accelerator: Accelerator, inputs: Tensor, labels: Tensor, positions: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """This process's part of each sequence, where processes share them; forward and backward pass belong inside.

    Yields:
        inputs, labels and positions, [sequences, context / processes that share them].
    """
    if Parallelism.of(accelerator).context_parallel == 1:
        yield inputs, labels, positions
        return
    if positions is None:
        # A part has to know where in the sequence it lies.
        positions = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    buffers = [tensor.clone() for tensor in (inputs, labels, positions)]
    with accelerator.maybe_context_parallel(
        buffers=buffers, buffer_seq_dims=[1] * len(buffers), no_restore_buffers=set(buffers)
    ):
        yield tuple(buffers)


def gathered(accelerator: Accelerator, model: PreTrainedModel) -> dict[str, Tensor] | None:
    """The whole weights of a sharded model on the main process's host; nothing where it is not sharded, or elsewhere.

    All processes call it together.
    """
    if not Parallelism.of(accelerator).sharded:
        return None
    found, by_tensor = {}, {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in by_tensor:
            complete = whole(zero3.part(tensor)).detach()
            by_tensor[id(tensor)] = complete.cpu() if accelerator.is_main_process else None
        found[name] = by_tensor[id(tensor)]
    return found if accelerator.is_main_process else None

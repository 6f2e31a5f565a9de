"""DeepSpeed's ZeRO stage 3: weights, gradients and moments lie in flat parts that its engine steps.

The engine gathers a layer's weights when it is needed, sums gradients over micro-batches and processes, clips them and
runs the optimizer on its parts. When a step ends, in what precision is computed and what a checkpoint holds is decided
here as for any other training: float32 throughout, with products by autocast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from components.pretrain.loss import CausalLoss


class Part:
    """A weight, or a moment of it, of which each process has a part; all of them call each method together.

    Args:
        parameter: one that DeepSpeed has divided.
        key: of the optimizer's state; ``None``: the weight itself.
    """

    def __init__(self, parameter: nn.Parameter, key: str | None = None):
        self._parameter, self._key = parameter, key

    def full_tensor(self) -> Tensor:
        """All of it, a copy."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if self._key is None:
            return safe_get_full_fp32_param(self._parameter)
        return safe_get_full_optimizer_state(self._parameter, self._key)

    def copy_(self, complete: Tensor) -> None:
        """Fill it from ``complete``, of which every process has a copy."""
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        # Parts are equally long, so that the last ones may end in padding.
        mine = complete.new_zeros(self._parameter.ds_tensor.numel())
        start = torch.distributed.get_rank() * len(mine)
        values = complete.flatten()[start : start + len(mine)]
        mine[: len(values)] = values
        if self._key is not None:
            safe_set_local_optimizer_state(self._parameter, mine, self._key)
            return
        # The part that the optimizer steps may be another copy than the one that weights are gathered from.
        safe_set_local_fp32_param(self._parameter, mine)
        self._parameter.ds_tensor.data.copy_(mine)
        if self._parameter.numel():  # a small one stays gathered between the steps
            self._parameter.data.copy_(complete)


def active(accelerator: Accelerator) -> bool:
    """Whether accelerate was started with DeepSpeed."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def divided(tensor: Tensor) -> bool:
    """Whether DeepSpeed has divided it."""
    return hasattr(tensor, "ds_id")


def part(tensor: Tensor) -> Tensor | Part:
    """What gathers and fills a weight that DeepSpeed has divided; any other tensor itself."""
    return Part(tensor) if divided(tensor) else tensor


def prepare(
    accelerator: Accelerator,
    module: CausalLoss,
    build: Callable[[PreTrainedModel], Optimizer],
    *,
    max_grad_norm: float | None,
) -> tuple[nn.Module, Optimizer, Optimizer]:
    """Divide the model and hand it to DeepSpeed's engine.

    Args:
        build: makes the optimizer of a model that is still whole.
        max_grad_norm: largest norm of the gradient; ``None`` does not clip.

    Returns:
        The engine, the optimizer as ``build`` made it, and as accelerate wrapped it.
    """
    import deepspeed

    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None
    config = accelerator.deepspeed_plugin.deepspeed_config
    config.update(_settings(accelerator, module, max_grad_norm))
    deepspeed.init_distributed(torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False)
    optimizer = build(module.model)
    _compute_as_called(module, accelerator.device, dtype)
    for buffer in module.buffers():
        buffer.data = buffer.data.to(accelerator.device)
    # Parameter by parameter: no device has to hold all of the model.
    deepspeed.zero.Init(module=module, config_dict_or_path=config)
    for parameter in module.head_parameters():
        deepspeed.zero.register_external_parameter(module, parameter)
    engine, wrapped = accelerator.prepare(module, optimizer)
    accelerator.deepspeed_engine_wrapped = _Accumulating(engine)
    return engine, optimizer, wrapped


def step(engine: Any) -> float:
    """Clip the summed gradients, step unless they are not finite, and clear them; the norm they had."""
    engine.step()
    return float(engine.get_global_grad_norm())


def state(parameter: nn.Parameter) -> dict[str, Part | Tensor]:
    """The optimizer's state of a divided parameter."""
    flat, states = _flat(parameter)
    return {
        key: Part(parameter, key) if value.shape == flat.shape else value for key, value in states.get(flat, {}).items()
    }


def restore(parameter: nn.Parameter, key: str, value: Tensor) -> None:
    """Put a tensor of :func:`state` back, of which every process has the whole."""
    flat, states = _flat(parameter)
    if value.shape != parameter.ds_shape:
        states[flat][key] = value
        return
    if key not in states[flat]:
        states[flat][key] = torch.zeros_like(flat, requires_grad=False)
    Part(parameter, key).copy_(value)


class _Accumulating:
    """The engine as accelerate calls it; accelerate's own wrapper steps in a backward pass, whatever the loss."""

    def __init__(self, engine: Any):
        self.engine = engine

    def backward(self, loss: Tensor, sync_gradients: bool) -> None:
        self.engine.backward(loss)


def _settings(accelerator: Accelerator, module: CausalLoss, max_grad_norm: float | None) -> dict[str, Any]:
    """DeepSpeed's configuration: the launch file's, with what the parameters say instead of it."""
    config = accelerator.deepspeed_plugin.deepspeed_config
    width = module.config.get_text_config().hidden_size
    return {
        "bf16": {"enabled": False},  # it would step weights in bfloat16; see _compute_as_called
        "gradient_clipping": max_grad_norm or 0.0,
        # Gradients are summed until a step is requested. The objective is weighed already, so that these count nothing.
        "managed_gradient_accumulation": False,
        "gradient_accumulation_steps": 1,
        "train_micro_batch_size_per_gpu": 1,
        "train_batch_size": accelerator.num_processes,
        "zero_optimization": config["zero_optimization"]
        # What accelerate would choose by itself, once the model is divided; vectors stay gathered between the steps.
        | {
            "reduce_bucket_size": width * width,
            "stage3_prefetch_bucket_size": int(0.9 * width * width),
            "stage3_param_persistence_threshold": 10 * width,
        },
    }


def _compute_as_called(module: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
    """Have every method of ``module`` gather weights, and training and evaluation compute products in ``dtype``.

    DeepSpeed gathers when a module is called, and ends any autocast around its engine.
    """
    methods = {name: getattr(module, name) for name in ("forward", "token_losses", "generate")}

    def forward(*arguments: Any, method: str = "forward", **options: Any) -> Any:
        products = dtype if method != "generate" else None
        with torch.autocast(device.type, dtype=products, enabled=products is not None):
            return methods[method](*arguments, **options)

    module.forward = forward
    for name in ("token_losses", "generate"):
        setattr(module, name, functools.partial(module, method=name))


def _flat(parameter: nn.Parameter) -> tuple[Tensor, dict[Tensor, dict[str, Tensor]]]:
    """The flat tensor that this process's part of a parameter lies in, and the optimizer's states of such tensors."""
    keeper = parameter._z3_optimizer
    group, _, _ = keeper.grad_position[keeper.get_param_id(parameter)]
    return keeper.fp32_partitioned_groups_flat[group], keeper.optimizer.state

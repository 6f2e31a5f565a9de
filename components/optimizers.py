"""Optimizers of every training stage: AdamW alone, or Muon on hidden matrices with AdamW on the rest.

Muon: K. Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/ . AdamW: Loshchilov and Hutter 2019.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from components.training import Algorithm, bf16_units


def build(
    model: nn.Module,
    algorithm: Algorithm = "muon",
    *,
    learning_rate: float = 3e-3,
    muon_learning_rate: float = 0.02,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    bf16: bool = False,
) -> torch.optim.Optimizer:
    """One optimizer over the model's trainable parameters.

    Args:
        model: a transformers model; its backbone's two-dimensional weights are what Muon takes. Embeddings, heads,
            norms and biases are always AdamW's.
        algorithm: ``muon``, ``adamw``, or AdamW with moments of 8 bits (Dettmers et al. 2022, arXiv:2110.02861).
        learning_rate: AdamW's rate.
        muon_learning_rate: Muon's rate; about the spectral norm of a step's change to a matrix.
        weight_decay: decoupled decay, multiplied by the group's rate; weights of one dimension are not decayed.
        betas: AdamW's decay rates of the two moments.
        bf16: whether the training multiplies in bfloat16; Muon then does so too, where a processor has units for it.
    """
    hidden, matrices, vectors = split_parameters(model)
    if algorithm != "muon":
        matrices, hidden = hidden + matrices, []
    decayed = ((matrices, weight_decay), (vectors, 0.0))
    # Parameters that are divided in different ways cannot be stepped in one call.
    groups = [{"params": alike, "weight_decay": decay} for members, decay in decayed for alike in _by_mesh(members)]
    if algorithm.endswith("_8bit"):
        from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

        kind = PagedAdamW8bit if algorithm.startswith("paged") else AdamW8bit
        return kind(groups, lr=learning_rate, betas=betas)
    adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True) if groups else None
    muon = Muon(hidden, bf16=bf16, lr=muon_learning_rate, weight_decay=weight_decay) if hidden else None
    if adamw is None and muon is None:
        raise ValueError("the model has no trainable parameters")
    if adamw is None or muon is None:
        return adamw or muon
    return Combined(muon, adamw)


def peaks(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Peak rates by the names of their curves: ``learning_rate``, and ``learning_rate/adamw`` where that is Muon's.

    The rate that a scheduler calls initial, else the present one.
    """
    first, *others = dict.fromkeys(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
    return {"learning_rate": first, **({"learning_rate/adamw": others[0]} if others else {})}


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as hidden matrices, other matrices (embeddings, heads, stacked experts), and vectors."""
    apart = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    backbone = getattr(model, "base_model", model)
    inside = {id(parameter) for parameter in backbone.parameters()}
    hidden, matrices, vectors = [], [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif parameter.ndim == 2 and id(parameter) in inside and id(parameter) not in apart:
            hidden.append(parameter)
        else:
            matrices.append(parameter)
    return hidden, matrices, vectors


class Muon(torch.optim.Muon):
    """``torch.optim.Muon`` whose orthogonalisation suits small matrices and processors without bfloat16 units.

    torch's works on one matrix at a time in bfloat16, which a processor without such units emulates: 24 to 66 ms for
    a 128 x 128 to 128 x 384 matrix, more than the rest of a step of a small model. This one stacks the matrices of
    one shape, and on a CPU works in float32 unless ``bf16`` is set and there are units (2.2 times as fast). Groups,
    options and state are torch's.

    Processes that hold the same matrices (DDP) orthogonalise a share of them each and gather the others' results. Of
    sharded matrices (FSDP2) the momentum stays sharded; each is gathered for one process, which orthogonalises it while
    the others do theirs, and sends the result to all.
    """

    def __init__(self, parameters: list[nn.Parameter], *, bf16: bool = False, **options: Any):
        super().__init__(parameters, **options)
        cpu = parameters[0].device.type == "cpu"
        self._dtype = torch.float32 if cpu and not (bf16 and bf16_units()) else torch.bfloat16

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        for group in self.param_groups:
            replicated = []
            for parameters in _by_shape(group["params"]):
                if isinstance(parameters[0], DTensor):
                    self._step_sharded(parameters, group)
                elif processes == 1:
                    self._step_stack(parameters, group)
                else:
                    replicated.append(parameters)
            if replicated:
                self._step_replicated(replicated, group, processes)
        return loss

    def _step_stack(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        updates = [self._update(parameter, group) for parameter in parameters]
        directions = self._orthogonalise(torch.stack(updates), group)
        for parameter, direction in zip(parameters, directions, strict=True):
            _move(parameter, direction, group)

    def _step_replicated(self, alike: list[list[nn.Parameter]], group: dict[str, Any], processes: int) -> None:
        """Step matrices of which every process has all, listed by shape."""
        own = distributed.get_rank()
        shares = [-(-len(parameters) // processes) for parameters in alike]  # matrices of a shape for each process
        lengths = [share * parameters[0].numel() for share, parameters in zip(shares, alike, strict=True)]
        gathered = alike[0][0].new_zeros(processes, sum(lengths), dtype=self._dtype)
        mine = gathered[own].split(lengths)
        for parameters, share, part in zip(alike, shares, mine, strict=True):
            updates = [self._update(parameter, group) for parameter in parameters]
            if updates := updates[own * share : (own + 1) * share]:
                found = self._orthogonalise(torch.stack(updates), group).flatten()
                part[: len(found)] = found
        # As bytes: not every backend gathers every type.
        distributed.all_gather_into_tensor(
            gathered.flatten().view(torch.uint8), gathered[own].clone().view(torch.uint8)
        )
        for parameters, part in zip(alike, gathered.split(lengths, dim=1), strict=True):
            directions = part.reshape(-1, *parameters[0].shape)
            for parameter, direction in zip(parameters, directions, strict=False):  # behind them there may be zeros
                _move(parameter, direction, group)

    def _step_sharded(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        own, processes = distributed.get_rank(), distributed.get_world_size()
        for start in range(0, len(parameters), processes):
            round_ = parameters[start : start + processes]
            for number, parameter in enumerate(round_):
                update = self._update(parameter, group).full_tensor()
                if number == own:
                    mine = self._orthogonalise(update[None], group)[0]
            for number, parameter in enumerate(round_):
                direction = mine.contiguous() if number == own else torch.empty_like(update, dtype=self._dtype)
                distributed.broadcast(direction, number)
                part = distribute_tensor(direction, parameter.device_mesh, parameter.placements, src_data_rank=None)
                _move(parameter, part, group)

    def _orthogonalise(self, stack: Tensor, group: dict[str, Any]) -> Tensor:
        return orthogonalise(stack.to(self._dtype), group["ns_coefficients"], group["ns_steps"], group["eps"])

    def _update(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        state, momentum = self.state[parameter], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(buffer, momentum) if group["nesterov"] else buffer


def _move(parameter: nn.Parameter, direction: Tensor, group: dict[str, Any]) -> None:
    rows, columns = parameter.shape
    if group["adjust_lr_fn"] == "match_rms_adamw":
        rate = group["lr"] * 0.2 * max(rows, columns) ** 0.5
    else:
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(direction.to(parameter.dtype), alpha=-rate)


def orthogonalise(
    stack: Tensor,
    coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    steps: int = 5,
    eps: float = 1e-7,
) -> Tensor:
    """Bring the singular values of every matrix of ``stack`` [n, rows, columns] near 1 by Newton-Schulz iteration."""
    a, b, c = coefficients
    x = stack
    tall = x.size(1) > x.size(2)
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Combined(torch.optim.Optimizer):
    """Several optimizers over disjoint parameters as one: schedulers, trainers and checkpoints see a single one.

    The group dictionaries and the state are shared with the parts, so that a schedule that sets a rate here sets it
    there.
    """

    def __init__(self, *parts: torch.optim.Optimizer):
        self._parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        start = 0
        for part in self._parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[start : start + count]
            part.state = self.state
            start += count


def _by_mesh(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    meshes: dict[Any, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        meshes[parameter.device_mesh if isinstance(parameter, DTensor) else None].append(parameter)
    return list(meshes.values())


def _by_shape(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            shapes[parameter.shape].append(parameter)
    return list(shapes.values())

"""The plan of one training: parameters, compute, memory, time, money, energy and disk, as one flat answer.

Every quantity is a number; the key names its unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.planning import flops, memory
from components.planning.activations import Activations
from components.planning.adapters import AdapterSizes
from components.planning.decoder import Decoder
from components.planning.devices import Device, Precision

#: Share of the published peak that well-tuned trainings reach: 0.38 to 0.43 for Llama 3 405B (arXiv:2407.21783).
MFU = 0.4
#: Power of a data centre over that of its machines; 1.1 is what Meta states for Llama (arXiv:2302.13971, section 6).
PUE = 1.1
#: Share of the design power that devices draw while they train; 1 is an upper bound.
UTILISATION = 1.0
#: Checkpoints on disk at once: the last two, and the one being written.
CHECKPOINTS = 3


@dataclass(frozen=True)
class Training:
    """What is to be trained, on what.

    Attributes:
        name: what to call it: a preset, or a stage.
        passes: FLOPs of a token in units of a full training step's: below 1 where part of the model does not learn,
            above where a second model looks on.
        steps: optimizer steps; None where nothing says.
        allocator: bytes that a processor's heap holds beyond what is in use.
        frozen: parameters that lie beside the model and do not learn.
        adapter: what learns in place of the model's own parameters.
        stored_tokens: tokens that lie on disk; fewer than ``tokens`` where they are seen several times.
        capacity: bytes of memory of a device.
        rate: FLOPs a second of one device as measured, which goes before ``mfu``.
        measured: where ``rate`` comes from, in words.
        calibration: measurements of the probe behind ``rate``, for programs.
    """

    name: str
    decoder: Decoder
    activations: Activations
    tokens: int
    device_name: str
    device: Device
    count: int
    precision: Precision
    optimizer: str
    capacity: float
    micro_batch: int | None = None
    sharding: memory.Sharding | None = None
    checkpointed: bool = False
    passes: float = 1.0
    steps: int | None = None
    frozen: int = 0
    adapter: AdapterSizes | None = None
    allocator: int = 0
    checkpoints: int = CHECKPOINTS
    stored_tokens: int | None = None
    pretraining: bool = True
    mfu: float = MFU
    rate: float | None = None
    measured: str | None = None
    calibration: Mapping[str, Any] | None = None
    goodput: float = 1.0
    pue: float = PUE
    utilisation: float = UTILISATION
    watts: float | None = None
    price: float | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def estimate(training: Training) -> dict[str, Any]:
    """The plan, with every assumption it rests on."""
    decoder, context = training.decoder, training.activations.context
    shardings = _memory(training)
    chosen = next(each for each in shardings if each["chosen"])
    total = flops.training(decoder, context, training.tokens) * training.passes
    time = _time(training, total)
    return {
        "name": training.name,
        "model": {
            "model_type": decoder.model_type,
            "parameters": decoder.total,
            "active_parameters": decoder.active,
            "trained_parameters": training.adapter.learnable if training.adapter else decoder.total,
            "parameters_by_part": {part: count for part, count in decoder.parameters.items() if count},
        },
        "compute": {
            "tokens": training.tokens,
            "context_tokens": context,
            "flops_6nd": flops.training_flops(decoder.active, training.tokens) * training.passes,
            "flops_exact": total,
            "attention_flops_share": flops.attention_per_token(decoder, context)
            / flops.forward_per_token(decoder, context),
        },
        "scaling": _scaling(training) if training.pretraining else None,
        "device": {
            "name": training.device_name,
            "title": training.device.title,
            "count": training.count,
            "memory_bytes": training.capacity,
            "precision": training.precision,
            "source": training.device.source,
        },
        "memory": shardings,
        "sharding": chosen["sharding"],
        "micro_batch_sequences": chosen["micro_batch_sequences"],
        "fits": chosen["fits"],
        "time": time,
        "calibration": training.calibration,
        "cost": _cost(training, time["device_hours"]),
        "disk": _disk(training),
        "assumptions": _assumptions(training),
        "notes": list(training.notes),
    }


def _scaling(training: Training) -> dict[str, Any]:
    parameters, tokens = training.decoder.active, training.tokens
    best_parameters = best_tokens = above = None
    if parameters >= flops.SMALLEST_FITTED:
        best_parameters, best_tokens = flops.LOSS.optimal(flops.training_flops(training.decoder.active, tokens))
        above = flops.LOSS.loss(parameters, tokens) - flops.LOSS.loss(best_parameters, best_tokens)
    return {
        "tokens_per_parameter": tokens / parameters,
        "compute_optimal_tokens_by_20_per_parameter": flops.tokens_by_rule(parameters),
        "compute_optimal_tokens_by_hoffmann": flops.compute_optimal_tokens(parameters),
        "remark": flops.remark(parameters, tokens),
        "same_compute_optimal_parameters": best_parameters,
        "same_compute_optimal_tokens": best_tokens,
        "loss_above_optimum_nats_per_token": above,
    }


def _memory(training: Training) -> list[dict[str, Any]]:
    """Each way of dividing. The wanted one is chosen; else the first that fits, or the one that comes nearest."""
    capacity = training.capacity * (1 - memory.RESERVED)
    options: dict[str, Any] = {
        "count": training.count,
        "micro_batch": training.micro_batch or 1,
        "precision": training.precision,
        "optimizer": training.optimizer,
        "checkpointed": training.checkpointed,
        "frozen": training.frozen,
        "adapter": training.adapter,
        "allocator": training.allocator,
    }
    # The processes of one machine's processor share its memory: dividing what each holds is for devices of their own.
    shardings: tuple[memory.Sharding, ...] = ("ddp", "zero3") if training.adapter else memory.SHARDINGS
    if training.device.is_processor:
        shardings = ("ddp",)
    found = list(memory.under(shardings, training.decoder, training.activations, capacity=capacity, **options))
    names = [each.sharding for each in found]
    if training.sharding in names:
        wanted = names.index(training.sharding)
    else:
        fitting = [index for index, each in enumerate(found) if each.total <= capacity]
        wanted = fitting[0] if fitting else min(range(len(found)), key=lambda index: found[index].total)
    return [
        {
            "sharding": each.sharding,
            "tensor_devices": each.tensor,
            "pipeline_stages": each.pipeline,
            "weights_bytes": each.weights,
            "gradients_bytes": each.gradients,
            "optimizer_bytes": each.optimizer,
            "activations_bytes": each.activations,
            "scores_bytes": each.scores,
            "allocator_bytes": each.allocator,
            "total_bytes": each.total,
            "usable_bytes": capacity,
            "fits": each.total <= capacity,
            "micro_batch_sequences": options["micro_batch"],
            "largest_micro_batch_sequences": each.largest_micro_batch(capacity),
            "chosen": index == wanted,
        }
        for index, each in enumerate(found)
    ]


def _time(training: Training, total: float) -> dict[str, Any]:
    """Hours from FLOPs. What checkpointing repeats takes time although it is not counted among the model's FLOPs."""
    rate = training.rate or training.device.peak[training.precision] * training.mfu
    repeated = flops.TRAINING_CHECKPOINTED / flops.TRAINING if training.checkpointed and training.rate is None else 1
    seconds = total * repeated / (training.count * rate * training.goodput)
    return {
        "seconds": seconds,
        "hours": seconds / 3600,
        "device_hours": seconds / 3600 * training.count,
        "tokens_per_second": training.tokens / seconds,
        "step_seconds": seconds / training.steps if training.steps else None,
        "device_flops_per_second": rate,
    }


def _cost(training: Training, device_hours: float) -> dict[str, Any]:
    watts = training.watts or training.device.power
    energy = device_hours * watts * training.utilisation * training.pue / 1000 if watts else None
    return {
        "price_per_device_hour": training.price,
        "money": None if training.price is None else device_hours * training.price,
        "device_watts": watts or None,
        "energy_kilowatt_hours": energy,
    }


def _disk(training: Training) -> dict[str, Any]:
    """Bytes on disk: packed tokens, checkpoints (what learns and its moments, in float32), the model."""
    width = 2 if training.decoder.vocabulary <= 1 << 16 else 4
    weights = memory.FLOAT32 * training.decoder.total
    checkpoint = weights + memory.optimizer_bytes(training.decoder, training.optimizer)
    if training.adapter is not None:
        learnable = training.adapter.learnable
        checkpoint = memory.FLOAT32 * learnable + memory.moment_bytes(learnable, training.optimizer)
    data = width * (training.stored_tokens or training.tokens) if training.pretraining else 0
    return {
        "data_bytes": data,
        "checkpoint_bytes": checkpoint,
        "checkpoints_bytes": training.checkpoints * checkpoint,
        "model_bytes": weights,
        "total_bytes": data + training.checkpoints * checkpoint + weights,
    }


def _assumptions(training: Training) -> list[dict[str, Any]]:
    """What the plan rests on: name, value, what it means, and the option that overrides it."""
    if training.rate:
        lines = [_assumption("speed_flops_per_second", training.rate, f"of each process; {training.measured}")]
    else:
        peak = training.device.peak[training.precision] / 1e12
        what = f"of the published peak of {peak:,.0f} TFLOPs/s in {training.precision}"
        lines = [_assumption("mfu", training.mfu, what, "--mfu")]
    lines += [
        _assumption("goodput", training.goodput, "of the time; the rest goes to faults and restarts", "--goodput"),
        _assumption("memory_kept_free", memory.RESERVED, "of each device, for driver, communication, fragmentation"),
        _assumption("checkpoints", training.checkpoints, "on disk at once: those kept, and the one being written"),
    ]
    if watts := training.watts or training.device.power:
        lines += [
            _assumption("utilisation", training.utilisation, f"of {watts:g} W; 1 is an upper bound", "--utilisation"),
            _assumption("pue", training.pue, "times the devices' power is what the site draws", "--pue"),
        ]
    return lines


def _assumption(name: str, value: float, meaning: str, option: str | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "meaning": meaning, "option": option}

"""Memory of a training on each device, by category, under each way of dividing it.

Weights, gradients and moments are kept in float32 whatever the precision of the products: bfloat16 means autocast,
which adds a bfloat16 copy of the weights in use. The divisions: Rajbhandari et al. 2020 (ZeRO,
https://arxiv.org/abs/1910.02054) for ddp to zero3 (which FSDP2 is too), Shoeybi et al. 2019 (Megatron-LM,
https://arxiv.org/abs/1909.08053) for tensor parallelism (tp), and Narayanan et al. 2021
(https://arxiv.org/abs/2104.04473) for 3d: tensor parallelism within a machine, times stages of a pipeline, times
replicas that divide the optimizer's state among them.

The sum is that of the moment in which all of it lives. The widespread "24 GB for 1B parameters in float32" counts 4
bytes a parameter of weights, 4 of gradients, 8 of Adam's moments, and 8 more of activations and temporary memory; the
first 16 are exact here, the last 8 stand for something that depends on batch and context and is counted instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from components.planning.activations import Activations
from components.planning.adapters import NF4, AdapterSizes
from components.planning.decoder import Decoder
from components.planning.devices import Precision

Sharding = Literal["ddp", "zero1", "zero2", "zero3", "tp", "3d"]
SHARDINGS: tuple[Sharding, ...] = ("ddp", "zero1", "zero2", "zero3", "tp", "3d")
ALIASES: dict[str, Sharding] = {"fsdp2": "zero3", "fsdp": "zero3", "none": "ddp"}
#: Tensor parallelism stays within the devices of one machine, which have fast links.
TENSOR_DEVICES = 8
#: Of a device's memory, what is left to the driver's context, communication and fragmentation.
RESERVED = 0.05
FLOAT32, BFLOAT16 = 4, 2


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by category.

    Attributes:
        weights: float32 weights, the bfloat16 copies of autocast, and blocks gathered for the moment.
        gradients: float32 gradients, with the copies that wait to be sent.
        optimizer: moments.
        activations: what the blocks keep for the backward pass.
        scores: scores over the vocabulary and their gradients.
        sequence: what each sequence of the micro-batch adds.
        chunk: the part of ``scores`` that does not grow with the micro-batch.
        allocator: what a processor's heap holds beyond all this: pieces freed between those in use.
        tensor: devices that share each block.
        pipeline: stages of the pipeline, each with its part of the blocks.
    """

    sharding: Sharding
    weights: int
    gradients: int
    optimizer: int
    activations: int
    scores: int
    sequence: int
    chunk: int = 0
    allocator: int = 0
    tensor: int = 1
    pipeline: int = 1

    @property
    def fixed(self) -> int:
        """Bytes that do not grow with the micro-batch."""
        return self.weights + self.gradients + self.optimizer + self.chunk + self.allocator

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.scores + self.allocator

    def largest_micro_batch(self, capacity: float) -> int:
        """Sequences that fit beside what is fixed; 0 where not even one does."""
        return max(0, int((capacity - self.fixed) // self.sequence))


def optimizer_bytes(decoder: Decoder, optimizer: str) -> int:
    """Bytes of moments: AdamW keeps two of each parameter, Muon one of each hidden matrix."""
    if "8bit" in optimizer:
        return moment_bytes(decoder.total, optimizer)
    moments = 2 * decoder.total - (decoder.hidden if optimizer == "muon" else 0)
    return FLOAT32 * moments


def moment_bytes(parameters: int, optimizer: str) -> int:
    """Bytes of AdamW's two moments of each parameter; in 8 bits a byte each, with a scale for 256 of them."""
    return parameters * 2 if "8bit" in optimizer else 2 * FLOAT32 * parameters


def tensor_devices(decoder: Decoder, count: int) -> int:
    """The most devices of a machine (at most ``count``) among which the heads can be divided evenly."""
    return max(
        degree
        for degree in range(1, min(count, TENSOR_DEVICES) + 1)
        if count % degree == 0 and decoder.heads % degree == 0 and decoder.key_value_heads % degree == 0
    )


def per_device(
    decoder: Decoder,
    activations: Activations,
    sharding: Sharding,
    *,
    count: int,
    micro_batch: int,
    precision: Precision = "fp32",
    optimizer: str = "adamw",
    checkpointed: bool = False,
    frozen: int = 0,
    adapter: AdapterSizes | None = None,
    allocator: int = 0,
    pipeline: int = 1,
) -> Memory:
    """Memory of one of ``count`` devices that each take ``micro_batch`` sequences at a time.

    Args:
        pipeline: stages of the pipeline, under 3d alone.
        checkpointed: gradient checkpointing: blocks keep their inputs and are computed again.
        allocator: bytes of a processor's heap, as measured.
        frozen: parameters of a second model, such as DPO's reference, which lies whole on every device.
        adapter: only its weights learn, in float32; the base is kept in the precision of the products, or in 4 bits.
    """
    if adapter is not None:
        return _adapted(
            decoder, activations, sharding, adapter, count=count, micro_batch=micro_batch, precision=precision,
            optimizer=optimizer, checkpointed=checkpointed, allocator=allocator,
        )  # fmt: skip
    parameters, moments = decoder.total, optimizer_bytes(decoder, optimizer)
    mixed = precision != "fp32"
    copies = BFLOAT16 * decoder.total if mixed else 0
    # With more than one device, gradients wait in DDP's buckets, which are a second copy of them.
    sent = FLOAT32 * parameters if count > 1 else 0
    # FSDP gathers the block in work and the next one, and the gradients of one, in the precision of the products.
    gathered = min(2 * decoder.largest_block, decoder.total) if count > 1 else 0
    unit = BFLOAT16 if mixed else FLOAT32
    weights, gradients, divided, whole = FLOAT32 * parameters + copies, FLOAT32 * parameters, 1, 0
    if sharding in ("ddp", "zero1"):
        gradients += sent
    if sharding in ("zero1", "zero2", "zero3"):
        moments //= count
    if sharding in ("zero2", "zero3"):
        gradients = FLOAT32 * parameters // count + FLOAT32 * (decoder.largest_block if count > 1 else 0)
    if sharding == "zero3":
        weights = FLOAT32 * parameters // count + (unit * gathered if count > 1 else copies)
    if sharding in ("tp", "3d"):
        divided = tensor_devices(decoder, count)
        kept_here = _of_a_stage(decoder, activations.blocks, pipeline)
        norms = decoder.parameters["norms"] // pipeline
        share = norms + (kept_here - norms) // divided
        replicas = count // divided // pipeline
        weights = (FLOAT32 + (BFLOAT16 if mixed else 0)) * share
        gradients = FLOAT32 * share * (2 if replicas > 1 else 1)
        moments = moments * share // parameters // (replicas if sharding == "3d" else 1)
        # Inputs and outputs of both norms, and what the norms keep: six times the width, on every device; under 3d they
        # are divided too, as sequence parallelism does (https://arxiv.org/abs/2205.05198). The first stage of a
        # pipeline keeps as much as it would of all blocks: as many micro-batches as there are stages are on their way.
        whole = 0 if sharding == "3d" else 6 * decoder.width * activations.context * unit
    kept = activations.kept(checkpointed=checkpointed, divided=divided, whole=whole)
    scores, chunk = activations.scores // divided, activations.chunk // divided
    return Memory(
        sharding,
        weights=weights + FLOAT32 * frozen,
        gradients=gradients,
        optimizer=moments,
        activations=micro_batch * kept,
        scores=micro_batch * scores + chunk,
        sequence=kept + scores,
        chunk=chunk,
        allocator=allocator,
        tensor=divided,
        pipeline=pipeline,
    )


def _adapted(
    decoder: Decoder,
    activations: Activations,
    sharding: Sharding,
    adapter: AdapterSizes,
    *,
    count: int,
    micro_batch: int,
    precision: Precision,
    optimizer: str,
    checkpointed: bool,
    allocator: int,
) -> Memory:
    """Memory where an adapter learns: whole on every device (ddp), or everything divided (zero3)."""
    unit, divided = FLOAT32 if precision == "fp32" else BFLOAT16, count if sharding == "zero3" else 1
    base = unit * (decoder.total - adapter.quantized) + round(NF4 * adapter.quantized)
    gathered = unit * min(2 * decoder.largest_block, decoder.total) if divided > 1 else 0
    learnable = FLOAT32 * adapter.learnable
    kept = activations.kept(checkpointed=checkpointed)
    return Memory(
        sharding,
        weights=(base + learnable) // divided + gathered,
        gradients=learnable // divided + (learnable if count > 1 and divided == 1 else 0),
        optimizer=moment_bytes(adapter.learnable, optimizer) // divided,
        activations=micro_batch * kept,
        scores=micro_batch * activations.scores + activations.chunk,
        sequence=kept + activations.scores,
        chunk=activations.chunk,
        allocator=allocator,
    )


def _of_a_stage(decoder: Decoder, blocks: int, pipeline: int) -> int:
    """Parameters of the largest stage of a pipeline: its blocks, and the larger of embedding and output layer."""
    if pipeline == 1:
        return decoder.total
    ends = [decoder.parameters[part] for part in ("embeddings", "head")]
    return (decoder.total - sum(ends)) * -(-blocks // pipeline) // blocks + max(ends)


def pipelines(decoder: Decoder, blocks: int, count: int) -> list[int]:
    """Numbers of pipeline stages that ``count`` devices can form beside tensor parallelism, powers of two, above 1."""
    groups, found, stages = count // tensor_devices(decoder, count), [], 2
    while stages <= min(blocks, groups):
        found += [stages] if groups % stages == 0 else []
        stages *= 2
    return found


def under(
    shardings: Iterable[Sharding],
    decoder: Decoder,
    activations: Activations,
    *,
    count: int,
    capacity: float = float("inf"),
    **options,
) -> Iterator[Memory]:
    """:func:`per_device` under each of ``shardings`` that differs with so many devices.

    Args:
        capacity: bytes that can be used; a pipeline gets as few stages as fit into it, or as many as there can be.
    """
    for sharding in shardings:
        if sharding == "3d":
            deep = [
                per_device(decoder, activations, sharding, count=count, pipeline=stages, **options)
                for stages in pipelines(decoder, activations.blocks, count)
            ]
            yield from [next((each for each in deep if each.total <= capacity), deep[-1])] if deep else []
            continue
        alike = count == 1 or (sharding == "tp" and tensor_devices(decoder, count) == 1)
        if sharding == "ddp" or not alike:
            yield per_device(decoder, activations, sharding, count=count, **options)

"""How fast this machine's processor trains: a few seconds of real steps of the real model.

No data sheet says what a processor reaches on small matrices. So the model of the configuration itself is made and
trained on random tokens for some seconds: forward, loss, backward, clipping, optimizer, as the pretrain stage does it,
at the real micro-batch. A model or batch too large for that is cut down to fewer blocks or sequences; where even one
block is too large, a small decoder takes the model's place. The speed is carried over by FLOPs.
"""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.planning import flops, shapes
from components.planning.decoder import read
from components.training import Optimizer, forget_precision

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SECONDS = 5.0
#: What one step may take at most, by a guess of how fast a core is; larger ones are cut down.
STEP_FLOPS_PER_THREAD = 40e9
#: How many times as long a step may take where nothing is left to cut: a small decoder takes the model's place above.
PATIENCE = 10
#: FLOPs of Muon's update for each weight of a matrix and each of its rows: five times three products (Jordan et al.,
#: https://kellerjordan.github.io/posts/muon/), of 2 FLOPs each.
MUON_FLOPS = 30
SHORTEST = 64
MINIMUM_STEPS = 3
BYTES_PER_PARAMETER = 16


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        flops_per_second: of one process with its threads, by the wall clock.
        step_seconds: median of the measured steps, by the wall clock.
        step_cpu_seconds: median of their processor time, over all threads.
        steps: how many were measured, the first left out.
        sequences: of a measured step.
        blocks: of the measured model.
        threads: of the process.
        scaled: whether model or batch were cut down.
        peak_bytes: resident memory at its highest, less what it was before; None where the system does not report it.
    """

    flops_per_second: float
    step_seconds: float
    step_cpu_seconds: float
    steps: int
    sequences: int
    blocks: int
    threads: int
    scaled: bool
    peak_bytes: int | None


def measure(
    config: PreTrainedConfig,
    context: int,
    sequences: int,
    *,
    optimizer: Optimizer = "adamw",
    mixed: bool = False,
    threads: int = 1,
    memory: float = float("inf"),
    seconds: float = SECONDS,
) -> Speed:
    """Train a model of ``config`` for about ``seconds`` and at least :data:`MINIMUM_STEPS` steps.

    Args:
        sequences: of ``context`` tokens in a step, wanted; fewer are taken where a step would last too long.
        mixed: products in bfloat16 by autocast.
        memory: bytes that the model, its gradients and moments may take.
    """
    import torch
    from accelerate import Accelerator
    from transformers import AutoModelForCausalLM

    from components.optimizers import build
    from components.pretrain.loss import CausalLoss
    from components.pretrain.step import accumulate, keep_freed_memory, update

    whole = read(config)
    config, context, rows = _cut(config, context, sequences, optimizer, threads, memory)
    decoder = read(config)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()
    resident = _forget_peak()
    forget_precision()
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if mixed else "no")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    module, stepper = accelerator.prepare(CausalLoss(model).train(), build(model, optimizer))
    wall: list[float] = []
    processor: list[float] = []
    began = time.monotonic()
    while len(wall) <= MINIMUM_STEPS or time.monotonic() - began < seconds:
        tokens = torch.randint(config.vocab_size, (rows, context + 1))
        started = time.perf_counter(), time.process_time()
        accumulate(accelerator, module, tokens[:, :-1], tokens[:, 1:])
        update(accelerator, module, stepper, max_grad_norm=1.0)
        wall.append(time.perf_counter() - started[0])
        processor.append(time.process_time() - started[1])
    # The first step allocates and warms up.
    step = statistics.median(wall[1:])
    work = flops.training(decoder, context, rows * context)
    return Speed(
        flops_per_second=work / step,
        step_seconds=step,
        step_cpu_seconds=statistics.median(processor[1:]),
        steps=len(wall) - 1,
        sequences=rows,
        blocks=config.num_hidden_layers,
        threads=threads,
        peak_bytes=_peak() - resident if resident is not None else None,
        scaled=rows < sequences or decoder != whole,
    )


def _cut(
    config: PreTrainedConfig, context: int, sequences: int, optimizer: Optimizer, threads: int, memory: float
) -> tuple[PreTrainedConfig, int, int]:
    """(configuration, tokens of a sequence, sequences): as many blocks and sequences as a short step allows.

    Where even one block is too large, a small decoder and as many tokens.
    """
    config = copy.deepcopy(config)
    budget = STEP_FLOPS_PER_THREAD * threads
    while True:
        decoder = read(config)
        sequence = flops.training(decoder, context, context)
        update = MUON_FLOPS * decoder.hidden * decoder.width if optimizer == "muon" else 0
        bearable = BYTES_PER_PARAMETER * decoder.total <= memory and max(sequence, update) <= PATIENCE * budget
        if bearable and (sequence <= budget or config.num_hidden_layers == 1):
            return config, context, max(1, min(sequences, int(budget // sequence)))
        if config.num_hidden_layers == 1:
            break
        config.num_hidden_layers = max(1, config.num_hidden_layers // 2)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: config.num_hidden_layers]
    config = shapes.shape(shapes.SMALLEST)
    token = flops.training(read(config), SHORTEST, 1)
    return config, min(context, max(SHORTEST, int(budget // token))), 1


def _forget_peak() -> int | None:
    """Resident memory of this process now, from which its peak counts anew (Linux only; getrusage cannot forget)."""
    import psutil

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return psutil.Process().memory_info().rss


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024

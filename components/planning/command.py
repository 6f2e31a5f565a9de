"""`python -m components plan`: plans as JSON, for `stemma plan` and programs.

Prints ``{"plans": [...], "skipped": [{"stage", "why"}]}`` and ends with 0, or ``{"problems": [...]}`` and 2.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

# As in the pretrain stage, before torch is imported: threads that spin while they wait spoil each other's timing.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from components.planning import activations, adapters, devices, flops, memory, probe, shapes, stages
from components.planning.activations import Activations
from components.planning.decoder import Decoder, read
from components.planning.devices import DEVICES, Precision
from components.planning.estimate import Training, estimate
from components.planning.options import Options, parse
from components.pretrain.presets import PRESETS, configuration
from core import python
from core.errors import InputProblem
from core.numbers import count

#: Presets with very long contexts are planned at this one unless --context says otherwise.
CONTEXT = 8192


def main(arguments: Sequence[str]) -> int:
    """Read the command line, print the answer; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m components plan", description="Plan trainings; prints JSON.")
    for option in fields(Options):
        name = "--" + option.name.replace("_", "-")
        if option.name == "gradient_checkpointing":
            parser.add_argument(name, action="store_true", default=None)
        else:
            parser.add_argument(name)
    parser.add_argument("--params", type=Path, help="a file in place of the workspace's params.yaml")
    parser.add_argument("--stage", action="append", help="only this training stage of params.yaml; may be repeated")
    parser.add_argument("--probe-seconds", type=float, default=probe.SECONDS, help="how long a processor is measured")
    given = vars(parser.parse_args(arguments))
    wanted, seconds, params = (given.pop(name) for name in ("stage", "probe_seconds", "params"))
    python.hide("deepspeed")  # accelerate would import it, and the probe has no use for it
    try:
        answer = plans(parse(given), wanted, seconds, params)
    except InputProblem as problem:
        print(json.dumps({"problems": problem.problems}))
        return 2
    print(json.dumps(answer))
    return 0


def plans(
    options: Options,
    wanted: Sequence[str] | None = None,
    seconds: float = probe.SECONDS,
    params: Path | None = None,
) -> dict[str, Any]:
    """Plans of a preset, of a model of so many parameters, or of the training stages of ``params.yaml``.

    Args:
        wanted: of these stages alone.
        params: a file in place of the workspace's ``params.yaml``.

    Raises:
        InputProblem: a parameter of the workspace is wrong, there is no workspace, or no model is so small.
    """
    if options.preset is not None or options.parameters is not None:
        return {"plans": [estimate(_model(options, seconds))], "skipped": []}
    from core.parameters_file import read as read_parameters
    from core.workspace import find_root

    root = find_root()
    values = read_parameters(params or root / "params.yaml")
    # First of all: a stage that is being started removes its last receipt.
    receipts = {stage: _receipt(root, stage) for stage in wanted or stages.STAGES}
    found, skipped, problems = [], [], []
    for stage, receipt in receipts.items():
        try:
            found.append(estimate(_stage(stage, options, values, root, seconds, receipt)))
        except InputProblem as problem:
            problems += problem.problems
        except stages.Unknown as unknown:
            skipped.append({"stage": stage, "why": str(unknown)})
    if problems:
        raise InputProblem(list(dict.fromkeys(problems)))
    return {"plans": found, "skipped": skipped}


def _model(options: Options, seconds: float) -> Training:
    """The training of a preset, or of a model of which only the size is known."""
    notes = []
    if options.preset is not None:
        preset = PRESETS[options.preset]
        name, longest, active = options.preset, preset.context, preset.active
        context = options.context or min(longest, CONTEXT)
        config = configuration(name, max_position_embeddings=max(context, longest))
    else:
        assert options.parameters is not None
        active = options.active or options.parameters
        config = shapes.shape(options.parameters, options.active)
        name = f"{config.model_type} of {count(options.parameters)} parameters"
        context = options.context or CONTEXT
        notes.append(f"shape, assumed from the size: {shapes.words(config)}")
    tokens = options.tokens
    if tokens is None:
        tokens = round(flops.tokens_by_rule(active))
        notes.append("tokens: 20 a parameter, since --tokens was not given")
    work = stages.Work(
        config=config,
        context=context,
        tokens=tokens,
        steps=None,
        sequences=options.micro_batch or 1,
        micro_batch=options.micro_batch or 1,
        optimizer=options.optimizer or "adamw",
        processes=options.count or 1,
        notes=tuple(notes),
    )
    return _training(name, work, options, seconds)


def _stage(
    stage: str,
    options: Options,
    values: Mapping[str, Any],
    root: Path,
    seconds: float,
    receipt: Mapping[str, Any] | None,
) -> Training:
    work = stages.work(stage, values, root)
    count = options.count or work.processes
    # A processor's last run of the stage says more than a probe: it had everything in it that a run has.
    rate = None
    if receipt is not None and (options.device or devices.device_here()) == "cpu":
        rate = _last_rate(stage, receipt, values, root, count)
    return _training(stage, work, options, seconds, rate)


def _training(
    name: str, work: stages.Work, options: Options, seconds: float, last_rate: float | None = None
) -> Training:
    device = options.device or devices.device_here()
    on_processor = DEVICES[device].is_processor
    count = options.count or work.processes
    micro_batch = min(work.micro_batch or work.sequences, max(1, work.sequences // count))
    precision = options.precision or work.precision or _suiting(on_processor)
    mixed = precision != "fp32"
    decoder = read(work.config, name)
    kept = activations.measure(
        work.config,
        work.context,
        mixed=mixed,
        on_processor=on_processor,
        chunked=work.loss == "chunks",
        adapter=work.adapter,
    )
    rate = measured = calibration = None
    allocator = 0
    if on_processor:
        # After a run of the stage the probe is for the memory alone, which its first steps show.
        speed = probe.measure(
            work.config, work.context, micro_batch, optimizer=work.optimizer, mixed=mixed,
            threads=devices.threads_of(count), memory=devices.capacity(device, count) / 2,
            seconds=seconds if last_rate is None else 0,
        )  # fmt: skip
        rate, measured, calibration = speed.flops_per_second, _words(speed), asdict(speed)
        allocator = _allocator(speed, decoder, kept, micro_batch, work.optimizer, precision)
    if last_rate is not None:
        rate, measured, calibration = last_rate, "the stage's last run here, start-up and measuring included", None
    frozen = decoder.total if work.frozen_copy and work.adapter is None else 0  # else the base is its own reference
    return Training(
        name=name,
        decoder=decoder,
        activations=replace(kept, scores=0) if work.loss == "none" else kept,
        tokens=work.tokens,
        device_name=device,
        device=DEVICES[device],
        count=count,
        precision=precision,
        optimizer=work.optimizer,
        capacity=devices.capacity(device, count),
        micro_batch=micro_batch,
        sharding=options.sharding or work.sharding,
        checkpointed=options.gradient_checkpointing or work.checkpointed,
        passes=work.passes,
        steps=work.steps,
        frozen=frozen,
        adapter=adapters.sizes(work.config, work.adapter) if work.adapter else None,
        allocator=allocator,
        checkpoints=work.checkpoints,
        stored_tokens=work.stored_tokens,
        pretraining=name not in stages.STAGES or name == "pretrain",
        mfu=options.mfu,
        rate=rate,
        measured=measured,
        calibration=calibration,
        goodput=options.goodput,
        pue=options.pue,
        utilisation=options.utilisation,
        watts=options.watts,
        price=options.price,
        notes=work.notes,
    )


def _allocator(
    speed: probe.Speed, decoder: Decoder, kept: Activations, micro_batch: int, optimizer: str, precision: Precision
) -> int:
    """What the probe's process took beyond the arithmetic; a probe that was cut down says nothing of it."""
    if speed.scaled or speed.peak_bytes is None:
        return 0
    counted = memory.per_device(
        decoder, kept, "ddp", count=1, micro_batch=micro_batch, precision=precision, optimizer=optimizer
    )
    return max(0, speed.peak_bytes - counted.total)


def _suiting(on_processor: bool) -> Precision:
    """The precision that training picks where no other is set."""
    if not on_processor:
        return "bf16"
    from components.training import bf16_units

    return "bf16" if bf16_units() else "fp32"


def _receipt(root: Path, stage: str) -> dict[str, Any] | None:
    try:
        return json.loads((root / "receipts" / f"{stage}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _last_rate(
    stage: str, receipt: Mapping[str, Any], values: Mapping[str, Any], root: Path, count: int
) -> float | None:
    """FLOPs a second and process of the stage's last run; None where it was another kind of machine, or other code."""
    try:
        here = receipt["device"] == "cpu" and receipt["environment"]["cpus"] == os.cpu_count()
        if not here or receipt["processes"] != count or "processes" in receipt["environment"]:  # it had other numbers
            return None
        then = stages.work(stage, {**values, stage: receipt["parameters"]}, root)
        work = flops.training(read(then.config), then.context, then.tokens) * then.passes
        return work / receipt["seconds"] / count
    except (ValueError, KeyError, TypeError, ZeroDivisionError, InputProblem, stages.Unknown):
        return None


def _words(speed: probe.Speed) -> str:
    size = f"{speed.steps} steps of {speed.sequences} sequences, {speed.blocks} blocks, {speed.threads} threads"
    cut = "; cut down from the real model or batch" if speed.scaled else ""
    return f"probe: {size}, median {speed.step_seconds:.3g} s a step{cut}"

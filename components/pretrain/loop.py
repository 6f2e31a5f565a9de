"""The training loop: batches in order, checkpoints, validation, and an exact return to any of them."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from components import attention, optimizers
from components.contract import Context, Interrupted
from components.pretrain.data import Batches, Prefetch, TokenSplit, TrainingOrder, Window, document_positions
from components.pretrain.evaluation import evaluate, sample
from components.pretrain.loss import CausalLoss, masks_documents
from components.pretrain.parallelism import Parallelism, prepare
from components.pretrain.parameters import PretrainParameters
from components.pretrain.step import accumulate, update
from components.pretrain.training_state import LoopState, TrainingState
from core.errors import InputProblem


class NonFinite(RuntimeError):
    """The loss or the gradient is not a finite number; the message names step and batch."""


def train(
    context: Context,
    accelerator: Accelerator,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    order: TrainingOrder,
    held: TokenSplit,
    batches: Batches,
    steps: int,
) -> tuple[CausalLoss, LoopState]:
    """Train ``model`` for ``steps`` steps, from the newest checkpoint in ``context.scratch`` if there is one.

    Returns:
        The model with its loss, not wrapped but sharded if the training is; and how the training went.

    Raises:
        Interrupted: ``context.stopping`` was seen; a checkpoint has been saved.
        NonFinite: the training diverged.
        InputProblem: the checkpoint belongs to another number of processes, and no other may go on from it.
    """
    parameters: PretrainParameters = context.parameters
    build = functools.partial(
        optimizers.build,
        algorithm=parameters.optimizer,
        learning_rate=parameters.learning_rate,
        muon_learning_rate=parameters.muon_learning_rate,
        weight_decay=parameters.weight_decay,
        betas=(parameters.beta1, parameters.beta2),
        bf16=accelerator.mixed_precision == "bf16",
    )
    parallelism = Parallelism.of(accelerator)
    if not parallelism.sharded:  # else it comes there shard by shard
        model.to(accelerator.device)
    # Each process draws its own dropout, but those that share each product must draw the same; without dropout nothing
    # below touches these generators.
    torch.manual_seed(context.seed + accelerator.process_index // parallelism.tensor_parallel)
    module, bare, optimizer = prepare(
        accelerator,
        _with_loss(context, model),
        build,
        seq_length=parameters.seq_length,
        max_grad_norm=parameters.max_grad_norm,
    )
    state = TrainingState(context, accelerator, model, bare)
    peaks, curves = [group["lr"] for group in bare.param_groups], optimizers.peaks(bare)
    progress = state.resume()
    if progress.step < steps:
        progress.computed_by(accelerator.num_processes)
    module.train()

    def read(step: int) -> Batch:
        return _read(accelerator, order, order.batch(batches.before(step), batches.size(step)), parameters)

    context.tokens = batches.tokens(progress.step)
    total = batches.tokens(steps)
    # A compiled model and one whose processes share products or sequences have an attention of their own.
    own = parameters.compile or parallelism.model_parallel > 1
    with (
        contextlib.nullcontext() if own else attention.in_blocks(model),
        state,
        Prefetch(read, steps) as data,
        context.progress("pretrain", total, unit="tokens") as advance,
    ):
        if progress.step:
            advance(context.tokens)
        clock = _Clock(context)
        while True:
            # After the checkpoint of the same step, so that a failure in here loses no training; and again after a
            # return to that checkpoint, which does not hold the result yet.
            if _due(progress.step, parameters.evaluate_every, steps):
                state.wait()
                _validate(context, accelerator, module, tokenizer, held, progress)
                if _any(accelerator, context.stopping):
                    raise Interrupted(f"stopped after step {progress.step} of {steps}; the checkpoint is saved")
            if progress.step == steps:
                break
            share = parameters.learning_rate_factor(progress.step, steps)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            batch = data.get(progress.step)
            loss, norm, stopping = _step(context, accelerator, module, optimizer, order, batch, progress.step)
            state.check()
            progress.step += 1
            progress.loss_sum += loss
            context.tokens += len(batch.windows) * parameters.seq_length
            speed = clock.tokens_per_second()
            advance(len(batch.windows) * parameters.seq_length, step=progress.step, loss=loss, tokens_per_second=speed)
            if progress.step % parameters.log_every == 0 or progress.step == steps:
                _point(context, progress, {name: peak * share for name, peak in curves.items()}, norm, speed)
            if stopping or any(
                _due(progress.step, every, steps) for every in (parameters.checkpoint_every, parameters.evaluate_every)
            ):
                state.save(progress)
            if stopping:
                raise Interrupted(f"stopped after step {progress.step} of {steps}; the checkpoint is saved")
    return accelerator.unwrap_model(module), progress


@dataclass(frozen=True)
class Batch:
    """A step's data.

    Attributes:
        windows: the sequences of all processes.
        mine: those of this process.
        inputs: their token ids, [sequences, context].
        labels: the token after each.
        positions: from 0 in each document, where attention ends at documents.
    """

    windows: list[Window]
    mine: list[Window]
    inputs: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor | None


class _Clock:
    """Tokens a second since the first step, whose warm-up (kernels, compilation) is a metric of its own."""

    def __init__(self, context: Context):
        self._context, self._start = context, time.monotonic()
        self._first: tuple[float, int] | None = None  # time and tokens after the first step

    def tokens_per_second(self) -> float:
        now, tokens = time.monotonic(), self._context.tokens
        if self._first is None:
            self._first = now, tokens
            self._context.log({"first_step_seconds": now - self._start}, 1)
            return 0.0
        return (tokens - self._first[1]) / max(1e-9, now - self._first[0])


def _with_loss(context: Context, model: PreTrainedModel) -> CausalLoss:
    """The model and its loss as the parameters ask for them."""
    parameters: PretrainParameters = context.parameters
    masks = masks_documents(model) if parameters.mask_documents else None
    if parameters.mask_documents and masks is None:
        raise InputProblem(
            f"pretrain.mask_documents: attention of {model.config.model_type} does not end where positions begin anew; "
            f"make it false or choose another model_type"
        )
    if parameters.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    module = CausalLoss(model, z_loss=parameters.z_loss, masks=masks == "here")
    if not module.chunked:
        context.warn(f"the head of {model.config.model_type} is not known: all logits of a micro-batch are made")
    if parameters.compile:
        module.compile()
    return module


def _read(accelerator: Accelerator, order: TrainingOrder, windows: list[Window], parameters) -> Batch:
    parallelism = Parallelism.of(accelerator)
    share = len(windows) // parallelism.data_parallel
    mine = windows[parallelism.data_parallel_rank * share : (parallelism.data_parallel_rank + 1) * share]
    inputs, labels = order.read(mine)
    positions = document_positions(inputs, order.start) if parameters.mask_documents else None
    return Batch(windows, mine, inputs, labels, positions)


def _any(accelerator: Accelerator, flag: bool) -> bool:
    """Whether ``flag`` is set in any process; every process gets the same answer."""
    return accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum").item() > 0


def _due(step: int, every: int, steps: int) -> bool:
    return step == steps or (step > 0 and step % every == 0)


def _step(context, accelerator, module, optimizer, order, batch: Batch, step: int) -> tuple[float, float, bool]:
    """One optimizer step on ``batch``; mean loss, gradient norm, and whether any process is to stop."""
    parameters: PretrainParameters = context.parameters
    inputs, labels, positions = (
        None if tensor is None else tensor.to(accelerator.device)
        for tensor in (batch.inputs, batch.labels, batch.positions)
    )
    loss, stopping = accumulate(
        accelerator,
        module,
        inputs,
        labels,
        positions,
        micro_batch=parameters.per_device_batch_size,
        flag=context.stopping,
    )
    if not math.isfinite(loss):
        raise NonFinite(_non_finite_sequences(accelerator, module, order, batch, step))
    norm = update(accelerator, module, optimizer, max_grad_norm=parameters.max_grad_norm)
    if not math.isfinite(norm):
        raise NonFinite(
            f"the gradient of step {step + 1} is not finite (loss {loss:.4g}); its batch: "
            f"{'; '.join(order.describe(window) for window in batch.windows)}. "
            f"Lower the learning rate or max_grad_norm."
        )
    return loss, norm, stopping


def _non_finite_sequences(accelerator, module, order: TrainingOrder, batch: Batch, step: int) -> str:
    """Which sequences have a loss that is not finite, each computed again by itself."""
    decoder = accelerator.unwrap_model(module).eval()
    bad = []
    for row, window in enumerate(batch.mine):
        inputs, labels, positions = (
            None if tensor is None else tensor[row : row + 1].to(accelerator.device)
            for tensor in (batch.inputs, batch.labels, batch.positions)
        )
        with accelerator.autocast():
            if not decoder.token_losses(inputs, labels, positions).sum().isfinite():
                bad.append(order.describe(window))
    bad = list(dict.fromkeys(gather_object(bad)))
    return (
        f"the loss of step {step + 1} is not finite in {len(bad)} of its sequences: {'; '.join(bad)}. "
        f"If it is all of them, the weights have diverged: lower the learning rate. The last checkpoint is from before."
    )


def _point(context: Context, progress: LoopState, rates: dict[str, float], norm: float, speed: float) -> None:
    since = progress.step - (int(progress.curve[-1]["step"]) if progress.curve else 0)
    point = {
        "step": progress.step,
        "tokens": context.tokens,
        "loss": progress.loss_sum / since,
        **rates,
        "gradient_norm": norm,
    }
    progress.loss_sum = 0.0
    progress.curve.append(point)
    live = {name: point[name] for name in ("loss", *rates, "gradient_norm")}
    context.log({**live, "tokens_per_second": speed}, progress.step)


def _validate(context, accelerator, module, tokenizer, held: TokenSplit, progress: LoopState) -> None:
    """Validation loss on part of the split, and samples."""
    parameters: PretrainParameters = context.parameters
    result = evaluate(
        accelerator,
        module,
        held,
        parameters.seq_length,
        tokens=parameters.evaluation_tokens,
        documents=parameters.mask_documents,
    )
    bits = result.bits_per_byte(held)
    progress.validation.append(
        {"step": progress.step, "tokens": context.tokens, "loss": result.loss, "bits_per_byte": bits}
    )
    context.log({"validation_loss": result.loss, "validation_bits_per_byte": bits}, progress.step)
    together = Parallelism.of(accelerator).sharded
    stopping = _any(accelerator, context.stopping) if together else context.stopping
    if (accelerator.is_main_process or together) and parameters.sample_prompts and not stopping:
        texts = sample(
            accelerator.unwrap_model(module),
            tokenizer,
            parameters.sample_prompts,
            tokens=parameters.sample_tokens,
            seed=context.seed,
            together=together,
        )
        progress.samples.extend({"step": progress.step, "text": text} for text in texts)

"""The training loop: batches in order, checkpoints, validation, and an exact return to any of them."""

from __future__ import annotations

import math
import time

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from components import optimizers
from components.contract import Context, Interrupted
from components.pretrain.data import TokenSplit, TrainingOrder
from components.pretrain.evaluation import evaluate
from components.pretrain.parameters import PretrainParameters
from components.pretrain.progress import Progress
from components.pretrain.samples import sample
from components.pretrain.schedule import factor
from components.pretrain.training_state import TrainingState


class NonFinite(RuntimeError):
    """The loss or the gradient is not a finite number; the message names step and batch."""


def train(
    context: Context,
    accelerator: Accelerator,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    order: TrainingOrder,
    held: TokenSplit,
    steps: int,
) -> tuple[PreTrainedModel, Progress]:
    """Train ``model`` for ``steps`` steps, from the newest checkpoint in ``context.scratch`` if there is one.

    Raises:
        Interrupted: ``context.stopping`` was seen; a checkpoint has been saved.
        NonFinite: the training diverged.
        InputProblem: the checkpoint belongs to another number of processes.
    """
    parameters: PretrainParameters = context.parameters
    optimizer = optimizers.build(
        model,
        parameters.optimizer,
        learning_rate=parameters.learning_rate,
        muon_learning_rate=parameters.muon_learning_rate,
        weight_decay=parameters.weight_decay,
        betas=(parameters.beta1, parameters.beta2),
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    model.to(accelerator.device)
    # Each process draws its own dropout; without dropout nothing below touches these generators.
    torch.manual_seed(context.seed + accelerator.process_index)
    state = TrainingState(context, accelerator, model, optimizer)
    model, optimizer = accelerator.prepare(model, optimizer)
    progress = state.resume()
    model.train()

    batch_tokens = parameters.batch_size * parameters.context
    context.tokens = progress.step * batch_tokens
    with state, context.progress("pretrain", steps * batch_tokens, unit="tokens") as advance:
        if progress.step:
            advance(context.tokens)
        started, started_tokens = time.monotonic(), context.tokens
        while True:
            # After the checkpoint of the same step, so that a failure in here loses no training; and again after a
            # return to that checkpoint, which does not hold the result yet.
            if _due(progress.step, parameters.evaluate_every, steps):
                state.wait()
                _look(context, accelerator, model, tokenizer, held, progress)
                if _any(accelerator, context.stopping):
                    raise Interrupted(f"stopped after step {progress.step} of {steps}; the checkpoint is saved")
            if progress.step == steps:
                break
            share = factor(progress.step, steps, warmup=parameters.warmup, final_share=parameters.final_share)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            loss, norm, stopping = _step(context, accelerator, model, optimizer, order, progress.step)
            state.check()
            progress.step += 1
            progress.loss_sum += loss
            context.tokens += batch_tokens
            speed = (context.tokens - started_tokens) / max(1e-9, time.monotonic() - started)
            advance(batch_tokens, loss=loss, tokens_per_second=speed)
            if progress.step % parameters.log_every == 0 or progress.step == steps:
                _point(context, progress, parameters, share, norm, speed)
            if stopping or any(
                _due(progress.step, every, steps) for every in (parameters.checkpoint_every, parameters.evaluate_every)
            ):
                state.save(progress)
            if stopping:
                raise Interrupted(f"stopped after step {progress.step} of {steps}; the checkpoint is saved")
    return accelerator.unwrap_model(model), progress


def _any(accelerator: Accelerator, flag: bool) -> bool:
    """Whether ``flag`` is set in any process; every process gets the same answer."""
    return accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum").item() > 0


def _due(step: int, every: int, steps: int) -> bool:
    return step == steps or (step > 0 and step % every == 0)


def _step(context, accelerator, model, optimizer, order, step) -> tuple[float, float, bool]:
    """One optimizer step on global batch ``step``; mean loss, gradient norm, and whether any process is to stop."""
    parameters: PretrainParameters = context.parameters
    windows = order.batch(step, parameters.batch_size)
    share = parameters.batch_size // accelerator.num_processes
    mine = windows[accelerator.process_index * share : (accelerator.process_index + 1) * share]
    inputs, labels = (tensor.to(accelerator.device) for tensor in order.read(mine))
    logits = model(input_ids=inputs, use_cache=False).logits
    loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
    # One small message tells every process the same mean loss and whether one of them was asked to stop.
    both = torch.tensor([loss.item(), float(context.stopping)], dtype=torch.float64, device=accelerator.device)
    total, stopping = accelerator.reduce(both, "sum").tolist()
    mean = total / accelerator.num_processes
    if not math.isfinite(mean):
        raise NonFinite(_blame(accelerator, order, mine, logits.detach(), labels, step))
    accelerator.backward(loss)
    norm = accelerator.clip_grad_norm_(model.parameters(), parameters.clip or math.inf).item()
    if not math.isfinite(norm):
        raise NonFinite(
            f"the gradient of step {step + 1} is not finite (loss {mean:.4g}); its batch: "
            f"{'; '.join(order.describe(window) for window in windows)}. Lower the learning rate or clip."
        )
    optimizer.step()
    optimizer.zero_grad()
    return mean, norm, stopping > 0


def _blame(accelerator, order, mine, logits, labels, step) -> str:
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none").mean(dim=1)
    bad = [
        order.describe(window) for window, loss in zip(mine, losses.tolist(), strict=True) if not math.isfinite(loss)
    ]
    bad = gather_object(bad)
    return (
        f"the loss of step {step + 1} is not finite in {len(bad)} of its sequences: {'; '.join(bad)}. "
        f"If it is all of them, the weights have diverged: lower the learning rate. The last checkpoint is from before."
    )


def _point(context: Context, progress: Progress, parameters, share: float, norm: float, speed: float) -> None:
    since = progress.step - (int(progress.curve[-1]["step"]) if progress.curve else 0)
    point = {
        "step": progress.step,
        "tokens": context.tokens,
        "loss": progress.loss_sum / since,
        "learning_rate": parameters.learning_rate * share,
        "gradient_norm": norm,
    }
    progress.loss_sum = 0.0
    progress.curve.append(point)
    live = {name: point[name] for name in ("loss", "learning_rate", "gradient_norm")}
    context.log({**live, "tokens_per_second": speed}, progress.step)


def _look(context, accelerator, model, tokenizer, held: TokenSplit, progress: Progress) -> None:
    """Validation loss on part of the split, and samples."""
    parameters: PretrainParameters = context.parameters
    result = evaluate(accelerator, model, held, parameters.context, tokens=parameters.evaluation_tokens)
    bits = result.bits_per_byte(held)
    progress.validation.append(
        {"step": progress.step, "tokens": context.tokens, "loss": result.loss, "bits_per_byte": bits}
    )
    context.log({"validation_loss": result.loss, "validation_bits_per_byte": bits}, progress.step)
    if accelerator.is_main_process and parameters.sample_prompts and not context.stopping:
        texts = sample(
            accelerator.unwrap_model(model),
            tokenizer,
            parameters.sample_prompts,
            tokens=parameters.sample_tokens,
            seed=context.seed,
        )
        progress.samples.extend({"step": progress.step, "text": text} for text in texts)

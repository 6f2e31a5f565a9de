"""TRL trainers inside a stage: curves to the context, sealed checkpoints, bit-exact resume, stopping on request."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from components.contract import Context, Interrupted
from components.finetuning import checkpoints
from components.finetuning.order import batch_order
from components.finetuning.parameters import FineTuningParameters
from components.training import choose_precision
from core.errors import InputProblem

Curve = list[dict[str, float]]

# Left out of curves: they depend on the clock, or count from the last resume.
_NOT_CURVES = {"epoch", "step", "num_tokens", "total_flos"}


def processes() -> int:
    """Processes of this stage."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def arguments(context: Context, config: type, parameters: FineTuningParameters, **settings: Any) -> Any:
    """Arguments of a TRL trainer (``config`` is its configuration class) for this stage.

    Also joins the processes of the stage, so it must come before anything that they do together.

    Raises:
        InputProblem: fewer processes run than the parameters set, and the batch cannot be cut evenly into those.
    """
    world = processes()
    share = parameters.per_device_batch_size * world
    if parameters.batch_size % share:
        raise InputProblem(
            f"a batch of {parameters.batch_size} examples cannot be cut into parts of per_device_batch_size "
            f"{parameters.per_device_batch_size} for the {world} processes that run: set devices to {world}"
        )
    if world == 1:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one process drives one device; TRL refuses DataParallel
    import torch

    on_cpu = not torch.cuda.is_available()
    precision = choose_precision(parameters.precision)
    context.environment["precision"] = precision.name
    built = config(
        output_dir=str(context.scratch / "checkpoints"),
        max_steps=parameters.steps,
        per_device_train_batch_size=parameters.per_device_batch_size,
        gradient_accumulation_steps=parameters.batch_size // share,
        learning_rate=parameters.learning_rate,
        max_grad_norm=parameters.max_grad_norm or 0.0,  # 0 does not clip
        seed=context.seed,
        data_seed=context.seed,
        bf16=precision.name == "bf16",
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and world > 1 else None,
        activation_checkpointing=parameters.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        dataloader_pin_memory=not on_cpu,
        report_to="none",
        disable_tqdm=True,
        logging_steps=parameters.log_every,
        save_strategy="steps",
        save_steps=parameters.checkpoint_every,
        save_total_limit=2,
        max_length=None,
        **settings,
    )
    context.device = torch.cuda.get_device_name() if not on_cpu else "cpu"
    return built


def train(
    context: Context,
    trainer: type,
    parameters: FineTuningParameters,
    *,
    description: str,
    model: Any,
    lengths: list[int],
    train_dataset: Any,
    **settings: Any,
) -> Curve:
    """Train ``model`` in place with a TRL ``trainer`` class on a dataset that is tokenized already; return the curve.

    ``lengths`` are the examples' lengths in tokens. Goes on from the newest whole checkpoint of the scratch folder and
    ends with the same weights as a run that was never interrupted.

    Raises:
        Interrupted: ``context.stopping`` was set; a checkpoint has been saved.
    """
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import PrinterCallback, Trainer

    from components.optimizers import build, peaks

    order = batch_order(lengths, parameters.batch_size, parameters.steps, context.seed)
    context.tokens += sum(lengths[index] for index in order)
    root = context.scratch / "checkpoints"
    checkpoint = checkpoints.latest(root) if context.is_main or processes() == 1 else None
    checkpoint = _agreed(checkpoint)
    if checkpoint is not None and checkpoint.name == f"checkpoint-{parameters.steps}":
        return _restore(model, checkpoint)

    class StageTrainer(trainer):
        """The TRL trainer with this stage's order, optimizer and sealed checkpoints."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset  # it holds tokens already

        def _get_train_sampler(self, train_dataset: Any = None) -> list[int]:
            return order

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                self.optimizer = build(
                    self.model if model is None else model,
                    parameters.optimizer,
                    learning_rate=parameters.learning_rate,
                    muon_learning_rate=parameters.muon_learning_rate,
                    weight_decay=parameters.weight_decay,
                    betas=(parameters.beta1, parameters.beta2),
                )
            return self.optimizer

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                self.lr_scheduler = LambdaLR(
                    optimizer or self.optimizer,
                    lambda step: parameters.learning_rate_factor(step, num_training_steps, from_zero=True),
                )
            return self.lr_scheduler

        def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
            if "learning_rate" in logs:  # the first group's; those of a step differ by their peaks alone
                first, *others = peaks(self.optimizer).items()
                logs |= {name: logs["learning_rate"] * peak / first[1] for name, peak in others}
            super().log(logs, *args, **kwargs)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            Trainer._save_checkpoint(self, model, trial)  # TRL's own only adds a model card
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.seal(root / f"checkpoint-{self.state.global_step}")

    with context.progress(description, parameters.steps, unit="steps") as advance:
        running = StageTrainer(
            model=model, train_dataset=train_dataset, callbacks=[_callback(context, parameters, advance)], **settings
        )
        running.remove_callback(PrinterCallback)
        running.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if running.state.global_step < parameters.steps:
        raise Interrupted(f"{description}: stopped at step {running.state.global_step} of {parameters.steps}")
    return _curve(running.state.log_history)


def _callback(context: Context, parameters: FineTuningParameters, advance: Any) -> Any:
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):
        """Curves and progress to the context; a checkpoint at the end and when the stage is asked to stop."""

        def __init__(self) -> None:
            self.beside: dict[str, float] = {}  # what is shown beside the bar: the latest point's loss and speed
            self.seen: tuple[float, float] | None = None  # tokens and time at the point before

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step:
                advance(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            advance(1, **self.beside)
            last = state.global_step >= parameters.steps
            # Stopping waits for the next point of the curve, so that the curve too goes on as if nothing had happened.
            if last or (state.global_step % parameters.log_every == 0 and _any(context.stopping)):
                control.should_save = True
                control.should_log = True
                control.should_training_stop = True
            return control

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
            points = _point(logs)
            if "loss" in logs:
                context.log(points, state.global_step)
                now, tokens = time.monotonic(), float(logs.get("num_tokens", 0.0))
                self.beside = {"loss": points["loss"]}
                if self.seen is not None and tokens > self.seen[0]:
                    self.beside["tokens_per_second"] = (tokens - self.seen[0]) / (now - self.seen[1])
                self.seen = (tokens, now)

    return Reporting()


def _point(logs: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in logs.items()
        if name not in _NOT_CURVES and not name.startswith("train_") and isinstance(value, int | float)
    }


def _curve(history: list[dict[str, Any]]) -> Curve:
    points = {entry["step"]: {"step": entry["step"], **_point(entry)} for entry in history if "loss" in entry}
    return [points[step] for step in sorted(points)]


def _restore(model: Any, checkpoint: Path) -> Curve:
    from safetensors.torch import load_file

    for shard in sorted(checkpoint.glob("model*.safetensors")):  # a large model is saved in several
        model.load_state_dict(load_file(shard), strict=False)
    return _curve(json.loads((checkpoint / "trainer_state.json").read_text())["log_history"])


def _any(flag: bool) -> bool:
    """True on every process if it is true on one of them."""
    if processes() == 1:
        return flag
    from accelerate.utils import gather_object

    return any(gather_object([bool(flag)]))


def _agreed(checkpoint: Path | None) -> Path | None:
    """The first process's answer, on every process."""
    if processes() == 1:
        return checkpoint
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([checkpoint])[0]

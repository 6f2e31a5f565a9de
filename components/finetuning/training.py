"""TRL trainers inside a stage: the order of examples, curves, sealed checkpoints, exact resume, stopping on request.

The order is fixed before training starts.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from components.contract import Context, Interrupted
from components.finetuning import adapters, checkpoints, sharding
from components.finetuning.frozen_head import frozen_head
from components.finetuning.hyperparameters import settle
from components.finetuning.parameters import FineTuningParameters
from components.training import choose_precision, forget_precision
from core.errors import InputProblem

Curve = list[dict[str, float]]

# Folder of the scratch folder with the answers that were drawn before the training; part of checkpoints.
ANSWERS = "answers"

# Left out of curves: they depend on the clock, or count from the last resume.
_NOT_CURVES = {"epoch", "step", "num_tokens", "total_flos", "step_time"}
_DEVELOPMENT = "development_loss"
_BATCHES_SORTED_TOGETHER = 50


def processes() -> int:
    """Processes of this stage."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join() -> None:
    """Join the processes of this stage, before they first do something together; where there is one, nothing."""
    if processes() == 1:
        return
    import torch
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available()
    PartialState(cpu=on_cpu, **({"backend": "gloo"} if on_cpu else {}))


def arguments(context: Context, config: Callable[..., Any], parameters: FineTuningParameters, **settings: Any) -> Any:
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
    forget_precision()
    built = config(
        output_dir=str(context.scratch / "checkpoints"),
        max_steps=parameters.steps or 1,  # these two are settled once the model is known
        per_device_train_batch_size=parameters.per_device_batch_size,
        per_device_eval_batch_size=parameters.per_device_batch_size,
        gradient_accumulation_steps=parameters.batch_size // share,
        learning_rate=1e-5 if parameters.learning_rate == "auto" else parameters.learning_rate,
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
        **({"max_length": None} if "max_length" in signature(config).parameters else {}) | settings,
    )
    built.mixed_precision = precision.mixed  # else that of the launch file wins over fp32
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
    order: list[int] | None = None,
    watch: Watch | None = None,
    development: Any = None,
    **settings: Any,
) -> Curve:
    """Train ``model`` in place with a TRL ``trainer`` class on a dataset that is tokenized already; return the curve.

    With ``sharding`` fsdp2 each process is left with a part of it: :func:`components.finetuning.sharding.whole`.

    ``lengths`` are the examples' lengths in tokens. Goes on from the newest whole checkpoint of the scratch folder and
    ends with the same weights as a run that was never interrupted.

    Args:
        order: places of the examples as they are seen, where that is not :func:`batch_order`; the caller then counts
            their tokens.
        watch: measured as the model learns; it then ends with the best weights that were seen.
        development: in place of that, examples like those of ``train_dataset``: of the first of them the trainer's own
            loss is measured every ``evaluate_every`` steps, if the parameters say so.

    Raises:
        Interrupted: ``context.stopping`` was set; a checkpoint has been saved.
    """
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import PrinterCallback, Trainer

    from components.optimizers import build, peaks

    if development is not None and parameters.evaluate_every is not None:
        watch = Watch(
            lambda _: running.evaluate(development)["eval_loss"], parameters.evaluate_every, parameters.patience
        )
    chosen = settle(context, parameters, model, len(lengths), description)
    settings["args"].max_steps, settings["args"].learning_rate = chosen.steps, chosen.learning_rate
    own_order = batch_order(lengths, parameters.batch_size, chosen.steps, context.seed) if order is None else order
    if order is None:
        context.tokens += sum(lengths[index] for index in own_order)
    root = context.scratch / "checkpoints"
    checkpoint = checkpoints.latest(root) if context.is_main else None
    if context.is_main:
        checkpoints.tidy(root, checkpoint)
    checkpoint = _agreed(checkpoint)
    if checkpoint is not None:
        history = _history(checkpoint)
        if checkpoints.step_of(checkpoint) == chosen.steps or (watch is not None and watch.is_over(history)):
            _load(model, checkpoint if watch is None else watch.best(history, root))
            return _curve(history)

    class StageTrainer(trainer):  # type: ignore[misc]
        """The TRL trainer with this stage's order, optimizer and sealed checkpoints."""

        optimizer: Any
        lr_scheduler: Any

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset  # it holds tokens already

        def _get_train_sampler(self, train_dataset: Any = None) -> list[int]:
            return own_order

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                self.optimizer = build(
                    self.model if model is None else model,
                    chosen.optimizer,
                    learning_rate=chosen.learning_rate,
                    muon_learning_rate=chosen.muon_learning_rate,
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

        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            gather = self.accelerator.__dict__.pop("gather_for_metrics")  # the last batch here is no whole one
            try:
                return super().evaluate(*args, **kwargs)
            finally:
                self.accelerator.gather_for_metrics = gather

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            if not adapters.is_attached(self.model):
                super()._save(output_dir, state_dict)
            elif self.args.should_save:  # the base's weights are where they were
                whole = state_dict if sharding.is_sharded(self.model) else None
                adapters.write(self.model, Path(output_dir or self.args.output_dir), whole)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            if adapters.is_attached(self.model) and not sharding.is_sharded(self.model):
                adapters.restore(self.model, Path(resume_from_checkpoint))
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            Trainer._save_checkpoint(self, model, trial)  # TRL's own only adds a model card
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                step, beside = self.state.global_step, [context.scratch / ANSWERS]
                if watch is not None and watch.has_measured(self.state.log_history):
                    beside.append(watch.best(self.state.log_history, root))
                checkpoints.publish(root / f"checkpoint-{step}", step, beside)

    with context.progress(description, chosen.steps, unit="steps") as advance:
        running = StageTrainer(
            model=model,
            train_dataset=train_dataset,
            callbacks=[_callback(context, parameters, advance, watch, root)],
            **settings,
        )
        running.remove_callback(PrinterCallback)
        sharding.gather_in_float32(running.accelerator)
        # Every batch is whole. accelerate, which counts the dataset instead of the order, would take rows of the last
        # one for repeated ones and leave them out of the curve, but not after a resume.
        running.accelerator.gather_for_metrics = running.accelerator.gather
        if adapters.is_attached(model):
            for parameter in model.parameters():
                if parameter.requires_grad:  # TRL rounds an adapter on a quantized base to bfloat16
                    parameter.data = parameter.data.float()
        with frozen_head(_head_is_frozen(model)):
            running.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    history = running.state.log_history
    if running.state.global_step < chosen.steps and not (watch is not None and watch.is_over(history)):
        raise Interrupted(f"{description}: stopped at step {running.state.global_step} of {chosen.steps}")
    if watch is not None:
        _load(model, watch.best(history, root))
    return _curve(history)


@dataclass(frozen=True)
class Watch:
    """A loss that is measured every so many steps, and when the training ends because it falls no more.

    Attributes:
        measure: the development loss of a model; it changes nothing.
        every: steps.
        patience: measurements without a better one after which the training ends; None: never before its last step.
    """

    measure: Callable[[Any], float]
    every: int
    patience: int | None = None

    def is_due(self, step: int, steps: int) -> bool:
        return step % self.every == 0 or step == steps

    def is_over(self, history: Sequence[dict[str, Any]]) -> bool:
        """True if the training that has this log is not worth going on with."""
        losses = [entry[_DEVELOPMENT] for entry in history if _DEVELOPMENT in entry]
        return self.patience is not None and len(losses) - 1 - int(np.argmin([*losses, np.inf])) >= self.patience

    @staticmethod
    def has_measured(history: Sequence[dict[str, Any]]) -> bool:
        """True if this log holds a measurement."""
        return any(_DEVELOPMENT in entry for entry in history)

    @staticmethod
    def best(history: Sequence[dict[str, Any]], root: Path) -> Path:
        """Where the weights with the lowest loss of this log are, the first of equal ones."""
        measured = [entry for entry in history if _DEVELOPMENT in entry]
        return root / f"best-{min(measured, key=lambda entry: entry[_DEVELOPMENT])['step']}"


def _head_is_frozen(model: Any) -> bool:
    """True if a model that predicts tokens learns by an adapter, which leaves its output layer as it is."""
    head = model.get_base_model().get_output_embeddings() if adapters.is_attached(model) else None
    return head is not None and not any(weights.requires_grad for weights in head.parameters())


def batch_order(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> list[int]:
    """Indices of ``steps * batch_size`` examples, epoch after epoch, with examples of a batch of like length.

    As transformers' length-grouped sampler (shuffle, sort within some 50 batches), but the batches are shuffled again:
    there, lengths fall from long to short every 50 steps, and training ends on the shortest examples. The whole order
    depends on nothing but the arguments, so a resumed run sees what an uninterrupted one sees.
    """
    random = np.random.default_rng(seed)
    lengths_array = np.asarray(lengths)
    needed = steps * batch_size
    order: list[int] = []
    while len(order) < needed:
        # A batch may straddle two passes over the data, so that no example is left out however few there are.
        passes = max(1, -(-batch_size // len(lengths_array)))
        shuffled = np.concatenate([random.permutation(len(lengths_array)) for _ in range(passes)])
        batches = []
        window = _BATCHES_SORTED_TOGETHER * batch_size
        for start in range(0, len(shuffled), window):
            part = shuffled[start : start + window]
            part = part[np.argsort(lengths_array[part], kind="stable")]
            batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        whole = [batch for batch in batches if len(batch) == batch_size]
        rest = [batch for batch in batches if len(batch) < batch_size]
        for index in random.permutation(len(whole)):
            order.extend(whole[index].tolist())
        for batch in rest:
            missing = random.choice(len(lengths_array), batch_size - len(batch))
            order.extend([*batch.tolist(), *missing.tolist()])
    return order[:needed]


def _callback(context: Context, parameters: FineTuningParameters, advance: Any, watch: Watch | None, root: Path) -> Any:
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):  # type: ignore[misc]
        """Curves and progress to the context; a checkpoint at the end and when the stage is stopped."""

        def __init__(self) -> None:
            self.beside: dict[str, float] = {}  # what is shown beside the bar: the latest point's loss and speed
            self.seen: tuple[float, float] | None = None  # tokens and time at the point before

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step:
                advance(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            advance(1, **self.beside)
            last = state.global_step >= state.max_steps
            if watch is not None and watch.is_due(state.global_step, state.max_steps):
                self.measure(kwargs["model"], state)
                last = last or watch.is_over(state.log_history)
            # Stopping waits for the next point of the curve, so that the curve too goes on as if nothing had happened.
            if last or (state.global_step % parameters.log_every == 0 and _any(context.stopping)):
                control.should_save = True
                control.should_log = True
                control.should_training_stop = True
            return control

        def measure(self, model: Any, state: Any) -> None:
            loss = watch.measure(model)
            model.train()
            # Not by the trainer's log, which would end a point of the training curve.
            state.log_history.append({"step": state.global_step, _DEVELOPMENT: loss})
            context.log({_DEVELOPMENT: loss}, state.global_step)
            best = watch.best(state.log_history, root)
            if best.name != f"best-{state.global_step}":
                return
            state_dict = sharding.weights(model) if sharding.is_sharded(model) else None
            if context.is_main:
                shutil.rmtree(best, ignore_errors=True)
                if adapters.is_attached(model):
                    adapters.write(model, best, state_dict)
                else:
                    model.save_pretrained(best, state_dict=state_dict)
                checkpoints.seal(best)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            # Only now: a run that goes on from the checkpoint before this one needs the best weights of its own log.
            if context.is_main and watch is not None and watch.has_measured(state.log_history):
                for path in root.glob("best-*"):
                    if path != watch.best(state.log_history, root):
                        shutil.rmtree(path)

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


def _history(checkpoint: Path) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return history


def _load(model: Any, folder: Path) -> None:
    """Give ``model`` the weights in ``folder``."""
    from safetensors.torch import load_file

    if adapters.is_attached(model):
        adapters.restore(model, folder)
    for file in sorted(folder.glob("model*.safetensors")):  # a large model is saved in several
        if sharding.is_sharded(model):
            sharding.give(model, load_file(file))
        else:
            model.load_state_dict(load_file(file), strict=False)


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

    agreed: list[Path | None] = broadcast_object_list([checkpoint])
    return agreed[0]

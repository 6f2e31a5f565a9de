"""The peer `transformers.Trainer`, in its own virtual environment: `python huggingface_trainer.py ORDER.json`.

Without a learning rate in the order everything but batch, steps and precision is the Trainer's default.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from marks import Marks
from profiling import ProfiledMarks
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments


class PackedTokens(torch.utils.data.Dataset):
    """Windows of ``context`` tokens of a flat file; the model shifts the labels itself."""

    def __init__(self, path: str, dtype: str, context: int):
        self._tokens, self._context = np.memmap(path, dtype=dtype, mode="r"), context

    def __len__(self) -> int:
        return len(self._tokens) // self._context

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start = index * self._context
        window = torch.from_numpy(self._tokens[start : start + self._context].astype(np.int64))
        return {"input_ids": window, "labels": window}


class Timer(TrainerCallback):
    """Marks the bounds of the steps."""

    def __init__(self, marks: Marks):
        self._marks = marks

    def on_step_begin(self, arguments, state, control, **_):
        if state.global_step == 0:
            self._mark()

    def on_step_end(self, arguments, state, control, **_):
        self._mark()

    def _mark(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._marks.mark()


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(order["seed"])
    config = LlamaConfig(max_position_embeddings=order["context"], **order["shape"])
    model = LlamaForCausalLM(config)
    rate = order.get("learning_rate")
    tuned = {} if rate is None else {
        "learning_rate": rate, "weight_decay": 0.1, "adam_beta1": 0.9, "adam_beta2": 0.95,
        "lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        "warmup_steps": order["warmup_steps"],
    }  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(Path(order["folder"]) / "trainer"),
        per_device_train_batch_size=order["batch"],
        max_steps=order["steps"],
        seed=order["seed"],
        bf16=order["precision"] == "bf16",
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        save_strategy="no",
        **tuned,
    )
    data = PackedTokens(order["tokens"], order["dtype"], order["context"])
    marks = Marks(order["marks"])
    if order["profile"]:
        marks = ProfiledMarks(order["marks"], order["steps"], str(Path(order["folder"]) / "profile.json"))
    trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[Timer(marks)])
    trainer.train()
    if order["score"]:
        model.save_pretrained(Path(order["folder"]) / "models/base")


if __name__ == "__main__":
    main()

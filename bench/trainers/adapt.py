"""One LoRA fine-tuning by a trainer, on the order in a file: `python adapt.py TRAINER ORDER.json`.

Runs in the trainer's own environment; ``stemma`` and ``trl`` in ours. Writes ``result.json`` into the order's folder:
the seconds that the trainer itself counts for its training, and the largest resident set.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

from marks import peak


def main() -> None:
    name, path = sys.argv[1:]
    order = json.loads(Path(path).read_text())
    seconds = {"stemma": stemma, "trl": trl, "llamafactory": llamafactory}[name](order)
    Path(order["folder"], "result.json").write_text(json.dumps({"seconds": seconds, "peak": peak()}))


def stemma(order: dict[str, Any]) -> float:
    """The stage instruct_finetune; its clock runs from the trainer's making to the last checkpoint's end."""
    from bench.stages import run_stage
    from components.contract import Context

    spent: list[float] = []

    class Timed(Context):
        @contextmanager
        def progress(self, description: str, *arguments: Any, **options: Any) -> Iterator[Any]:
            began = time.perf_counter()
            with super().progress(description, *arguments, **options) as advance:
                yield advance
            if description == "instruct_finetune":
                spent.append(time.perf_counter() - began)

    parameters = {
        "steps": order["steps"],
        "per_device_batch_size": order["batch"],
        "seq_length": order["length"],
        "too_long": "skip",
        "optimizer": "adamw",
        "learning_rate": order["rate"],
        "beta2": 0.999,
        "schedule": "constant",
        "warmup_ratio": 0.0,
        "precision": order["precision"],
        "adapter": {"type": "lora", "rank": order["rank"], "alpha": order["alpha"]},
        "checkpoint_every": order["steps"],
        "log_every": order["steps"],
        "generation": {"max_new_tokens": 1},
        **_checkpointing(order, "gradient_checkpointing"),
    }
    run_stage(
        "instruct_finetune", Path(order["folder"]), parameters, inputs=Path(order["data"]), seed=order["seed"],
        context_type=Timed,
    )  # fmt: skip
    return sum(spent)


def trl(order: dict[str, Any]) -> float:
    """TRL's SFTTrainer with PEFT as its documentation shows it, on the conversations as they are."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=str(Path(order["data"], "models/base")),
        train_dataset=Dataset.from_list([
            {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in order["rows"]
        ]),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM", r=order["rank"], lora_alpha=order["alpha"], target_modules="all-linear"
        ),
        args=SFTConfig(
            output_dir=str(Path(order["folder"], "trl")),
            max_steps=order["steps"],
            per_device_train_batch_size=order["batch"],
            max_length=order["length"],
            learning_rate=order["rate"],
            lr_scheduler_type="constant",
            warmup_steps=0,
            seed=order["seed"],
            bf16=order["precision"] == "bf16",
            model_init_kwargs={"dtype": "bfloat16" if order["precision"] == "bf16" else "float32"},
            use_cpu=not torch.cuda.is_available(),
            train_sampling_strategy="group_by_length",  # as the stage does
            report_to="none",
            save_strategy="no",
            **_checkpointing(order, "gradient_checkpointing"),
        ),
    )  # fmt: skip
    seconds = trainer.train().metrics["train_runtime"]
    trainer.save_model(str(Path(order["folder"], "adapter")))
    return seconds


def llamafactory(order: dict[str, Any]) -> float:
    """LLaMA-Factory, by the function behind `llamafactory-cli train`."""
    # Images and sounds only; their native parts do not fit every build of torch.
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    sys.modules["torchaudio"] = module_from_spec(ModuleSpec("torchaudio", None))
    from llamafactory.train.tuner import run_exp

    out = Path(order["folder"], "adapter")
    data = Path(order["folder"], "llamafactory")
    data.mkdir(parents=True, exist_ok=True)
    (data / "rows.json").write_text(json.dumps(order["rows"]))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    columns = {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    (data / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json", **columns}}))
    run_exp({
        "model_name_or_path": str(Path(order["data"], "models/base")),
        "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_target": "all",
        "lora_rank": order["rank"], "lora_alpha": order["alpha"], "lora_dropout": 0.0,
        "dataset": "rows", "dataset_dir": str(data), "template": "smollm2", "cutoff_len": order["length"],
        "output_dir": str(out), "overwrite_output_dir": True, "save_strategy": "no", "report_to": "none",
        "max_steps": order["steps"], "per_device_train_batch_size": order["batch"], "gradient_accumulation_steps": 1,
        "learning_rate": order["rate"], "lr_scheduler_type": "constant", "warmup_steps": 0, "seed": order["seed"],
        "bf16": order["precision"] == "bf16", "use_cpu": True, "preprocessing_num_workers": 1,
        "train_sampling_strategy": "group_by_length",  # as the stage does
        **_checkpointing(order, "disable_gradient_checkpointing", off=True),
    })  # fmt: skip
    return json.loads((out / "train_results.json").read_text())["train_runtime"]


def _checkpointing(order: dict[str, Any], name: str, *, off: bool = False) -> dict[str, bool]:
    """The trainer's parameter ``name`` as the order says (``off``: it switches recomputation off), or its default."""
    return {} if order["recompute"] is None else {name: order["recompute"] is not off}


if __name__ == "__main__":
    main()

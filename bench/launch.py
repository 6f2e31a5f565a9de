"""Starts one measurement in a process of its own, pinned to its cores, and reads its clocks."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from core.processes import die_with_parent

ROOT = Path(__file__).resolve().parents[1]
TRAINERS = ROOT / "bench/trainers"


class TrainerFailed(RuntimeError):
    """A measured program ended badly; the message holds the end of what it printed."""


def run_pinned(command: Sequence[str | Path], cores: Sequence[int], log: Path, cwd: Path = ROOT) -> None:
    """Run ``command`` on ``cores`` with a thread for each, its output in ``log``; it ends when this process does.

    Raises:
        TrainerFailed: it ended with another code than 0.
    """
    threads = str(len(cores))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TRAINERS)]),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }

    def prepare() -> None:
        die_with_parent()
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)

    with open(log, "a") as file:
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, env=environment, stdout=file, stderr=file, check=False,
            preexec_fn=prepare,
        )  # fmt: skip
    if done.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise TrainerFailed(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{end}")


def commands(trainer: str, order: Path, python: Path) -> list[list[str | Path]]:
    """What measures ``trainer`` on the order in file ``order``: its training, its export, the score."""
    body = json.loads(order.read_text())
    score = [[sys.executable, "-m", "bench.trainers.score", order]] if body["score"] else []
    if trainer == "stemma":
        return [[sys.executable, "-m", "bench.trainers.stemma_stage", order], *score]
    if trainer == "transformers":
        return [[python, TRAINERS / body["settings"].get("program", "huggingface_trainer.py"), order], *score]
    config = order.with_name("litgpt.yaml")
    with open(config, "w") as file:
        YAML(typ="safe").dump(litgpt_config(body), file)
    export = [[python, TRAINERS / "litgpt_export.py", order]] if body["score"] else []
    return [[python.with_name("litgpt"), "pretrain", "--config", config], *export, *score]


def litgpt_config(order: Mapping[str, Any]) -> dict[str, Any]:
    """The order as a configuration file of `litgpt pretrain`."""
    shape, rate = order["shape"], order.get("learning_rate") or 4e-4  # 4e-4: litgpt's own for its small Llamas
    heads = shape["num_attention_heads"]
    return {
        "model_name": "bench-llama",
        "model_config": {
            "name": "bench-llama",
            "block_size": order["context"],
            "vocab_size": shape["vocab_size"],
            "padded_vocab_size": shape["vocab_size"],
            "n_layer": shape["num_hidden_layers"],
            "n_head": heads,
            "head_size": shape["hidden_size"] // heads,
            "n_query_groups": shape["num_key_value_heads"],
            "n_embd": shape["hidden_size"],
            "rotary_percentage": 1.0,
            "parallel_residual": False,
            "bias": False,
            "norm_class_name": "RMSNorm",
            "norm_eps": 1e-6,
            "mlp_class_name": "LLaMAMLP",
            "intermediate_size": shape["intermediate_size"],
        },
        "out_dir": str(Path(order["folder"]) / "litgpt"),
        "precision": {"fp32": "32-true", "bf16": "bf16-mixed"}[order["precision"]],
        "data": {
            "class_path": "litgpt_data.PackedTokenModule",
            "init_args": {name: order[name] for name in ("tokens", "dtype", "marks", "seed")},
        },
        "train": {
            "save_interval": None,
            "log_interval": 1,
            "global_batch_size": order["batch"],
            "micro_batch_size": order["batch"],
            "lr_warmup_steps": order["warmup_steps"],
            "max_tokens": order["steps"] * order["batch"] * order["context"],
            "max_norm": 1.0,
            "min_lr": 0.1 * rate,
            "tie_embeddings": shape["tie_word_embeddings"],
        },
        "eval": {"interval": 1_000_000_000, "max_iters": 1, "final_validation": False},
        "optimizer": {
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": rate, "weight_decay": 0.1, "betas": [0.9, 0.95]},
        },
        "devices": 1,
        "logger_name": "csv",
        "seed": order["seed"],
    }


def clocks(marks: Path) -> dict[str, Any]:
    """Seconds of each step by both clocks, and the largest resident set."""
    lines = [json.loads(line) for line in marks.read_text().splitlines()]
    return {
        clock: [after[clock] - before[clock] for before, after in itertools.pairwise(lines)]
        for clock in ("wall", "cpu")
    } | {"peak": max((line["peak"] for line in lines), default=0)}

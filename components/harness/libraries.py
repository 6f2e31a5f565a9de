"""What the processes of stages share: the variables that libraries read when they are imported, and the libraries."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core import adapted
from core.environment import child_environment
from core.prefork import Prefork, is_possible

QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "true",
    # The harness shows progress; bars and deprecation notes of libraries would bury it.
    "TQDM_DISABLE": "1",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
SETTINGS = {
    **QUIET,
    "PYTHONHASHSEED": "0",
    # Waiting threads that spin take the cores from whatever else runs; it must be set before torch is imported.
    "OMP_WAIT_POLICY": "PASSIVE",
    "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "1"),  # huge pages for large tensors
}
#: accelerate and peft import these wherever they are: boto3 for SageMaker.
SELDOM_USED = ("boto3", "deepspeed", "bitsandbytes")

#: Modules that the harness of every stage needs, and the DVC that starts it.
HARNESS = ("dvc.cli", "dvc.cli.parser", "dvc.repo", "dvc.lock", "dvc.stage.run", "dvc.data_cloud", "psutil",
           "pydantic", "mlflow.store.tracking.sqlalchemy_store", "mlflow", "alembic.command", "jinja2")  # fmt: skip
_TABLES = ("numpy", "pyarrow.parquet", "tokenizers")
#: What every stage that trains a transformer needs, and a plan of one.
TRAINING = ("torch", "accelerate", "transformers.generation", "transformers.models.llama.modeling_llama")
_FINE_TUNING = ("datasets", "peft", "transformers.trainer", "sklearn.feature_extraction.text", "sklearn.linear_model")
_TRL = ("trl.trainer.sft_trainer", "trl.trainer.reward_trainer", "trl.trainer.dpo_trainer")
_OF_STAGES = {
    "curate": (*_TABLES, "rensa"),
    "tokenize": _TABLES,
    "pretrain": TRAINING,
    "evaluate": (*TRAINING, "datasets", "lm_eval.evaluator", "lm_eval.models.huggingface", "sacrebleu"),
    "classify_finetune": (*TRAINING, *_FINE_TUNING),
    "instruct_finetune": (*TRAINING, *_FINE_TUNING, *_TRL),
    "reward_model": (*TRAINING, *_FINE_TUNING, *_TRL),
    "preference_tune": (*TRAINING, *_FINE_TUNING, *_TRL),
}


def worker_variables(processes: int) -> dict[str, str]:
    """Variables of a worker that share this machine's cores with its like: its settings, and its threads."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    return {**SETTINGS, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}


def prefork(stages: Iterable[str], first: Sequence[str] = HARNESS) -> Prefork | None:
    """A process that imports once what these stages need; ``None`` where none can be forked from.

    Args:
        first: modules that every program needs, of those that take long to import.
    """
    if not is_possible():
        return None
    environment = child_environment(worker_variables(1))
    return Prefork(first, of_stages(stages), environment=environment, without=SELDOM_USED)


def of_stages(stages: Iterable[str]) -> list[str]:
    """Modules that the stages need besides :data:`HARNESS`, of those that take long to import, in the stages' order."""
    found = [each for stage in stages for each in _OF_STAGES.get(stage.partition("@")[0], ())]
    return list(dict.fromkeys(found))


def unused(parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
    """Which of :data:`SELDOM_USED` a stage with these parameters and inputs (paths, by name) has no use for."""
    found = ["boto3"]
    if parameters.get("sharding") != "zero3":
        found.append("deepspeed")
    quantized = any(adapted.uses_bitsandbytes(Path(folder)) for folder in inputs.values())
    small_moments = str(parameters.get("optimizer")).endswith(("_8bit", "auto"))
    if not quantized and not small_moments and (parameters.get("adapter") or {}).get("type") != "qlora":
        found.append("bitsandbytes")
    return found

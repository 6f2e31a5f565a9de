"""What parameters ask of a model beyond its family: a context that it has, questions that its chat template takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from core.errors import InputProblem

STAGES = ("classify_finetune", "instruct_finetune", "reward_model", "preference_tune")


def problems(folder: Path, stages: Collection[str], values: Mapping[str, Any], *, asks: bool) -> list[str]:
    """What the wanted ``stages`` ask in vain of the model in ``folder``, read from its configuration and tokenizer.

    Args:
        values: the content of ``params.yaml``.
        asks: the stages ask it questions by its own tokenizer.
    """
    found, longest = [], _context(folder)
    sections = {stage: values.get(stage) or {} for stage in STAGES if stage in stages}
    for stage, section in sections.items():
        wanted = section.get("seq_length")
        if longest is not None and isinstance(wanted, int) and wanted > longest:
            found.append(
                f"{stage}.seq_length: {wanted:,} tokens are more than the {longest:,} that the model takes: lower it, "
                "or set it to auto"
            )
    instruct = sections.get("instruct_finetune")
    if asks and instruct is not None and instruct.get("template", "chat") == "chat" and (why := _refusal(folder)):
        found.append(f"pretrain.init: {why}; set instruct_finetune.template to alpaca, or take another model")
    return found


def _context(folder: Path) -> int | None:
    """Most tokens that the model takes, as far as its configuration says so."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError):
        return None  # the stage that loads the model says what is wrong with it
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    return longest if isinstance(longest, int) else None


def _refusal(folder: Path) -> str | None:
    """Why the chat template does not take the plainest question."""
    from components.conversations import refusals
    from components.finetuning.models import load_tokenizer

    try:
        found = refusals(load_tokenizer(folder), [[{"role": "user", "content": "Hello"}]])
    except InputProblem as problem:
        return str(problem)
    return f"of a question, {found[0]}" if found else None

"""The evaluate stage: measure one model, record the metrics beside their baselines, write the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from components.contract import Context
from components.evaluate import answers, documents
from components.evaluate.continuations import continuations_section
from components.evaluate.section_answers import answers_section
from components.evaluate.section_harness import harness_section
from components.evaluate.section_held_out import held_out_section
from components.evaluate.subject import Subject
from components.finetuning.models import load_causal, load_tokenizer
from components.tasks import has_verifier
from core.errors import InputProblem

# The base model has learnt documents, not turns: the harness shows it questions as documents.
_CHAT_INSTANCES = frozenset({"instruct", "assistant"})


def run(context: Context) -> None:
    """Measure ``models/<instance>``."""
    parameters = context.parameters
    include_path = _include_path(parameters.lm_eval.include_path)
    corpus, instructions = context.inputs["corpus"], context.inputs["instructions"]
    test = documents.sample(corpus, "test", parameters.held_out.documents, context.seed)
    training = documents.sample(corpus, "train", parameters.held_out.baseline_documents, context.seed)
    records, available = answers.load(instructions, parameters.answers.prompts, context.seed)

    # Read when tqdm is first imported: the lm-evaluation-harness would draw its bars over the run's own.
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch

    context.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(context.seed)
    chat = context.instance in _CHAT_INSTANCES
    subject = Subject(
        context=context,
        model=load_causal(context.inputs["model"], dtype="auto").eval(),
        tokenizer=load_tokenizer(context.inputs["model"]),
        # The one metric for the run's last screen: a base model predicts, the others answer (if they can be judged).
        headline="accuracy" if chat and any(map(has_verifier, records)) else "bits_per_byte",
        chat=chat,
    )
    answers.require_room(subject.tokenizer, records, subject.window)

    report: dict[str, Any] = {"instance": context.instance, "seed": context.seed, "chat": subject.chat}
    report["held_out"] = held_out_section(subject, test, training)
    subject.stop_if_asked()
    report["answers"] = answers_section(subject, records, available)
    subject.stop_if_asked()
    report["lm_eval"] = harness_section(subject, test, records, include_path)
    report["continuations"] = continuations_section(subject)

    context.report(report)


def _include_path(configured: str | None) -> Path | None:
    if configured is None:
        return None
    path = Path(configured)
    if not path.is_dir():
        raise InputProblem(f"evaluate.lm_eval.include_path: there is no folder {configured!r} in the workspace")
    return path

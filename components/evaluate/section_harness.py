"""Metrics of the lm-evaluation-harness: two tasks made of the held-out data, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.contract import Metric
from components.conversations import control_tokens
from components.evaluate import answers, choices, documents, harness_tasks
from components.evaluate.subject import Subject
from components.finetuning.records import texts


def harness_section(
    subject: Subject, test: documents.Sample, records: Sequence[answers.Record], include_path: Path | None
) -> dict[str, Any]:
    """Record the metrics of the harness's tasks."""
    context = subject.context
    parameters = context.parameters.lm_eval
    # The harness makes tokens of strings, in which a spelled control token would become one.
    spelling = control_tokens(subject.tokenizer)
    plain = [record for record in records if not any(map(spelling.search, texts(record)))]
    items = choices.build(plain, context.seed)[: parameters.limit]
    sampled = [document for document in test.documents if not spelling.search(document.text)][: parameters.limit]
    # The inputs that our own tasks are made of.
    sources = {"instruction_choice": "instructions", "heldout_documents": "corpus"}
    found, refused = harness_tasks.run(
        subject.model,
        subject.tokenizer,
        tasks=parameters.tasks,
        rows={
            "instruction_choice": choices.as_rows(items, chat=subject.chat, end=subject.tokenizer.eos_token),
            "heldout_documents": [{"text": document.text, "group": document.group} for document in sampled],
        },
        include_path=include_path,
        chat=subject.chat,
        context=subject.window,
        limit=parameters.limit,
        batch_size=parameters.batch_size,
        seed=context.seed,
        scratch=context.scratch,
    )
    if "instruction_choice" in parameters.tasks and not items:
        context.warn("lm_eval's instruction_choice was left out: no test instruction has a right and a wrong answer")
    for task, reason in refused.items():
        context.warn(f"lm_eval's task {task} was left out: {reason}")
    for figure in found:
        guessing = {"chance": choices.chance_level(items)} if figure.task == "instruction_choice" else {}
        context.record(
            Metric(
                figure.name,
                figure.value,
                figure.higher_is_better,
                figure.stderr,
                figure.n,
                sources.get(figure.task),
                guessing,
            )
        )
    return {
        "limit": parameters.limit,
        "chance": choices.chance_level(items) if items else None,
        "tasks": [asdict(figure) for figure in found],
        "refused": refused,
    }

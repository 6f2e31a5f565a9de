"""Answers of a model to many prompts, kept in the scratch folder so that no answer is generated twice after a crash."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from components.contract import Context, Interrupted
from components.finetuning import checkpoints
from components.finetuning.parameters import GenerationParameters
from components.finetuning.records import Record, conversation
from components.finetuning.training import ANSWERS, join, processes
from components.generation import answers
from core.files import read_json, write_json

_CHUNK = 1024  # prompts kept together


def answer_records(
    context: Context,
    name: str,
    model: Any,
    tokenizer: Any,
    records: Sequence[Record],
    parameters: GenerationParameters,
    *,
    samples: int = 1,
    temperature: float = 0.0,
) -> list[list[str]]:
    """``samples`` answers to each record's question. ``name`` distinguishes the stage's several sets of answers.

    The processes of a stage share the work.

    Raises:
        Interrupted: ``context.stopping`` was set; finished chunks are kept.
    """
    folder = context.scratch / ANSWERS
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoints.latest(context.scratch / "checkpoints")  # it may come from another machine
    folders = [folder] if checkpoint is None else [folder, checkpoint / checkpoints.BESIDE / ANSWERS]
    rank, world = int(os.environ.get("RANK", "0")), processes()
    done: dict[int, list[list[str]]] = {}
    with context.progress(f"answers: {name}", len(records) * samples, unit="answers") as advance:

        def on_batch(count: int) -> None:
            advance(count)
            if context.stopping and world == 1:
                raise Interrupted(f"stopped while answering: {name}")

        # Chunks are dealt out in turn, smaller where several processes share the work.
        size = max(1, min(_CHUNK, -(-len(records) // world)))
        for number, start in enumerate(range(0, len(records), size)):
            if number % world != rank:
                continue
            chunk = records[start : start + size]
            path = f"{name}-{number:05d}.json"
            if kept := next((each / path for each in folders if (each / path).exists()), None):
                done[start] = read_json(kept, [])
                advance(len(chunk) * samples)
                continue
            done[start] = answers(
                model,
                tokenizer,
                [conversation(record) for record in chunk],
                samples=samples,
                temperature=temperature,
                max_new_tokens=parameters.max_new_tokens,
                batch_size=parameters.batch_size,
                seed=context.seed,
                on_batch=on_batch,
            )
            write_json(folder / path, done[start])
    if world > 1:
        join()
        from accelerate.utils import gather_object

        done = dict(gather_object(list(done.items())))
    return [row for start in sorted(done) for row in done[start]]

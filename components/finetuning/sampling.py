"""Answers of a model to many prompts, kept in the scratch folder so that no answer is generated twice after a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from components.contract import Context, Interrupted
from components.finetuning import checkpoints
from components.finetuning.models import load_causal, load_tokenizer
from components.finetuning.parameters import GenerationParameters
from components.finetuning.records import Record, conversation
from components.finetuning.training import ANSWERS, join, processes
from components.generation import AnswerBatch, generate, plan
from core.files import read_json, write_json

_CHUNK = 1024  # prompts kept together
_LOOK_SECONDS = 0.2  # between two looks of a process at what the main one has drawn


@dataclass(frozen=True)
class SavedModel:
    """Where copies of a model on a cluster find it.

    Attributes:
        folder: of the model and its tokenizer.
        load: makes of it what the stage has: :func:`in_float32` or :func:`as_saved`.
    """

    folder: Path
    load: Callable[[Path], tuple[Any, Any]]

    def check(self, context: Context) -> None:
        """Where copies are to help, look at the cluster before anything is done.

        Raises:
            InputProblem: what is wrong with it, or with a node.
        """
        if context.help is not None and context.is_main:
            list(context.help(self.load, self.folder, _drawn, [], None))


def in_float32(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer, as the models are loaded that a training begins with."""
    return load_causal(folder), load_tokenizer(folder)


def as_saved(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a training that has ended, in the type that it was saved in."""
    return load_causal(folder, dtype="auto"), load_tokenizer(folder)


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
    saved: SavedModel | None = None,
) -> list[list[str]]:
    """``samples`` answers to each record's question. ``name`` distinguishes the stage's several sets of answers.

    The processes of a stage share the work. Where there are copies on a cluster, and they can load the model, these
    share it with the main process alone: in the same batches as where one process does all, so that every answer is
    the same to the last byte.

    Args:
        saved: where copies find the model; ``None``: they cannot.

    Raises:
        Interrupted: ``context.stopping`` was set; finished chunks are kept.
    """
    folder = context.scratch / ANSWERS
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoints.latest(context.scratch / "checkpoints")  # it may come from another machine
    folders = [folder] if checkpoint is None else [folder, checkpoint / checkpoints.BESIDE / ANSWERS]
    helped = saved is not None and context.help is not None
    rank, world = int(os.environ.get("RANK", "0")), 1 if helped else processes()
    # Chunks are dealt out in turn, smaller where several processes share the work.
    size = max(1, min(_CHUNK, -(-len(records) // world)))
    paths = {
        start: f"{name}-{size}-{number:05d}.json"  # a cluster that had room for copies may have none the next time
        for number, start in enumerate(range(0, len(records), size))
        if helped or number % world == rank
    }

    def kept(start: int) -> Path | None:
        return next((path for each in folders if (path := each / paths[start]).exists()), None)

    if helped and not context.is_main:
        return [row for start in paths for row in _waited(context, partial(kept, start), name)]
    done: dict[int, list[list[str]]] = {}
    with context.progress(f"answers: {name}", len(records) * samples, unit="answers") as advance:
        for start in paths:
            if (found := kept(start)) is not None:
                done[start] = read_json(found, [])
                advance(len(done[start]) * samples)
        plans = {
            start: plan(
                model,
                tokenizer,
                [conversation(record) for record in records[start : start + size]],
                samples=samples,
                temperature=temperature,
                max_new_tokens=parameters.max_new_tokens,
                batch_size=parameters.batch_size,
                seed=context.seed,
            )
            for start in paths
            if start not in done
        }
        places = [(start, place) for start, planned in plans.items() for place in range(len(planned.batches))]
        batches = [batch for planned in plans.values() for batch in planned.batches]
        texts: dict[int, dict[int, list[str]]] = {start: {} for start in plans}
        with closing(_answered(context, model, tokenizer, batches, saved)) as answered:
            for number, answers in answered:
                start, place = places[number]
                texts[start][place] = answers
                if len(texts[start]) == len(plans[start].batches):
                    done[start] = plans[start].answers(texts.pop(start))
                    write_json(folder / paths[start], done[start])
                advance(len(answers))
                if context.stopping and world == 1:
                    raise Interrupted(f"stopped while answering: {name}")
    if world > 1:
        join()
        from accelerate.utils import gather_object

        done = dict(gather_object(list(done.items())))
    return [row for start in sorted(done) for row in done[start]]


def _answered(
    context: Context, model: Any, tokenizer: Any, batches: list[AnswerBatch], saved: SavedModel | None
) -> Generator[tuple[int, list[str]]]:
    """The place of each batch and its answers, as they are done."""
    own = model, tokenizer
    if saved is not None and context.help is not None:
        return context.help(saved.load, saved.folder, _drawn, batches, own)
    return ((place, _drawn(own, batch)) for place, batch in enumerate(batches))


def _drawn(loaded: tuple[Any, Any], batch: AnswerBatch) -> list[str]:
    return generate(*loaded, batch)


def _waited(context: Context, found: Callable[[], Path | None], name: str) -> list[list[str]]:
    """Answers that the main process draws, once it has kept them. Waiting together would end after minutes."""
    while (path := found()) is None:
        if context.stopping:
            raise Interrupted(f"stopped while waiting for answers: {name}")
        time.sleep(_LOOK_SECONDS)
    answers: list[list[str]] = read_json(path, [])
    return answers

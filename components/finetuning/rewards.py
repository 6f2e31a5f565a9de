"""How good answers are by a reward model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from components.contract import Context
from components.conversations import render
from components.encoder_decoder import plain
from components.finetuning.models import context_length, load_reward_model, load_tokenizer
from components.finetuning.records import Record, conversation
from components.finetuning.scoring import padded_batches
from components.finetuning.templates import encode_answers
from components.finetuning.training import processes

Batch = list[list[int]]  # token ids of conversations that are scored side by side
# Takes batches and gives the place of each and its rewards, as they are done.
Run = Callable[[Sequence[Batch]], Iterable[tuple[int, list[float]]]]
_ROWS = 128  # of a batch


def rewards(model: Any, conversations: Sequence[list[int]], *, pad: int, run: Run | None = None) -> list[float]:
    """The reward of each conversation, given as token ids (any unit; only differences mean something).

    Args:
        run: does :func:`_scored` of each batch, with the same model elsewhere too; ``None``: it is done here.
    """
    order = sorted(range(len(conversations)), key=lambda place: len(conversations[place]))
    places = [order[start : start + _ROWS] for start in range(0, len(order), _ROWS)]
    batches = [[conversations[place] for place in each] for each in places]
    found = [0.0] * len(conversations)
    here = ((number, _scored(model, batch, pad)) for number, batch in enumerate(batches))
    for number, values in here if run is None else run(batches):
        for place, value in zip(places[number], values, strict=True):
            found[place] = value
    return found


def _scored(model: Any, batch: Batch, pad: int) -> list[float]:
    """The rewards of conversations of like length, the shortest first."""
    import torch

    model.eval()
    with torch.inference_mode():
        [(_, ids, real)] = padded_batches(model, batch, pad=pad, batch_size=len(batch))
        values: list[float] = model(input_ids=ids, attention_mask=real).logits[:, 0].float().tolist()
    return values


def encode_answered(
    tokenizer: Any, records: Sequence[Record], answers: Sequence[str], limit: int | None = None
) -> tuple[list[list[int]], Mapping[int, str]]:
    """Token ids of each record's question with its answer, as a reward model reads them.

    A decoder reads the conversation as its chat template shows it. A tokenizer without one is that of an encoder, which
    reads question and answer as two texts, with what its family puts around them. Text that spells a control token is
    text.

    Args:
        limit: most tokens. A conversation is cut at its end, of two texts the longer one.

    Returns:
        The ids, and by the place of an answer why the template does not show it.

    Raises:
        InputProblem: the chat template refuses a question.
    """
    if tokenizer.chat_template:
        found = encode_answers(tokenizer, records, answers)
        return [ids[:limit] for ids in found.whole().input_ids], found.faults
    if not records:
        return [], {}
    questions = [_question(record) for record in records]
    ids: list[list[int]] = tokenizer(
        questions, list(answers), truncation=limit is not None, max_length=limit, split_special_tokens=True
    )["input_ids"]
    return ids, {}


def _question(record: Record) -> str:
    """All up to the answer as text: the tools as JSON, and the turns."""
    tools = [json.dumps(tool, ensure_ascii=False) for tool in record.get("tools") or ()]
    return "\n".join([*tools, plain(conversation(record))])


@dataclass
class Reading:
    """How much of what it was given a reward model has read.

    Attributes:
        answers: that it was given, each with its question.
        cut: of these, the ones longer than what it reads.
        unread: of these again, the ones with a question that alone is so long: their reward says nothing of the answer.
        unshown: of all, the ones that its chat template does not show as they are: their text is read instead.
    """

    answers: int = 0
    cut: int = 0
    unread: int = 0
    unshown: int = 0


@dataclass(frozen=True)
class Rewarder:
    """A reward model with the tokenizer that it was trained with, which need not be that of the answering model.

    Attributes:
        limit: tokens of a question with its answer that it reads; the rest is cut off, and counted.
        reading: what it has read since :meth:`take` was called.
        run: has copies on a cluster score batches beside this process; ``None``: there are none.
    """

    model: Any
    tokenizer: Any
    limit: int
    reading: Reading = field(default_factory=Reading)
    run: Run | None = None

    def __call__(self, records: Sequence[Record], answers: Sequence[str]) -> list[float]:
        """The reward of one answer to each record's question.

        Raises:
            InputProblem: the reward model's chat template refuses a question.
        """
        ids, faults = encode_answered(self.tokenizer, records, answers)
        long = [place for place, each in enumerate(ids) if len(each) > self.limit]
        self.reading.answers += len(ids)
        self.reading.cut += len(long)
        self.reading.unshown += len(faults)
        if long:
            questions = [records[place] for place in long]
            shortened, _ = encode_answered(self.tokenizer, questions, [answers[place] for place in long], self.limit)
            for place, each in zip(long, shortened, strict=True):
                ids[place] = each
            if self.tokenizer.chat_template:  # of two texts both keep their beginning
                asked = render(self.tokenizer, [conversation(record) for record in questions])
                self.reading.unread += sum(len(question) >= self.limit for question in asked)
        return rewards(self.model, ids, pad=self.tokenizer.pad_token_id, run=self.run)

    def take(self) -> Reading:
        """What was read since the last call; counting begins anew."""
        taken = replace(self.reading)
        vars(self.reading).update(vars(Reading()))
        return taken

    def words(self, what: str, reading: Reading) -> list[str]:
        """What of the answers that ``what`` names was not read as they are, in sentences; none where all was."""
        found = []
        if reading.cut:
            side = "their end" if self.tokenizer.chat_template else "the end of the longer one of question and answer"
            unread = f"; of {reading.unread} of them the question alone fills that" if reading.unread else ""
            found.append(
                f"{what}: {reading.cut} of {reading.answers} answers ({reading.cut / reading.answers:.1%}) exceed, "
                f"with their question, the {self.limit} tokens that the reward model reads, and are scored without "
                f"{side}{unread}"
            )
        if reading.unshown:
            found.append(
                f"{what}: {reading.unshown} of {reading.answers} answers ({reading.unshown / reading.answers:.1%}) are "
                "not shown as they are by the reward model's chat template, and are scored by their text as it is "
                "behind the question"
            )
        return found


def warn_of_cuts(context: Context, rewarder: Rewarder, what: str) -> None:
    """Say how many of the answers that ``rewarder`` has scored since the last time it could not read as they are."""
    for said in rewarder.words(what, rewarder.take()):
        context.warn(said)


def load_rewarder(folder: Path, seed: int) -> Rewarder:
    """The reward model saved in ``folder``, which reads as much as it can: a limit of the answering model counts other
    tokens."""
    model, tokenizer = load_reward_model(folder, seed), load_tokenizer(folder)
    return Rewarder(model, tokenizer, context_length(model, tokenizer))


def with_copies(context: Context, rewarder: Rewarder, folder: Path) -> Rewarder:
    """``rewarder``, which :func:`load_rewarder` made of ``folder``, with copies on a cluster where there are any.

    Where a stage has several processes each of them scores all answers itself.

    Raises:
        InputProblem: what is wrong with the cluster, or with a node.
    """
    ask = context.help
    if ask is None or processes() > 1 or rewarder.model.fresh_weights:
        return rewarder
    list(ask(_copy, folder, _scored_by, [], rewarder))
    return replace(rewarder, run=lambda batches: ask(_copy, folder, _scored_by, batches, rewarder))


def _copy(folder: Path) -> Rewarder:
    return load_rewarder(folder, 0)  # no weight of it is drawn


def _scored_by(rewarder: Rewarder, batch: Batch) -> list[float]:
    return _scored(rewarder.model, batch, rewarder.tokenizer.pad_token_id)

"""The loss of demonstrated answers that nothing can judge: how probable the model finds them after their questions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from components.contract import Metric
from components.conversations import Encoded, encode
from components.evaluate.items import Item, identities
from components.evaluate.subject import Subject
from components.finetuning.records import Record, demonstrates, demonstration, read_records, target
from components.finetuning.scoring import likelihood
from components.statistics import ratio_stderr
from components.tasks import has_verifier

_COUNTED = 2000  # training answers that the baseline counts


def measure_answer_loss(subject: Subject, records: Sequence[Record]) -> dict[str, Any] | None:
    """Record ``answer_loss``, nats a token of the answers, beside that of a unigram model of the training answers.

    Only of records that demonstrate an answer and have no verifier; ``None`` where there are none, or none that the
    model's context holds.
    """
    shown = [record for record in records if demonstrates(record) and not has_verifier(record)]
    rows, encoded = _encoded(subject, shown)
    if not rows:
        return None
    if left_out := len(shown) - len(rows):
        subject.context.warn(
            f"data/instructions/test.jsonl: {left_out} of {len(shown)} demonstrated answers have no loss: the model's "
            f"context of {subject.window} tokens does not hold them, or its chat template does not show them"
        )
    scored = likelihood(subject.model, encoded, pad=subject.tokenizer.pad_token_id)
    losses = [-each for each in scored.log_probabilities]
    stderr = ratio_stderr(losses, scored.tokens, [record["group"] for record in rows])
    names = identities(record["prompt"] for record in rows)
    subject.items.extend(
        Item("instructions", name, "answer_loss", loss / count, None, target(row), row["prompt"], row["group"], count)
        for name, row, loss, count in zip(names, rows, losses, scored.tokens, strict=True)
    )
    baselines = {"unigram": _unigram(subject, encoded)}
    subject.context.record(
        Metric("answer_loss", scored.loss, False, stderr, len(rows), "instructions", baselines),
        headline=subject.headline == "answer_loss",
    )
    return {"n": len(rows), "loss": scored.loss, "stderr": stderr, "baselines": baselines, "tokens": sum(scored.tokens)}


def _encoded(subject: Subject, records: Sequence[Record]) -> tuple[list[Record], Encoded]:
    """The records that the chat template shows rightly and the context holds, and their tokens."""
    encoded = encode(subject.tokenizer, [demonstration(record) for record in records], train_on="last")
    kept = [place for place, (ids, mask) in enumerate(_rows(encoded)) if len(ids) <= subject.window and any(mask)]
    ids, masks = ([part[place] for place in kept] for part in (encoded.input_ids, encoded.answer_mask))
    return [records[place] for place in kept], Encoded(ids, masks)


def _unigram(subject: Subject, encoded: Encoded) -> float:
    """Loss of the answers' tokens by their frequency in training answers, one added to every count (Laplace)."""
    path = subject.context.inputs["instructions"] / "instruct.jsonl"
    counts: Counter[int] = Counter()
    if path.is_file() and path.read_text(encoding="utf-8").strip():
        training = [row for row in read_records(path.parent, "instruct", needs="prompt") if demonstrates(row)]
        _, seen = _encoded(subject, training[:_COUNTED])
        counts.update(_answer_tokens(seen))
    total = sum(counts.values()) + len(subject.tokenizer)
    tokens = _answer_tokens(encoded)
    return -math.fsum(math.log((counts[token] + 1) / total) for token in tokens) / len(tokens)


def _answer_tokens(encoded: Encoded) -> list[int]:
    return [token for row in _rows(encoded) for token, learnt in zip(*row, strict=True) if learnt]


def _rows(encoded: Encoded) -> Iterator[tuple[list[int], list[int]]]:
    return zip(encoded.input_ids, encoded.answer_mask, strict=True)

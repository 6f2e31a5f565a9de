"""Pairs of a better and a worse answer to one question: the user's own, or answers drawn from a model and ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, TypeVar

from components.contract import Context
from components.conversations import render
from components.finetuning.records import Record, conversation, has_pair, target
from components.finetuning.rewards import Rewarder, encode_answered, warn_of_cuts
from components.finetuning.sampling import SavedModel, answer_records
from components.finetuning.templates import fitting, shown_rightly
from components.tasks import has_verifier, judge
from core.errors import InputProblem

_FEWEST_PROMPTS = 0.05  # share of questions whose drawn answers differ in quality


class _OfRecord(Protocol):
    @property
    def record(self) -> Record: ...


Example = TypeVar("Example", bound=_OfRecord)


@dataclass(frozen=True)
class Pair:
    """Two answers to ``record``'s question.

    Attributes:
        same_style: both are worded alike (terse or chatty), so that the wording does not distinguish them; None
            where there is no verifier to say so.
    """

    record: Record
    chosen: str
    rejected: str
    same_style: bool | None


def candidates(
    context: Context,
    model: Any,
    tokenizer: Any,
    records: Sequence[Record],
    limit: int,
    *,
    name: str,
    file: str,
    rewarder: Rewarder | None = None,
    saved: SavedModel | None = None,
) -> list[Pair]:
    """Pairs for every record that gives some.

    A record with ``chosen`` and ``rejected`` gives those. To any other, answers are drawn from ``model`` and ranked by
    the verifier where the record has one, else by ``rewarder``. Where hardly any question has one answer better
    than another (a model at its beginning gets nothing right), the records' own completions join them, with a warning.

    Args:
        model: None where every record has a pair.
        limit: most tokens of a question with its answer; pairs that are longer are left out and counted.
        name: the stage.
        file: the records' file in ``data/instructions``.
        saved: where copies of ``model`` on a cluster find it.
    """
    parameters = context.parameters
    where = f"data/instructions/{file}.jsonl"
    own = user_pairs(records, parameters.pairs_per_prompt)
    if own:
        lengths, faults = _lengths(tokenizer, own)
        places = shown_rightly(context, file, [pair.record for pair in own], faults)
        own, lengths = [own[place] for place in places], [lengths[place] for place in places]
        sized = {file: ([pair.record for pair in own], lengths)}
        [kept] = fitting(context, name, sized, limit, what="question and answer")
        own = [own[place] for place in kept]
    unranked = [record for record in records if not has_pair(record)]
    if not unranked:
        return own
    sampling = parameters.sampling
    answers = answer_records(
        context, name, model, tokenizer, unranked, sampling, samples=sampling.samples,
        temperature=sampling.temperature, saved=saved,
    )  # fmt: skip
    drawn = _rank(unranked, answers, parameters.pairs_per_prompt, rewarder)
    if len({id(pair.record) for pair in drawn}) < _FEWEST_PROMPTS * len(unranked):
        context.warn(
            f"{where}: the model's answers differ in quality for only {len({id(pair.record) for pair in drawn})} of "
            f"{len(unranked)} questions; the rows' own completions are added to them"
        )
        answers = [
            [*given, record["completion"]] if record.get("completion") else given
            for record, given in zip(unranked, answers, strict=True)
        ]
        if rewarder is not None:
            rewarder.take()  # these answers are read again
        drawn = _rank(unranked, answers, parameters.pairs_per_prompt, rewarder)
    if rewarder is not None:
        warn_of_cuts(context, rewarder, f"{where}, answers that are ranked")
    pairs = [pair for pair, length in zip(drawn, _lengths(tokenizer, drawn)[0], strict=True) if length <= limit]
    if len(pairs) < len(drawn):
        context.warn(f"{where}: {len(drawn) - len(pairs)} of {len(drawn)} pairs exceed {limit} tokens and are left out")
    return own + pairs


def ranked_pairs(record: Record, answers: Sequence[str], values: Sequence[float], most: int) -> list[Pair]:
    """At most ``most`` pairs of distinct answers of different value, the widest differences first.

    ``values`` are ranks by the verifier or rewards; a higher one is better.
    """
    distinct = {answer: value for answer, value in sorted(zip(answers, values, strict=True), key=lambda p: p[0])}
    found = [
        (better, worse)
        for better, high in distinct.items()
        for worse, low in distinct.items()
        if high > low and better.strip() and better.strip() != worse.strip()
    ]
    # Ties are broken by content, not by the order of the draws.
    found.sort(key=lambda p: (distinct[p[1]] - distinct[p[0]], sha256("\0".join(p).encode()).digest()))
    return [Pair(record, better, worse, _same_style(record, better, worse)) for better, worse in found[:most]]


def user_pairs(records: Sequence[Record], most: int) -> list[Pair]:
    """The pairs that the user's records bring; at most ``most`` of a ranked list, those farthest apart in it first."""
    pairs: list[Pair] = []
    for record in records:
        if ranked := record.get("ranked"):
            pairs += ranked_pairs(record, ranked, range(len(ranked), 0, -1), most)
        elif has_pair(record):
            chosen, rejected = record["chosen"], record["rejected"]
            pairs.append(Pair(record, chosen, rejected, _same_style(record, chosen, rejected)))
    return pairs


def answered_lengths(tokenizer: Any, records: Sequence[Record], room: int, *, drawn: bool = False) -> list[int]:
    """Tokens of each record's question with each answer that it brings, and with ``room`` for one that is drawn where
    it brings none (or all are ``drawn``)."""
    given = [(record, answer) for record in records if not drawn for answer in _brought(record)]
    ids, _ = encode_answered(tokenizer, [record for record, _ in given], [answer for _, answer in given])
    bare = [record for record in records if drawn or not _brought(record)]
    questions = render(tokenizer, [conversation(record) for record in bare])
    return [*map(len, ids), *(len(question) + room for question in questions)]


def by_verifier(record: Record, answers: Sequence[str]) -> list[float]:
    """Rank of each answer: 2 right and terse, 1 right and chatty, 0 wrong."""
    return [float(judge(record, answer).rank) for answer in answers]


def split_by_group(
    pairs: Sequence[Example], share: float, seed: int, use: str = "held-out"
) -> tuple[list[Example], list[Example]]:
    """Training and held-out pairs (or other examples); those of one group stay together. ``share`` of the groups is
    held out, others for each ``use``."""
    held_out: dict[str, bool] = {}
    for pair in pairs:
        group = pair.record["group"]
        if group not in held_out:
            digest = sha256(f"{seed}/{use}/{group}".encode()).digest()
            held_out[group] = int.from_bytes(digest[:8], "big") < share * 2**64
    train = [pair for pair in pairs if not held_out[pair.record["group"]]]
    return train, [pair for pair in pairs if held_out[pair.record["group"]]]


def for_development(context: Context, file: str, pairs: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Of the pairs (or other examples) to train on, those that training keeps, and those by which ``evaluate_every``
    chooses the best weights: others than the held-out ones, whose metrics would be too good if they chose.

    Raises:
        InputProblem: none are left for one of the two.
    """
    parameters = context.parameters
    if parameters.evaluate_every is None:
        return list(pairs), []
    training, development = split_by_group(pairs, parameters.held_out_share, context.seed, "development")
    if not training or not development:
        raise InputProblem(
            f"{file}: {len(pairs)} examples give {len(training)} to train on and {len(development)} for evaluate_every "
            "to measure; more are needed, of more than one group, or set evaluate_every to null"
        )
    return training, development[: parameters.evaluation_examples]


def _brought(record: Record) -> list[str]:
    """The answers of a record that are learnt from: those of its pairs, or the labelled one."""
    if has_pair(record):
        return list(record.get("ranked") or (record["chosen"], record["rejected"]))
    return [target(record)] if isinstance(record.get("label"), bool) else []


def _same_style(record: Record, a: str, b: str) -> bool | None:
    return judge(record, a).terse == judge(record, b).terse if has_verifier(record) else None


def _rank(
    records: Sequence[Record], answers: Sequence[Sequence[str]], most: int, rewarder: Rewarder | None
) -> list[Pair]:
    values = _values(records, answers, rewarder)
    return [
        pair
        for record, given, value in zip(records, answers, values, strict=True)
        for pair in ranked_pairs(record, given, value, most)
    ]


def _values(
    records: Sequence[Record], answers: Sequence[Sequence[str]], rewarder: Rewarder | None
) -> list[list[float]]:
    """The verifier's ranks where there is one, rewards elsewhere."""
    values = [
        by_verifier(record, given) if has_verifier(record) else [0.0] * len(given)
        for record, given in zip(records, answers, strict=True)
    ]
    open_ended = [row for row, record in enumerate(records) if not has_verifier(record)]
    flat = [(row, place) for row in open_ended for place in range(len(answers[row]))]
    if flat:
        assert rewarder is not None  # the stages refuse such records where nothing ranks their answers
        scored = rewarder([records[r] for r, _ in flat], [answers[r][p] for r, p in flat])
        for (row, place), value in zip(flat, scored, strict=True):
            values[row][place] = value
    return values


def _lengths(tokenizer: Any, pairs: Sequence[Pair]) -> tuple[list[int], dict[int, str]]:
    """Tokens of each pair's longer conversation; and by place why the chat template does not show an answer."""
    (chosen, faults), (rejected, others) = (
        encode_answered(tokenizer, [p.record for p in pairs], [getattr(p, side) for p in pairs])
        for side in ("chosen", "rejected")
    )
    return [max(len(a), len(b)) for a, b in zip(chosen, rejected, strict=True)], {**others, **faults}

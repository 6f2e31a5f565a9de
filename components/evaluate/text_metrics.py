"""How close free answers come to those that the test rows demonstrate, where nothing can judge them.

- ``exact_match``, ``f1``: of words, after SQuAD's normalisation (lower case, no punctuation, no articles; Rajpurkar et
  al. 2016, arXiv:1606.05250); means over answers, 0 to 1
- ``rouge_l``: F-measure of the longest common subsequence (Lin 2004), by Google's rouge_score; a mean, 0 to 1
- ``bleu`` (Papineni et al. 2002), ``chrf`` (Popovic 2015): by sacrebleu with its defaults, of all answers together, 0
  to 100; their errors are by resampling groups

All say how alike an answer is to its reference, not how right it is.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from components.contract import Metric
from components.conversations import text_ids
from components.evaluate.items import Item, identities
from components.evaluate.subject import Subject
from components.finetuning.overlap import COPY
from components.finetuning.records import Record, demonstrates, target
from components.statistics import Estimate, clustered_bootstrap_stderr, estimate
from components.tasks import has_verifier

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """A text as SQuAD compares it."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> float:
    """1 where both are the same after normalisation."""
    return float(normalised(answer) == normalised(reference))


def token_f1(answer: str, reference: str) -> float:
    """The F-measure of the words that both have, repeats counted."""
    said, wanted = normalised(answer).split(), normalised(reference).split()
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L without stemming."""
    from rouge_score.rouge_scorer import RougeScorer

    return float(RougeScorer(["rougeL"], use_stemmer=False).score(reference, answer)["rougeL"].fmeasure)


def corpus_score(
    name: str, answers: Sequence[str], references: Sequence[Sequence[str]], groups: Sequence[Hashable], seed: int
) -> Estimate:
    """``bleu`` or ``chrf`` of all answers together; ``references[i]`` are those of ``answers[i]``, as many of each."""
    from sacrebleu.metrics import BLEU, CHRF

    metric: Any = BLEU() if name == "bleu" else CHRF()
    by_place = [list(column) for column in zip(*references, strict=True)]
    # Both are functions of counts that add up over answers; sacrebleu's own resampling uses these too.
    counts = np.array(metric._extract_corpus_statistics(list(answers), by_place))

    def score(rows: Any) -> float:
        return float(metric._compute_score_from_stats(counts[rows].sum(axis=0).tolist()).score)

    stderr = clustered_bootstrap_stderr(score, groups, seed=seed)
    return Estimate(score(np.arange(len(answers))), stderr, len(answers))


_OF_ITEMS: dict[str, Callable[[str, str], float]] = {"exact_match": exact_match, "f1": token_f1, "rouge_l": rouge_l}


def measure_text(subject: Subject, records: Sequence[Record], replies: Sequence[str]) -> dict[str, Any] | None:
    """Record ``answers.text_metrics`` of the replies to rows that demonstrate an answer and have no verifier, beside
    copies of their questions; ``None`` where there are no such rows."""
    context = subject.context
    rows = [
        (record, reply.strip(), target(record).strip())
        for record, reply in zip(records, replies, strict=True)
        if demonstrates(record) and not has_verifier(record)
    ]
    if not rows or not context.parameters.answers.text_metrics:
        return None
    most = context.parameters.answers.max_new_tokens
    lengths = [len(ids) for ids in text_ids(subject.tokenizer, [reference for _, _, reference in rows])]
    if cut := sum(length > most for length in lengths):
        context.warn(
            f"{cut} of {len(rows)} demonstrated answers are longer than the {most} tokens of "
            "evaluate.answers.max_new_tokens, at which the model's are cut"
        )
    groups = [record["group"] for record, _, _ in rows]
    kinds = [record["kind"] for record, _, _ in rows]
    report: dict[str, Any] = {"n": len(rows), "metrics": {}, "by_kind": {kind: {} for kind in sorted(set(kinds))}}
    for name in context.parameters.answers.text_metrics:
        if subject.model.config.is_encoder_decoder and name in ("rouge_l", "bleu"):
            continue  # recorded as its trainer does
        found = _scored(name, [(reply, reference) for _, reply, reference in rows], groups, context.seed)
        copied = _scored(name, [(record["prompt"], reference) for record, _, reference in rows], groups, context.seed)
        own, beside = found[0], copied[0].value
        context.record(Metric(name, own.value, True, own.stderr, own.n, "instructions", {COPY: beside}))
        report["metrics"][name] = {**asdict(own), COPY: beside}
        _add_items(subject, name, rows, found[1])
        for kind, part in report["by_kind"].items():
            here = [place for place, other in enumerate(kinds) if other == kind]
            pairs = [rows[place][1:] for place in here]
            part[name] = asdict(_scored(name, pairs, [groups[place] for place in here], context.seed)[0])
    return report


def _scored(
    name: str, pairs: Sequence[tuple[str, ...]], groups: Sequence[Hashable], seed: int
) -> tuple[Estimate, list[float] | None]:
    """A metric of pairs of an answer and its reference, and where it is a mean that of each pair."""
    if name in _OF_ITEMS:
        scores = [_OF_ITEMS[name](answer, reference) for answer, reference in pairs]
        return estimate(scores, groups), scores
    answers, references = [answer for answer, _ in pairs], [[reference] for _, reference in pairs]
    return corpus_score(name, answers, references, groups, seed), None


def _add_items(
    subject: Subject, name: str, rows: Sequence[tuple[Record, str, str]], scores: Sequence[float] | None
) -> None:
    if scores is None:
        return
    names = identities(record["prompt"] for record, _, _ in rows)
    subject.items.extend(
        Item("instructions", item, name, score, reply, reference, record["prompt"], record["group"])
        for item, (record, reply, reference), score in zip(names, rows, scores, strict=True)
    )

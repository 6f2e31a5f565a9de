"""Rows to train on, of what people say of answers: pairs, labelled answers (KTO) and demonstrations.

| what a person did | rows |
|---|---|
| voted A over B | a pair |
| edited an answer | a pair (the edit over the answer), a demonstration (the edit) |
| thumb up, or 4 or 5 stars | a labelled answer (good); without an edit, a demonstration too |
| thumb down, or 1 or 2 stars | a labelled answer (bad) |
| 3 stars; a tie; both bad | none |

Where an answer has both, stars count before the thumb. A demonstration teaches every answer of its conversation
(``instruct_finetune.train_on: all``), and what came before the last one is what its client sent: so each of them must
be one that this gateway kept, and that its person found good or edited. Only what was recorded with consent to
training, and has not expired, becomes a row, and only what curation can read
(:func:`components.curate.supervised.forms.convert`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from components.curate.supervised.forms import convert
from registry.feedback.answers import AnswerView
from registry.feedback.votes import VoteView

PAIRS, LABELLED, DEMONSTRATIONS = "pairs.jsonl", "labelled.jsonl", "demonstrations.jsonl"
FILES = (PAIRS, LABELLED, DEMONSTRATIONS)
NO_CONSENT = "recorded without consent to training"
Row = dict[str, Any]


@dataclass
class Rows:
    """Rows by file, in the order of the registry; and why others are left out, with how many."""

    files: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in FILES})
    left_out: Counter[str] = field(default_factory=Counter)


def pseudonym(salt: bytes, kind: str, name: str) -> str:
    """What stands for a person (or another ``kind`` of name) where the name itself is not to be: 64 bits of an HMAC."""
    return hmac.new(salt, f"{kind}:{name}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]


def build(votes: Iterable[VoteView], answers: Iterable[AnswerView], salt: bytes, now: float) -> Rows:
    """The rows of all votes, then of all answers; the same registry gives the same rows in the same order.

    Args:
        salt: for the pseudonyms of persons.
        now: in unix seconds; what has expired by then is left out.
    """
    made = Rows()
    seen: set[str] = set()
    answers = list(answers)
    worthy = {
        (each.person, each.conversation, text)
        for each in answers
        if each.consent and each.expires > now and (text := _worthy(each)) is not None
    }
    given: list[VoteView | AnswerView] = [*votes, *answers]
    for each in given:
        rows = list(_of_vote(each, salt) if isinstance(each, VoteView) else _of_answer(each, salt))
        emptied = isinstance(each, VoteView) and not each.question
        if emptied or (each.expires is not None and each.expires <= now):
            made.left_out["expired"] += 1
        elif not each.consent:
            made.left_out[NO_CONSENT] += 1
        elif not rows:
            made.left_out["no preference or rating in it"] += 1
        else:
            for file, row in rows:
                if file == DEMONSTRATIONS and isinstance(each, AnswerView) and not _all_worthy(each, worthy):
                    made.left_out["demonstrations with an earlier answer that was neither found good nor edited"] += 1
                else:
                    _add(made, file, row, seen)
    return made


def _add(made: Rows, file: str, row: Row, seen: set[str]) -> None:
    try:
        convert(row)
    except ValueError:  # an empty answer, turns that do not alternate
        made.left_out["rows that curation cannot read, such as of an empty answer"] += 1
        return
    said = {name: value for name, value in row.items() if name not in ("consent", "provenance")}
    key = file + json.dumps(said, sort_keys=True)
    if key in seen:
        made.left_out["rows that are there already"] += 1
        return
    seen.add(key)
    made.files[file].append(row)


def _of_vote(vote: VoteView, salt: bytes) -> Iterator[tuple[str, Row]]:
    if vote.choice not in ("a", "b"):
        return
    better, worse = (vote.answer_a, vote.answer_b) if vote.choice == "a" else (vote.answer_b, vote.answer_a)
    about = _about("vote", f"vote:{vote.id}", pseudonym(salt, "person", vote.voter), [vote.a, vote.b], vote.time,
                   vote.chosen)  # fmt: skip
    asked = [{"role": "user", "content": vote.question}]
    yield PAIRS, {"chosen": _ended(asked, better), "rejected": _ended(asked, worse), **about}


def _of_answer(kept: AnswerView, salt: bytes) -> Iterator[tuple[str, Row]]:
    person, time = pseudonym(salt, "person", kept.person), kept.rated or kept.time
    about = _about("rating", kept.name, person, [kept.version], time, kept.chosen, kept.conversation)
    edit = None if kept.edit in (None, kept.answer) else kept.edit
    if edit is not None:
        edited = _about("edit", kept.name, person, [kept.version], time, kept.chosen, kept.conversation)
        yield PAIRS, {
            "chosen": _ended(kept.messages, edit), "rejected": _ended(kept.messages, kept.answer), **edited
        }  # fmt: skip
        yield DEMONSTRATIONS, {"messages": _ended(kept.messages, edit), **edited}
    good = is_good(kept)
    if good is not None:
        yield LABELLED, {"messages": _ended(kept.messages, kept.answer), "label": good, **about}
    if good and edit is None:
        yield DEMONSTRATIONS, {"messages": _ended(kept.messages, kept.answer), **about}


def is_good(kept: AnswerView) -> bool | None:
    """Whether its person found an answer good: by stars (4 and 5 are good, 1 and 2 bad), else by the thumb."""
    if kept.stars is not None:
        return None if kept.stars == 3 else kept.stars > 3
    return None if kept.thumb is None else kept.thumb == "up"


def _worthy(kept: AnswerView) -> str | None:
    """The text of an answer that may be imitated: its edit, or itself where it was found good."""
    return kept.edit if kept.edit is not None else kept.answer if is_good(kept) else None


def _all_worthy(kept: AnswerView, worthy: set[tuple[str, str, str]]) -> bool:
    earlier = (message["content"] for message in kept.messages if message["role"] == "assistant")
    return all((kept.person, kept.conversation, text) in worthy for text in earlier)


def _ended(messages: list[dict[str, Any]], answer: str) -> list[dict[str, Any]]:
    return [*messages, {"role": "assistant", "content": answer}]


def _about(
    kind: str, name: str, person: str, versions: list[str], time: float, chosen: str, conversation: str | None = None
) -> dict[str, Any]:
    """The columns of consent and provenance; ``chosen`` as :mod:`registry.feedback.selection` has it."""
    recorded = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    provenance = {"kind": kind, "id": name, "person": person, "versions": versions, "recorded": recorded,
                  "chosen": chosen}  # fmt: skip
    if conversation is not None:
        provenance["conversation"] = conversation
    return {"consent": "training", "provenance": provenance}

"""Kahneman-Tversky optimization: answers labelled good or bad, each by itself (Ethayarajh et al., arXiv:2402.01306)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.contract import Context
from components.finetuning.pairs import Pair
from components.finetuning.records import Record, target
from components.finetuning.templates import encode_answers
from components.finetuning.training import Curve, arguments, train
from components.preference_tune.reference import WithoutCopy

_IDEAL = (1.0, 4 / 3)  # weight of all good answers over that of all bad ones; the paper's Eq. 8


@dataclass(frozen=True)
class Labelled:
    """An answer to ``record``'s question, and whether it is a good one."""

    record: Record
    answer: str
    good: bool


def has_label(record: Record) -> bool:
    """True where the user labelled the record's answer good (true) or bad (false)."""
    return isinstance(record.get("label"), bool)


def labelled(records: Sequence[Record], pairs: Sequence[Pair]) -> list[Labelled]:
    """The records' own answers with their labels, and the two sides of each pair."""
    own = [Labelled(record, target(record), record["label"]) for record in records if has_label(record)]
    sides: dict[tuple[int, str], Labelled | None] = {}
    for pair in pairs:
        for answer, good in ((pair.chosen, True), (pair.rejected, False)):
            side, key = Labelled(pair.record, answer, good), (id(pair.record), answer)
            # Of ranked answers, one in the middle is better in one pair and worse in another: it is neither.
            sides[key] = side if sides.get(key, side) == side else None
    return own + [side for side in sides.values() if side is not None]


def warn_of_imbalance(context: Context, answers: Sequence[Labelled]) -> None:
    """Warn where the weights do not make up for more good answers than bad ones, or fewer."""
    parameters = context.parameters
    good = sum(answer.good for answer in answers)
    bad = len(answers) - good
    share = good * parameters.desirable_weight / (bad * parameters.undesirable_weight)
    if not _IDEAL[0] * 0.9 <= share <= _IDEAL[1] * 1.1:
        low, high = (bound * bad * parameters.undesirable_weight / good for bound in _IDEAL)
        context.warn(
            f"data/instructions/preference.jsonl: {good} answers are good and {bad} bad, which the weights do not make "
            f"up for; KTO's authors advise preference_tune.desirable_weight from {low:.2g} to {high:.2g}"
        )


def fit(
    context: Context,
    policy: Any,
    reference: Any,
    tokenizer: Any,
    answers: Sequence[Labelled],
    development: Sequence[Labelled] = (),
) -> Curve:
    """Train ``policy`` in place on the labelled answers, held to ``reference`` (None: to the policy without its
    adapter)."""
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    class Rotating(DataCollatorForUnpairedPreference):  # type: ignore[misc]
        """Gives each question its neighbour's answer too, from which KTO estimates the KL divergence.

        TRL does so before training, for the order of the file; the order here is another.
        """

        def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
            own = [example["completion_ids"] for example in examples]
            mixed = zip(examples, [own[-1], *own[:-1]], strict=True)
            batch: dict[str, Any] = super().torch_call([{**row, "KL_completion_ids": other} for row, other in mixed])
            return batch

    class Kto(WithoutCopy, KTOTrainer):  # type: ignore[misc]
        pass

    def rows(answers: Sequence[Labelled]) -> dict[str, list[Any]]:
        encoded = encode_answers(tokenizer, [a.record for a in answers], [a.answer for a in answers])
        labels = [answer.good for answer in answers]
        return {"prompt_ids": encoded.prompts, "completion_ids": encoded.answers, "label": labels}

    parameters = context.parameters
    training = rows(answers)
    settings = arguments(
        context, KTOConfig, parameters, beta=parameters.beta, desirable_weight=parameters.desirable_weight,
        undesirable_weight=parameters.undesirable_weight, disable_dropout=True,
    )  # fmt: skip
    return train(
        context,
        Kto,
        parameters,
        description="preference_tune",
        model=policy,
        lengths=[len(p) + len(a) for p, a in zip(training["prompt_ids"], training["completion_ids"], strict=True)],
        train_dataset=Dataset.from_dict(training),
        development=Dataset.from_dict(rows(development)) if development else None,
        ref_model=reference,
        args=settings,
        data_collator=Rotating(pad_token_id=tokenizer.pad_token_id),
        processing_class=tokenizer,
    )

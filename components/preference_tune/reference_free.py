"""ORPO, CPO and SimPO: pairs of answers without a reference model. Their trainers are in ``trl.experimental``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.contract import Context
from components.finetuning.pairs import Pair
from components.finetuning.templates import AnsweredTwice, encode_pairs
from components.finetuning.training import Curve, arguments, train


class Tokenized(list[dict[str, Any]]):
    """Rows that hold tokens already: these trainers would make them of texts, by ``map``, without this model's
    template and with a beginning token of their own."""

    def map(self, *args: Any, **kwargs: Any) -> Tokenized:
        return self


def fit(
    context: Context, policy: Any, tokenizer: Any, pairs: Sequence[Pair], development: Sequence[Pair] = ()
) -> Curve:
    """Train ``policy`` in place on the pairs by ``method``."""
    import torch
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    parameters = context.parameters
    base, config = (ORPOTrainer, ORPOConfig) if parameters.method == "orpo" else (CPOTrainer, CPOConfig)

    class TokenWeighted(base):  # type: ignore[misc, valid-type]
        """The loss of the chosen tokens, a mean over them, is that of the whole batch however it is cut into parts."""

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            parts, items = super().get_batch_samples(*args, **kwargs)
            mine = torch.tensor(sum(map(_learnt, parts)), device=self.accelerator.device)
            self.mean_tokens = int(self.accelerator.gather(mine).sum()) / (len(parts) * self.accelerator.num_processes)
            return parts, items

        def concatenated_forward(self, model: Any, batch: Any) -> Any:
            found = list(super().concatenated_forward(model, batch))
            if self.model.training:
                found[4] = found[4] * (_learnt(batch) / self.mean_tokens)
            return tuple(found)

    def _learnt(batch: Any) -> int:
        """Predicted tokens of the chosen side: ORPO's own loss is over the question too."""
        name = "chosen_attention_mask" if parameters.method == "orpo" else "chosen_labels"
        values = batch[name][:, 1:]
        return int((values == 1).sum() if parameters.method == "orpo" else (values != -100).sum())

    def encoded(pairs: Sequence[Pair]) -> AnsweredTwice:
        return encode_pairs(
            tokenizer, [p.record for p in pairs], [p.chosen for p in pairs], [p.rejected for p in pairs]
        )

    training = encoded(pairs)
    own: dict[str, Any] = {}
    if parameters.method == "cpo":
        own = {"loss_type": "sigmoid", "cpo_alpha": parameters.cpo_alpha}
    elif parameters.method == "simpo":
        own = {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": parameters.simpo_gamma}
    lengths = [len(prompt) + max(len(a), len(b)) for prompt, a, b in zip(*training, strict=True)]
    settings = arguments(
        context, config, parameters, beta=parameters.beta, disable_dropout=True, max_length=max(lengths),
        remove_unused_columns=False, **own,
    )  # fmt: skip
    return train(
        context,
        TokenWeighted,
        parameters,
        description="preference_tune",
        model=policy,
        lengths=lengths,
        train_dataset=Tokenized(_rows(training)),
        development=Tokenized(_rows(encoded(development))) if development else None,
        args=settings,
        processing_class=tokenizer,
    )


def _rows(encoded: AnsweredTwice) -> list[dict[str, Any]]:
    """What the trainers' collator pads: whole conversations with labels on the answer, by side, and the question."""
    rows = []
    for prompt, better, worse in zip(*encoded, strict=True):
        row: dict[str, Any] = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for side, answer in (("chosen", better), ("rejected", worse)):
            row[f"{side}_input_ids"] = prompt + answer
            row[f"{side}_attention_mask"] = [1] * len(prompt + answer)
            row[f"{side}_labels"] = [-100] * len(prompt) + answer
        rows.append(row)
    return rows

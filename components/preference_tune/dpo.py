"""Direct preference optimization: a pair's better answer gains more probability over the reference than the worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.contract import Context
from components.finetuning.pairs import Pair
from components.finetuning.templates import encode_pairs
from components.finetuning.training import Curve, arguments, train
from components.preference_tune.reference import WithoutCopy


def fit(
    context: Context,
    policy: Any,
    reference: Any,
    tokenizer: Any,
    pairs: Sequence[Pair],
    development: Sequence[Pair] = (),
) -> Curve:
    """Train ``policy`` in place on the pairs, held to ``reference`` (None: to the policy without its adapter)."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class TokenWeighted(WithoutCopy, DPOTrainer):  # type: ignore[misc]
        """DPO in which the sft loss, a mean over tokens, is that of the whole batch however it is cut into parts.

        TRL takes the mean over each part's tokens and averages the parts: a part of short answers counts too much.
        """

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            parts, items = super().get_batch_samples(*args, **kwargs)
            mine = sum(map(_chosen_tokens, parts)).to(self.accelerator.device)
            everywhere = int(self.accelerator.gather(mine).sum())
            self.mean_tokens = everywhere / (len(parts) * self.accelerator.num_processes)
            return parts, items

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            share = int(_chosen_tokens(inputs)) / self.mean_tokens if self.model.training else 1.0
            self.loss_weights = [
                weight * share if loss == "sft" else weight
                for loss, weight in zip(parameters.losses, parameters.loss_weights, strict=True)
            ]
            return super().compute_loss(model, inputs, *args, **kwargs)

    parameters = context.parameters

    def rows(pairs: Sequence[Pair]) -> dict[str, list[list[int]]]:
        encoded = encode_pairs(
            tokenizer, [p.record for p in pairs], [p.chosen for p in pairs], [p.rejected for p in pairs]
        )
        return dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), encoded, strict=True))

    training = rows(pairs)
    settings = arguments(
        context, DPOConfig, parameters, beta=parameters.beta, loss_type=list(parameters.losses),
        loss_weights=list(parameters.loss_weights), disable_dropout=True,
    )  # fmt: skip
    return train(
        context,
        TokenWeighted,
        parameters,
        description="preference_tune",
        model=policy,
        lengths=[
            len(prompt) + max(len(better), len(worse)) for prompt, better, worse in zip(*training.values(), strict=True)
        ],
        train_dataset=Dataset.from_dict(training),
        development=Dataset.from_dict(rows(development)) if development else None,
        ref_model=reference,
        args=settings,
        processing_class=tokenizer,
    )


def _chosen_tokens(inputs: Any) -> Any:
    """Predicted tokens of the chosen answers, which are the first half of the rows."""
    mask = inputs["completion_mask"]
    return mask[: len(mask) // 2, 1:].sum()

"""The lm-evaluation-harness's model, of whose batches each may be worked on by another copy on a cluster.

A share is a batch as the harness itself would make it (``lm_eval.models.utils.Collator``), so that numbers do not
depend on who works on it: what stands beside an item in its batch can change its last bits.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.evaluate.subject import Subject

Request = tuple[Any, list[int], list[int]]  # of a likelihood: its texts, tokens of the context and of what follows


def language_model(subject: Subject, rows: int) -> Any:
    """The subject as the harness calls a model that it loads; ``rows`` are those of a batch."""
    from lm_eval.models.huggingface import HFLM

    own = _settings(subject.tokenizer, rows, subject.window)
    if subject.context.spread is None:
        return HFLM(pretrained=subject.model, **own)

    class Spread(HFLM):  # type: ignore[misc]
        """Has copies work on its batches."""

        def _loglikelihood_tokens(self, requests: Iterable[Request], *args: Any, **options: Any) -> list[Any]:
            requests = list(requests)
            batches = likelihood_batches(requests, self.batch_size)
            if len(batches) < 2:
                return list(super()._loglikelihood_tokens(requests, *args, **options))
            return self._spread("_loglikelihood_tokens", requests, batches)

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            asked = [request.args for request in requests]
            if any(settings.get("do_sample") or settings.get("temperature") for _, settings in asked):
                # Draws follow each other in one sequence of random numbers.
                return list(super().generate_until(requests, disable_tqdm))
            batches = generation_batches(asked, self.batch_size, lambda text: len(self.tok_encode(text)))
            return self._spread("generate_until", asked, batches)

        def _spread(self, method: str, asked: Sequence[Any], batches: list[list[int]]) -> list[Any]:
            pad = subject.model.generation_config.pad_token_id
            settings = (self.batch_size, subject.window, pad)
            shares = [(method, settings, [asked[place] for place in batch]) for batch in batches]
            found: dict[int, Any] = {}
            for batch, results in zip(batches, subject.spread(_worked, shares), strict=True):
                found |= dict(zip(batch, results, strict=True))
                subject.raise_if_stopping()
            return [found[place] for place in range(len(asked))]

    return Spread(pretrained=subject.model, **own)


def likelihood_batches(requests: Sequence[Request], rows: int) -> list[list[int]]:
    """Places of the requests of each of the harness's batches.

    Those that differ in their last token alone are one row, the first one of the longest continuation.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, (_, context, continuation) in enumerate(requests):
        groups.setdefault(tuple(context + continuation[:-1]), []).append(place)

    def order(group: list[int]) -> tuple[int, tuple[int, ...]]:
        _, context, continuation = requests[max(group, key=lambda place: len(requests[place][2]))]
        return -len(context + continuation), tuple(context + continuation)

    ordered = sorted(groups.values(), key=order)
    return [sorted(chain(*ordered[start : start + rows])) for start in range(0, len(ordered), rows)]


def generation_batches(asked: Sequence[tuple[str, dict[str, Any]]], rows: int, length: Any) -> list[list[int]]:
    """As :func:`likelihood_batches`, of texts that are continued by the same settings; ``length`` of one in tokens."""
    groups: dict[str, list[int]] = {}
    for place, (_, settings) in enumerate(asked):
        groups.setdefault(repr(sorted(settings.items())), []).append(place)
    found = []
    for group in groups.values():
        ordered = sorted(group, key=lambda place: (-length(asked[place][0]), asked[place][0]))
        found += [ordered[start : start + rows] for start in range(0, len(ordered), rows)]
    return found


def _settings(tokenizer: Any, rows: int, window: int) -> dict[str, Any]:
    return {
        "tokenizer": tokenizer,
        "batch_size": rows,
        "max_length": window,
        "prefix_token_id": tokenizer.eos_token_id,
    }


def _worked(loaded: tuple[Any, Any], share: tuple[str, tuple[int, int, int | None], list[Any]]) -> list[Any]:
    """What a copy makes of a share."""
    from lm_eval.models.huggingface import HFLM

    (model, tokenizer), (method, (rows, window, pad), asked) = loaded, share
    model.generation_config.pad_token_id = pad
    copy = HFLM(pretrained=model, **_settings(tokenizer, rows, window))
    if method == "generate_until":
        asked = [SimpleNamespace(args=each) for each in asked]
    return list(getattr(copy, method)(asked, disable_tqdm=True))

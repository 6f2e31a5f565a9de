"""Answers of a causal language model to many prompts: batched, left-padded, sorted by length, greedy or sampled.

Sampling is by inversion (Devroye, "Non-Uniform Random Variate Generation", 1986, section III.2): every answer draws
one uniform number a token from a generator of its own, keyed by the seed, the prompt and the number of the sample.
So an answer depends neither on the other prompts nor on their order or the batch size; what batching can still change
is the last bit of a logit, because padding changes the order in which floating-point sums are taken.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components import encoder_decoder
from components.conversations import Prompt, render


@dataclass(frozen=True)
class AnswerBatch:
    """Answers that are generated side by side.

    Attributes:
        prompts: token ids, each prompt once.
        owners: the prompt of each answer, by its place.
        draws: key of the prompt and number of the sample of each answer, for its random numbers.
        steps: longest answer, in tokens.
    """

    prompts: list[list[int]]
    owners: list[int]
    draws: list[tuple[bytes, int]]
    steps: int
    temperature: float
    seed: int


@dataclass(frozen=True)
class AnswerPlan:
    """How many prompts are answered.

    Attributes:
        batches: what is generated side by side.
        jobs: place of the prompt and number of the sample of each answer of each batch.
        prompts, samples: how many there are, and how many answers to each.
    """

    batches: list[AnswerBatch]
    jobs: list[list[tuple[int, int]]]
    prompts: int
    samples: int

    def answers(self, found: Mapping[int, list[str]]) -> list[list[str]]:
        """The answers to each prompt, of the texts that each batch came to, by its place."""
        results: list[list[str]] = [[""] * self.samples for _ in range(self.prompts)]
        for place, jobs in enumerate(self.jobs):
            for (number, sample), text in zip(jobs, found[place], strict=True):
                results[number][sample] = text
        return results


# Takes batches and gives the place of each and its answers, as they are done.
Run = Callable[[Sequence[AnswerBatch]], Iterable[tuple[int, list[str]]]]
# Takes logits [rows, vocabulary] in float32, the number of each row's answer, and the step; gives tokens [rows].
Choose = Callable[[Any, Any, int], Any]


def answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int = 32,
    seed: int = 0,
    batch_size: int = 256,
    on_batch: Callable[[int], None] | None = None,
    run: Run | None = None,
) -> list[list[str]]:
    """``samples`` answers to every prompt, in the order of the prompts, as they are but for special tokens.

    White space is kept: a model whose answers begin with a space must see that space again where it is trained on them.

    Args:
        model: a transformers causal language model or encoder-decoder; it is used on the device it lies on, and put in
            eval mode.
        prompts: user's questions, or whole conversations that end with a user's turn.
        temperature: 0 for the most probable token at every step (greedy); then ``samples`` must be 1.
        max_new_tokens: an answer ends at the end token, after this many tokens, or where the context is full.
        seed: of the sampling.
        batch_size: answers generated side by side.
        on_batch: called with the number of answers of each batch as it is done; may raise to stop.
        run: does :func:`generate` of each batch with the same model elsewhere; ``None``: it is done here.

    Raises:
        ValueError: a prompt leaves no room for an answer in the model's context, or the arguments make no sense.
    """
    planned = plan(
        model, tokenizer, prompts, samples=samples, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed,
        batch_size=batch_size,
    )  # fmt: skip
    found = {}
    here = ((place, generate(model, tokenizer, batch)) for place, batch in enumerate(planned.batches))
    for place, texts in here if run is None else run(planned.batches):
        found[place] = texts
        if on_batch:
            on_batch(len(texts))
    return planned.answers(found)


def plan(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
) -> AnswerPlan:
    """The batches in which :func:`answers` are generated; of the model only its configuration is looked at.

    Raises:
        ValueError: as there.
    """
    if temperature < 0 or samples < 1 or (temperature == 0 and samples != 1):
        raise ValueError(f"cannot draw {samples} samples at temperature {temperature}")
    apart = model.config.is_encoder_decoder  # prompt and answer have a context each
    ids = encoder_decoder.sources(tokenizer, prompts) if apart else render(tokenizer, prompts)
    context = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    too_long = [number for number, prompt in enumerate(ids) if len(prompt) >= context + apart]
    if too_long:
        raise ValueError(
            f"{len(too_long)} prompts fill the context of {context} tokens, the first is number {too_long[0]}"
        )

    keys = _keys(ids)
    jobs = sorted(
        ((number, sample) for number in range(len(ids)) for sample in range(samples)),
        key=lambda job: (len(ids[job[0]]), keys[job[0]], job[1]),
    )
    batches = [jobs[start : start + batch_size] for start in range(0, len(jobs), batch_size)]

    def described(batch: Sequence[tuple[int, int]]) -> AnswerBatch:
        longest = max(len(ids[number]) for number, _ in batch)
        distinct = list(dict.fromkeys(number for number, _ in batch))
        place = {number: index for index, number in enumerate(distinct)}
        return AnswerBatch(
            prompts=[ids[number] for number in distinct],
            owners=[place[number] for number, _ in batch],
            draws=[(keys[number], sample) for number, sample in batch],
            steps=min(max_new_tokens, context if apart else context - longest),
            temperature=temperature,
            seed=seed,
        )

    return AnswerPlan([described(batch) for batch in batches], batches, len(ids), samples)


def generate(model: Any, tokenizer: Any, batch: AnswerBatch) -> list[str]:
    """The answers of a batch, in its order; the model is put in eval mode meanwhile."""
    import torch

    was_training = model.training
    model.eval()
    with torch.inference_mode():
        choose: Choose = _greedy
        if batch.temperature > 0:
            drawn = [_uniforms(key, sample, batch.seed, batch.steps) for key, sample in batch.draws]
            choose = _inversion(torch.stack(drawn).to(model.device), batch.temperature)
        write = encoder_decoder.generate if model.config.is_encoder_decoder else _generate
        texts: list[str] = write(model, tokenizer, batch.prompts, batch.steps, choose, batch.owners)
    model.train(was_training)
    return texts


def _generate(
    model: Any, tokenizer: Any, prompts: list[list[int]], steps: int, choose: Choose, owners: list[int]
) -> list[str]:
    """Answer ``i`` to prompt ``owners[i]``, for every ``i``. Prompts are left-padded into one batch and read once,
    however many samples are drawn of them.

    Answers that have ended leave the batch once they are half of it: one long answer would otherwise hold up hundreds
    of short ones, which is why this is not ``model.generate``.
    """
    import torch
    from transformers import DynamicCache

    longest, end = max(map(len, prompts)), tokenizer.eos_token_id
    answers_to = torch.tensor(owners, device=model.device)
    more = model.generation_config.eos_token_id or []
    ends = torch.tensor(sorted({end, *([more] if isinstance(more, int) else more)}), device=model.device)
    tokens = torch.tensor([[end] * (longest - len(p)) + p for p in prompts], device=model.device)
    seen = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    rows = torch.arange(len(owners), device=model.device)  # the answer that each row of the batch belongs to
    written = torch.full((len(owners), steps), end, device=model.device)
    ended = torch.zeros(len(owners), dtype=torch.bool, device=model.device)
    cache = DynamicCache(config=model.config)
    for step in range(steps):
        positions = (seen.cumsum(1) - 1).clamp_(min=0)[:, -tokens.shape[1] :]
        output = model(
            input_ids=tokens, attention_mask=seen, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        logits = output.logits[:, -1].float()
        if step == 0:
            logits, seen = logits[answers_to], seen[answers_to]
            cache.batch_select_indices(answers_to)
        chosen = choose(logits, rows, step)
        ended[rows] |= torch.isin(chosen, ends)
        written[rows, step] = torch.where(ended[rows], end, chosen)
        tokens, seen = chosen[:, None], torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)
        going = (~ended[rows]).nonzero()[:, 0]
        if len(going) == 0:
            break
        if len(going) <= len(rows) // 2:
            tokens, seen, rows = tokens[going], seen[going], rows[going]
            cache.batch_select_indices(going)
    texts: list[str] = tokenizer.batch_decode(written, skip_special_tokens=True)
    return texts


def _greedy(logits: Any, rows: Any, step: int) -> Any:
    return logits.argmax(dim=-1)


def _inversion(uniforms: Any, temperature: float) -> Choose:
    """Draws the token at which the cumulated probabilities pass the answer's number of this step.

    ``uniforms`` is ``[answers, steps]``.
    """
    import torch

    def choose(logits: Any, rows: Any, step: int) -> Any:
        cumulative = torch.softmax(logits / temperature, dim=-1).cumsum(dim=-1, dtype=torch.float64)
        drawn = uniforms[rows, step, None] * cumulative[:, -1:]
        # right=True: a token of probability zero is never drawn.
        return torch.searchsorted(cumulative, drawn, right=True).clamp_(max=logits.shape[-1] - 1)[:, 0]

    return choose


def _keys(ids: list[list[int]]) -> list[bytes]:
    """One key a prompt; the second and third occurrence of an equal prompt get keys of their own."""
    seen: Counter[bytes] = Counter()
    keys = []
    for prompt in ids:
        digest = hashlib.sha256(repr(prompt).encode()).digest()[:12]
        keys.append(digest + seen[digest].to_bytes(4, "big"))
        seen[digest] += 1
    return keys


def _uniforms(key: bytes, sample: int, seed: int, steps: int) -> Any:
    """``steps`` uniform numbers in [0, 1) for one answer. A longer answer's numbers begin with a shorter one's."""
    import numpy as np
    import torch

    words = np.frombuffer(hashlib.sha256(key + f"{seed}/{sample}".encode()).digest(), dtype=np.uint64)
    return torch.from_numpy(np.random.Generator(np.random.Philox(key=words[:2])).random(steps))

"""Answers of a causal language model to many prompts: batched, left-padded, sorted by length, greedy or sampled.

Sampling is by inversion (Devroye, "Non-Uniform Random Variate Generation", 1986, section III.2): every answer draws
one uniform number a token from a generator of its own, keyed by the seed, the prompt and the number of the sample.
So an answer depends neither on the other prompts nor on their order or the batch size; what batching can still change
is the last bit of a logit, because padding changes the order in which floating-point sums are taken.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Prompt = str | list[dict[str, str]]


def render(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt as the chat template shows it, up to where the answer begins.

    A string is one user's turn. A tokenizer without a chat template gets the plain text of the last message.
    """
    conversations = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
    if not conversations:
        return []
    if tokenizer.chat_template:
        texts = tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)
    else:
        texts = [conversation[-1]["content"] for conversation in conversations]
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


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
) -> list[list[str]]:
    """``samples`` answers to every prompt, in the order of the prompts, as they are but for special tokens.

    White space is kept: a model whose answers begin with a space must see that space again where it is trained on them.

    Args:
        model: a transformers causal language model; it is used on the device it lies on, and put in eval mode.
        prompts: user's questions, or whole conversations that end with a user's turn.
        temperature: 0 for the most probable token at every step (greedy); then ``samples`` must be 1.
        max_new_tokens: an answer ends at the end token, after this many tokens, or where the context is full.
        seed: of the sampling.
        batch_size: answers generated side by side.
        on_batch: called with the number of answers of each batch as it is done; may raise to stop.

    Raises:
        ValueError: a prompt leaves no room for an answer in the model's context, or the arguments make no sense.
    """
    import torch

    if temperature < 0 or samples < 1 or (temperature == 0 and samples != 1):
        raise ValueError(f"cannot draw {samples} samples at temperature {temperature}")
    ids = render(tokenizer, prompts)
    context = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    too_long = [number for number, prompt in enumerate(ids) if len(prompt) >= context]
    if too_long:
        raise ValueError(
            f"{len(too_long)} prompts fill the context of {context} tokens, the first is number {too_long[0]}"
        )

    keys = _keys(ids)
    jobs = sorted(
        ((number, sample) for number in range(len(ids)) for sample in range(samples)),
        key=lambda job: (len(ids[job[0]]), keys[job[0]], job[1]),
    )
    results: list[list[str]] = [[""] * samples for _ in ids]
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(jobs), batch_size):
            batch = jobs[start : start + batch_size]
            longest = max(len(ids[number]) for number, _ in batch)
            steps = min(max_new_tokens, context - longest)
            chooser = None
            if temperature > 0:
                uniforms = torch.stack([_uniforms(keys[number], sample, seed, steps) for number, sample in batch])
                chooser = _inversion(uniforms.to(model.device), temperature, longest)
            texts = _generate(model, tokenizer, [ids[number] for number, _ in batch], steps, chooser)
            for (number, sample), text in zip(batch, texts, strict=True):
                results[number][sample] = text
            if on_batch:
                on_batch(len(batch))
    model.train(was_training)
    return results


def _generate(model: Any, tokenizer: Any, prompts: list[list[int]], steps: int, chooser: Any) -> list[str]:
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    input_ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=model.device)
    attention = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    generated = model.generate(
        input_ids=input_ids,
        attention_mask=attention,
        generation_config=GenerationConfig(
            max_new_tokens=steps, do_sample=False, pad_token_id=pad, eos_token_id=tokenizer.eos_token_id, use_cache=True
        ),
        logits_processor=LogitsProcessorList([chooser] if chooser else []),
    )
    return tokenizer.batch_decode(generated[:, longest:], skip_special_tokens=True)


def _inversion(uniforms: Any, temperature: float, prompt_length: int) -> Callable[[Any, Any], Any]:
    """A logits processor that leaves only the token drawn; ``uniforms`` is ``[answers, steps]``."""
    import torch

    def choose(input_ids: Any, scores: Any) -> Any:
        cumulative = torch.softmax(scores.double() / temperature, dim=-1).cumsum(dim=-1)
        drawn = uniforms[:, input_ids.shape[1] - prompt_length, None] * cumulative[:, -1:]
        # right=True: a token of probability zero is never drawn.
        token = torch.searchsorted(cumulative, drawn, right=True).clamp_(max=scores.shape[-1] - 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, token, 0.0)

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

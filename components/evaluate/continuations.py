"""Continuations of fixed prompts: the same ones for every model, so that a reader can compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.conversations import text_ids
from components.evaluate.subject import Subject

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def continuations_section(subject: Subject) -> dict[str, Any]:
    """Continuations of the fixed prompts, and how they were drawn."""
    context = subject.context
    parameters = context.parameters.samples
    texts = continue_documents(
        subject.model,
        subject.tokenizer,
        parameters.prompts,
        max_new_tokens=parameters.max_new_tokens,
        temperature=parameters.temperature,
        context=subject.window,
        seed=context.seed,
    )
    pairs = zip(parameters.prompts, texts, strict=True)
    return {
        "temperature": parameters.temperature,
        "samples": [{"prompt": prompt, "continuation": text} for prompt, text in pairs],
    }


def continue_documents(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float,
    context: int,
    seed: int,
) -> list[str]:
    """What the model writes after each prompt, put where a document begins. Not chat: plain text for every model."""
    import torch
    from transformers import GenerationConfig

    texts = []
    for number, prompt in enumerate(prompts):
        ids = [tokenizer.eos_token_id, *text_ids(tokenizer, [prompt])[0]]
        ids = ids[-(context - 1) :]
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed + number)
            inputs = torch.tensor([ids], device=model.device)
            generated = model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                generation_config=GenerationConfig(
                    max_new_tokens=min(max_new_tokens, context - len(ids)),
                    pad_token_id=tokenizer.pad_token_id,
                    eos_token_id=tokenizer.eos_token_id,
                    **sampling,
                ),
            )
        texts.append(tokenizer.decode(generated[0, len(ids) :], skip_special_tokens=True))
    return texts

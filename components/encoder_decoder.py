"""Encoder-decoders (T5, BART): what their two halves read, and answers token by token."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from components.conversations import Prompt, render

# As in components.generation: logits [rows, vocabulary], the answer of each row, the step; gives tokens [rows].
Choose = Callable[[Any, Any, int], Any]


def sources(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids that the encoder reads of each prompt.

    By the tokenizer's chat template where it has one. Else as :func:`plain` text, which these models are trained on
    (``translate English to German: ...``). Text that spells a control token is text.
    """
    if tokenizer.chat_template:
        return render(tokenizer, prompts)
    if not prompts:
        return []
    ids: list[list[int]] = tokenizer([plain(prompt) for prompt in prompts], split_special_tokens=True)["input_ids"]
    return ids


def plain(prompt: Prompt) -> str:
    """A prompt without a chat template: a single turn is its text, each of several a line that begins with its role."""
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return "\n".join(_said(turn) if len(turns) == 1 else f"{turn['role']}: {_said(turn)}" for turn in turns)


def _said(turn: Mapping[str, Any]) -> str:
    """The text of a turn, its tool calls as JSON."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in turn.get("tool_calls") or ()]
    return "\n".join(filter(None, [turn["content"], *calls])) if calls else str(turn["content"])


def targets(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids that the decoder is to write, the end token among them."""
    if not texts:
        return []
    end = tokenizer.eos_token_id
    found = tokenizer(text_target=list(texts), split_special_tokens=True)["input_ids"]
    return [row if row and row[-1] == end else [*row, end] for row in found]


def generate(
    model: Any, tokenizer: Any, prompts: list[list[int]], steps: int, choose: Choose, owners: list[int]
) -> list[str]:
    """Answer ``i`` to prompt ``owners[i]``, for every ``i``; each prompt is read once, however many answers it gets.

    As :mod:`components.generation` does it for decoders: answers that have ended leave the batch.
    """
    import torch
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.modeling_outputs import BaseModelOutput

    longest, pad, end = max(map(len, prompts)), tokenizer.pad_token_id, tokenizer.eos_token_id
    settings = model.generation_config
    ids = torch.tensor([p + [pad] * (longest - len(p)) for p in prompts], device=model.device)
    seen = torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in prompts], device=model.device)
    read = model.get_encoder()(input_ids=ids, attention_mask=seen).last_hidden_state
    answers_to = torch.tensor(owners, device=model.device)
    read, seen = read[answers_to], seen[answers_to]

    more = settings.eos_token_id or []
    ends = torch.tensor(sorted({end, *([more] if isinstance(more, int) else more)}), device=model.device)
    rows = torch.arange(len(owners), device=model.device)  # the answer that each row of the batch belongs to
    tokens = torch.full((len(owners), 1), start_token(model), device=model.device)
    written = torch.full((len(owners), steps), end, device=model.device)
    ended = torch.zeros(len(owners), dtype=torch.bool, device=model.device)
    halves = [DynamicCache(config=model.config.get_text_config(decoder=True)) for _ in range(2)]
    cache = EncoderDecoderCache(*halves)
    for step in range(steps):
        output = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=read),
            attention_mask=seen,
            decoder_input_ids=tokens,
            past_key_values=cache,
            use_cache=True,
        )
        chosen = choose(output.logits[:, -1].float(), rows, step)
        if step == 0 and settings.forced_bos_token_id is not None:  # such as the language to translate into
            chosen = torch.full_like(chosen, settings.forced_bos_token_id)
        if step == steps - 1 and settings.forced_eos_token_id is not None:
            chosen = torch.full_like(chosen, end)
        ended[rows] |= torch.isin(chosen, ends)
        written[rows, step] = torch.where(ended[rows], end, chosen)
        tokens = chosen[:, None]
        going = (~ended[rows]).nonzero()[:, 0]
        if len(going) == 0:
            break
        if len(going) <= len(rows) // 2:
            tokens, seen, read, rows = tokens[going], seen[going], read[going], rows[going]
            for half in halves:
                half.batch_select_indices(going)
    texts: list[str] = tokenizer.batch_decode(written, skip_special_tokens=True)
    return texts


def start_token(model: Any) -> int:
    """The token that the decoder begins with."""
    settings, config = model.generation_config, model.config.get_text_config(decoder=True)
    for named in (
        settings.decoder_start_token_id,
        getattr(config, "decoder_start_token_id", None),
        getattr(model.config, "decoder_start_token_id", None),
        settings.bos_token_id,
        settings.pad_token_id,
    ):
        if named is not None:
            return int(named)
    return 0

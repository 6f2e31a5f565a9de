"""Whether a model loads as serving loads it, and whether its output is usable at all.

Not how good it is: evaluation measures that. This finds weights that are broken (no finite numbers), a tokenizer that
is missing or does not fit, a chat template that does not end, and a model that generates nothing or one token over and
over.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

# These are loaded by name when they are first needed; a process that checks many models loads them once.
from transformers.generation import GenerationMixin  # noqa: F401
from transformers.utils import logging

from registry.promotion.template_trial import DoesNotEnd, require_end

QUESTION = "How many parameters does this function take? def f ( a , b )"
NEW_TOKENS = 24
REPEATED = 8  # that many tokens, all of them the same, are no answer


class NotSane(Exception):
    """The model is broken; the message says how."""


def examine(folder: Path) -> list[tuple[str, str]]:
    """Load the model in ``folder``, from safetensors only and without running code of its own, and try it.

    Returns:
        (name, detail) of each check that passed: ``model loads``, then ``generation`` or ``scores``.

    Raises:
        NotSane: one failed.
        Exception: any error of transformers on a folder that it cannot load.
    """
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    architectures = AutoConfig.from_pretrained(folder, trust_remote_code=False).architectures or []
    if not architectures:
        raise NotSane("config.json names no architecture, so the weights cannot be loaded")
    generates = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    kind = AutoModelForCausalLM if generates else AutoModelForSequenceClassification
    model, report = kind.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    if lost := [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]:
        raise NotSane(f"weights that the architecture needs are not in the files: {', '.join(map(str, lost))[:300]}")
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise NotSane(f"the tokenizer has {len(tokenizer)} entries and the model {rows} embeddings: they do not fit")
    size = sum(parameter.numel() for parameter in model.parameters())
    loaded = ("model loads", f"{type(model).__name__}, {size:,} parameters, tokenizer of {len(tokenizer):,} entries")
    with torch.inference_mode():
        return [
            loaded,
            ("generation", _generation(model, tokenizer)) if generates else ("scores", _scores(model, tokenizer)),
        ]


def _generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Greedy answers to a chat question and from the start of a text: one of them has to be an answer.

    A base model was trained on texts without turns; a tuned one may end at once without a question.
    """
    if isinstance(tokenizer.chat_template, str):
        try:
            require_end(tokenizer.chat_template, tokenizer.special_tokens_map)
        except DoesNotEnd as endless:
            raise NotSane(str(endless)) from None
    faults = []
    for prompt, inputs in _prompts(model, tokenizer):
        _require_finite(model(**inputs).logits)
        length = inputs["input_ids"].shape[1]
        made = model.generate(
            **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id or 0
        )[0, length:].tolist()  # fmt: skip
        answer = [token for token in made if token not in tokenizer.all_special_ids]
        text = tokenizer.decode(answer).strip()
        if not text:
            faults.append(f"{prompt}: generates nothing")
        elif len(answer) >= REPEATED and len(set(answer)) == 1:
            faults.append(f"{prompt}: repeats {text[:12]!r} only")
        else:
            return f"{prompt}: {text[:60]!r}"
    raise NotSane("; ".join(faults))


def _prompts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, dict[str, Any]]]:
    """(name, input ids and mask of shape (1, tokens)), as many as the tokenizer knows and the context has room for."""
    room = getattr(model.config, "max_position_embeddings", None) or math.inf
    found = []
    if tokenizer.chat_template is not None:
        question = [{"role": "user", "content": QUESTION}]
        chat = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        found.append(("chat question", {name: chat[name] for name in ("input_ids", "attention_mask")}))
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is not None:
        ids = torch.tensor([[start]])
        found.append(("from the start of a text", {"input_ids": ids, "attention_mask": torch.ones_like(ids)}))
    fitting = [(name, inputs) for name, inputs in found if inputs["input_ids"].shape[1] + NEW_TOKENS <= room]
    if not fitting:
        raise NotSane("the tokenizer has neither a chat template nor a start token that the context has room for")
    return fitting


def _scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Scores of one text, which have to be finite numbers."""
    room = getattr(model.config, "max_position_embeddings", None)
    inputs = tokenizer(QUESTION, return_tensors="pt", truncation=room is not None, max_length=room)
    scores = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[0]
    _require_finite(scores)
    return f"{scores.numel()} finite score{'s' if scores.numel() > 1 else ''}"


def _require_finite(logits: torch.Tensor) -> None:
    if not torch.isfinite(logits).all():
        raise NotSane("the outputs are not finite numbers")

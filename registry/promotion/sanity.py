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
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

# These are loaded by name when they are first needed; a process that checks many models loads them once.
from transformers.generation import GenerationMixin  # noqa: F401
from transformers.utils import logging

from core import adapted
from registry.promotion.template_trial import DoesNotEnd, require_end

QUESTION = "How many parameters does this function take? def f ( a , b )"
NEW_TOKENS = 24
REPEATED = 8  # that many tokens, all of them the same, are no answer


class NotSane(Exception):
    """The model is broken; the message says how."""


# How the names of architectures end, and what loads them; any other is a body without a head, such as BertModel.
_KINDS: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("ForCausalLM", "LMHeadModel"), AutoModelForCausalLM),
    (("ForConditionalGeneration",), AutoModelForSeq2SeqLM),
    (("ForSequenceClassification",), AutoModelForSequenceClassification),
    (("ForMaskedLM",), AutoModelForMaskedLM),
    (("Model",), AutoModel),
)


def examine(folder: Path) -> list[tuple[str, str]]:
    """Load the model in ``folder``, from safetensors only and without running code of its own, and try it.

    An adapter in the folder is merged into its base first, as wherever it is served.

    Returns:
        (name, detail) of each check that passed: ``model loads``, then ``generation``, ``scores`` or ``encoding``.

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
    kind = next((kind for ends, kind in _KINDS if architectures[0].endswith(ends)), None)
    if kind is None:
        raise NotSane(f"{architectures[0]} neither generates, scores nor encodes text, so it cannot be tried")
    if problem := adapted.problem(folder):
        raise NotSane(problem)
    model, report = kind.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
    )
    brought = _brought_by_adapter(folder)
    lost = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]
    if lost := [str(key) for key in lost if key not in brought]:
        raise NotSane(f"weights that the architecture needs are not in the files: {', '.join(lost)[:300]}")
    model = adapted.apply(model, folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise NotSane(f"the tokenizer has {len(tokenizer)} entries and the model {rows} embeddings: they do not fit")
    size = sum(parameter.numel() for parameter in model.parameters())
    parts = " with its adapter" if adapted.is_adapted(folder) else ""
    loaded = (
        "model loads", f"{type(model).__name__}{parts}, {size:,} parameters, tokenizer of {len(tokenizer):,} entries"
    )  # fmt: skip
    with torch.inference_mode():
        if kind in (AutoModelForCausalLM, AutoModelForSeq2SeqLM):
            return [loaded, ("generation", _generation(model, tokenizer))]
        if kind is AutoModelForSequenceClassification:
            return [loaded, ("scores", _scores(model, tokenizer))]
        return [loaded, ("encoding", _encoding(model, tokenizer))]


def _brought_by_adapter(folder: Path) -> set[str]:
    """Weights that an adapter holds whole, such as a classifier's head, which its base has not."""
    if not adapted.is_adapted(folder):
        return set()
    with safe_open(folder / adapted.FOLDER / adapted.WEIGHTS, framework="pt") as weights:
        return {name.removeprefix("base_model.model.") for name in weights.keys()}


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
        length, more = inputs["input_ids"].shape[1], {}
        if model.config.is_encoder_decoder:
            length, more = 1, {"decoder_input_ids": torch.tensor([[model.config.decoder_start_token_id or 0]])}
        _require_finite(model(**inputs, **more).logits)
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
    if model.config.is_encoder_decoder:
        text = tokenizer(QUESTION, return_tensors="pt")
        found.append(("text", {name: text[name] for name in ("input_ids", "attention_mask")}))
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
    scores = model(**_text(model, tokenizer)).logits[0]
    _require_finite(scores)
    return f"{scores.numel()} finite score{'s' if scores.numel() > 1 else ''}"


def _encoding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """What an encoder makes of one text, which has to be finite numbers."""
    inputs = _text(model, tokenizer)
    more = {"decoder_input_ids": inputs["input_ids"]} if model.config.is_encoder_decoder else {}
    made = model(**inputs, **more)[0]
    _require_finite(made)
    return f"{made.shape[1]} tokens, finite vectors of {made.shape[2]:,}"


def _text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, torch.Tensor]:
    """Ids and mask of a question, cut to the context."""
    room = getattr(model.config, "max_position_embeddings", None)
    inputs = tokenizer(QUESTION, return_tensors="pt", truncation=room is not None, max_length=room)
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def _require_finite(logits: torch.Tensor) -> None:
    if not torch.isfinite(logits).all():
        raise NotSane("the outputs are not finite numbers")

"""Tokenizers with the chat templates that models are published with, most of them out of TRL's package."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMOLLM2 = (  # ChatML with a system message of its own
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}" + CHATML.removeprefix("{% for message in messages %}")
)

_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA3 = (
    "<|begin_of_text|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|python_tag|>",
    "<|eom_id|>",
)
_GEMMA = ("<bos>", "<end_of_turn>", "<start_of_turn>", "<eos>")
_PHI = ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_DEEPSEEK = (
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
    *(f"<｜tool▁{what}▁{side}｜>" for what in ("calls", "call", "outputs", "output") for side in ("begin", "end")),
    "<｜tool▁sep｜>",
)  # fmt: skip
_GPTOSS = ("<|startoftext|>", "<|return|>", "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>",
           "<|constrain|>")  # fmt: skip

FAMILIES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "llama3": (None, _LLAMA3),
    "llama3_1": (None, _LLAMA3),
    "llama3_2": (None, _LLAMA3),
    "qwen2_5": (None, _CHATML_TOKENS),
    "qwen3": (None, _CHATML_TOKENS),
    "qwen3_instruct_2507": (None, _CHATML_TOKENS),
    "gemma": (None, _GEMMA),
    "gemma3": (None, _GEMMA),
    "phi3": (None, _PHI),
    "phi3_5": (None, _PHI),
    "deepseekv3": (None, _DEEPSEEK),
    "deepseek_r1_distill": (None, _DEEPSEEK),
    "gptoss": (None, _GPTOSS),
    "mistral": (MISTRAL, ("<s>", "</s>")),
    "chatml": (CHATML, _CHATML_TOKENS),
    "smollm2": (SMOLLM2, _CHATML_TOKENS),
}
"""Template (None: TRL's file of that name) and control tokens of each family: the first begins a text; the second or,
with ChatML, the last ends a turn."""


@functools.cache
def tokenizer(family: str) -> Any:
    """A tokenizer of bytes with a family's chat template and control tokens. It is shared: do not change it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    template, special = FAMILIES[family]
    if template is None:
        [package] = find_spec("trl").submodule_search_locations
        template = (Path(package) / "chat_templates" / f"{family}.jinja").read_text(encoding="utf-8")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    if family.startswith("qwen3") or family.startswith("deepseek"):
        backend.add_tokens([AddedToken(token, normalized=False) for token in ("<think>", "</think>")])
    end = special[-1] if special == _CHATML_TOKENS else special[1]
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=special[0], eos_token=end, pad_token=special[0])
    made.chat_template = template
    return made

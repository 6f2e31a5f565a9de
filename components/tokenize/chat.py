"""The special tokens and the chat template that every stage after this one relies on."""

from __future__ import annotations

END = "<|endoftext|>"
PAD = "<|pad|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = [END, PAD, *ROLES.values()]

# No newlines between turns: a small vocabulary has none to spare. The generation markers tell trainers which tokens
# are the assistant's own, the end token among them. Content is put in as it is: a tag in it is the caller's to refuse.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' -}}"
    "{%- generation -%}{{- message['content'] + eos_token -}}{%- endgeneration -%}"
    "{%- elif message['role'] in ('system', 'user') -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] -}}"
    "{%- else -%}"
    "{{- raise_exception('no such role: ' + message['role'] + '; there are system, user and assistant') -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

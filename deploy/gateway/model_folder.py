"""What the files of a model's folder say about it, read without loading any weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from registry.errors import RegistryError
from registry.promotion.gate import UNSAFE_SUFFIXES

Kind = Literal["generator", "classifier"]


class NotServable(RegistryError):
    """The model is valid, but no engine of the gateway can serve it."""


@dataclass(frozen=True)
class ModelFolder:
    """A model's files.

    Attributes:
        kind: whether it generates text or classifies it.
        context: tokens of prompt and answer together; ``None`` where the configuration names none.
        chat_template: the model's own; ``None`` for a base model.
        special_tokens: by the names templates know them, such as ``bos_token``.
        generation: sampling defaults that the model brings (``generation_config.json``).
        labels: of a classifier, in the order of its scores.
    """

    path: Path
    kind: Kind
    context: int | None
    chat_template: str | None = None
    special_tokens: dict[str, str] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)


def read(path: Path) -> ModelFolder:
    """Read a model's folder.

    Raises:
        NotServable: it is of no kind that is served, or lacks a file.
    """
    config = _json(path / "config.json")
    if not config:
        raise NotServable(f"{path} has no readable config.json, so its kind of model is unknown")
    if not (path / "tokenizer.json").is_file():
        raise NotServable(f"{path} has no tokenizer.json; save the tokenizer in the `tokenizers` format")
    if unsafe := sorted(file.name for file in path.rglob("*") if file.suffix.lower() in UNSAFE_SUFFIXES):
        # The gate refuses these too, but a promotion can be forced.
        raise NotServable(f"{', '.join(unsafe)} can run code when loaded; save the weights as safetensors")
    tokenizer = _json(path / "tokenizer_config.json")
    architectures = config.get("architectures") or []
    if any(name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for name in architectures):
        return ModelFolder(
            path, "generator", _context(config), _template(path, tokenizer), _special(tokenizer),
            _json(path / "generation_config.json"),
        )  # fmt: skip
    names = config.get("id2label") or {}
    if any(name.endswith("ForSequenceClassification") for name in architectures) and len(names) > 1:
        labels = [str(names[key]) for key in sorted(names, key=int)]
        return ModelFolder(path, "classifier", _context(config), labels=labels)
    what = ", ".join(architectures) or "a model of no architecture"
    raise NotServable(f"{what} neither generates text nor has two or more classes, so it is not served")


def _json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _context(config: dict[str, Any]) -> int | None:
    inner = config.get("text_config") or config
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = inner.get(name)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _template(path: Path, tokenizer: dict[str, Any]) -> str | None:
    """The default template: a file of its own in newer folders, a field in older ones."""
    file = path / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = tokenizer.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found


def _special(tokenizer: dict[str, Any]) -> dict[str, str]:
    named = {name: value for name, value in tokenizer.items() if name.endswith("_token")}
    plain = {name: value.get("content") if isinstance(value, dict) else value for name, value in named.items()}
    return {name: value for name, value in plain.items() if isinstance(value, str)}

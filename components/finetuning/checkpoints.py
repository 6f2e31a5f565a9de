"""Checkpoints of the trainers: folders ``step-…`` that appear whole, each with all that its training goes on with.

A trainer writes its own file by file, so a kill can leave half of it under the trainer's name for it. It gets the name
of a checkpoint last, once a seal lies in it that names the size of every file.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from core.files import link_tree, remove_folder, sync, write_json

KEPT = 2  # the newest
BESIDE = "beside"  # folder of what a training goes on with besides its own state: the best weights, drawn answers
_SEAL = "sealed.json"


def publish(made: Path, step: int, beside: Iterable[Path] = ()) -> Path:
    """Make the folder that a trainer wrote the checkpoint of ``step``, durably; older ones than the newest few go.

    Args:
        beside: folders whose files, as hard links, become part of it; nobody may write to them in place.
    """
    root = made.parent
    for folder in beside:
        link_tree(folder, made / BESIDE / folder.name)
    seal(made)
    final = root / f"step-{step:010d}"
    if final.exists():
        remove_folder(final)
    os.rename(made, final)
    sync(root)
    for old in _steps(root)[:-KEPT]:
        remove_folder(old)
    return final


def seal(folder: Path) -> None:
    """Mark the files in ``folder`` as whole, durably."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _SEAL:
            sync(path)
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    write_json(folder / _SEAL, sizes)
    sync(folder.parent)


def is_whole(folder: Path) -> bool:
    """True if ``folder`` was sealed and still has every file at its size."""
    try:
        sizes = json.loads((folder / _SEAL).read_text())
    except (OSError, json.JSONDecodeError):
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def latest(root: Path) -> Path | None:
    """The newest whole checkpoint in ``root``."""
    return next((path for path in reversed(_steps(root)) if is_whole(path)), None)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps before it."""
    return int(checkpoint.name.removeprefix("step-"))


def tidy(root: Path, checkpoint: Path | None) -> None:
    """Before a training goes on from ``checkpoint``: what a kill left half-written goes, the best weights come back.

    These are in ``root`` unless the checkpoint came from another machine, or is not the newest that there was.
    """
    for path in (*root.glob("checkpoint-*"), *root.glob("*.removed")):
        shutil.rmtree(path, ignore_errors=True)
    for best in () if checkpoint is None else (checkpoint / BESIDE).glob("best-*"):
        if not is_whole(root / best.name):
            shutil.rmtree(root / best.name, ignore_errors=True)
            link_tree(best, root / best.name)


def _steps(root: Path) -> list[Path]:
    """Checkpoints, the oldest first."""
    return sorted(path for path in root.glob("step-*") if path.name[5:].isdecimal())

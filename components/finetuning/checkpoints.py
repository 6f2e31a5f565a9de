"""Checkpoints of the trainers. One is written file by file, so a kill can leave half of it: it counts only once a seal
lies in it, which is written after everything else is on the disk and names the size of every file.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core.files import sync, write_json

_SEAL = "sealed.json"


def seal(folder: Path) -> None:
    """Mark the checkpoint in ``folder`` as whole, durably."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _SEAL:
            sync(path)
            sizes[str(path.relative_to(folder))] = path.stat().st_size
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
    """The newest whole ``checkpoint-<step>`` under ``root``; torn ones are removed."""
    found = sorted(root.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if is_whole(path)]
    for path in found:
        if path not in whole:
            shutil.rmtree(path, ignore_errors=True)
    return whole[-1] if whole else None

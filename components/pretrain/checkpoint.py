"""Checkpoints on disk: written whole or not at all, verified when read, the last two kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

KEEP = 2
MANIFEST = "manifest.json"
STATE = "state.pt"


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``state`` as the checkpoint of ``step``, then delete all but the newest :data:`KEEP`.

    The files are written to a ``.partial`` folder, flushed to the disk, listed with their SHA-256 in a manifest, and
    appear under their final name by one rename.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:010d}"
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        torch.save(state, partial / STATE)
        manifest = {"step": step, "files": {STATE: _digest(partial / STATE)}}
        (partial / MANIFEST).write_text(json.dumps(manifest) + "\n")
        for path in (partial / STATE, partial / MANIFEST, partial):
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(partial, final)
        _sync(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in _steps(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest(folder: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """State of the newest checkpoint that is whole; each damaged one is told of by ``warn`` and passed over."""
    if not folder.exists():
        return None
    for partial in folder.glob("step-*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    for path in _steps(folder):
        problem = _damage(path)
        if problem is None:
            return torch.load(path / STATE, map_location="cpu", weights_only=True)
        warn(f"checkpoint {path.name} is damaged ({problem}); the one before it is taken")
        shutil.rmtree(path, ignore_errors=True)
    return None


def _damage(path: Path) -> str | None:
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"no readable manifest: {error}"
    for name, digest in files.items():
        if not (path / name).exists():
            return f"{name} is missing"
        if _digest(path / name) != digest:
            return f"{name} differs from its SHA-256"
    return None


def _steps(folder: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    return sorted((p for p in folder.glob("step-*") if not p.name.endswith(".partial")), reverse=True)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

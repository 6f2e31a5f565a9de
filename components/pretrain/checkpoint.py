"""Checkpoints on disk: folders that appear whole or not at all, and that show any damage when they are read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.files import remove_folder, sha256, sync

MANIFEST = "manifest.json"


def publish(folder: Path, step: int, write: Callable[[Path], None]) -> Path:
    """Make the checkpoint of ``step`` in ``folder`` of the files that ``write`` puts into the folder it is given.

    They are written to a ``.partial`` folder and flushed to the disk, listed with their SHA-256 in a manifest, which is
    written last, and appear under their final name by one rename.

    Raises:
        OSError: the disk refused; nothing is left of the attempt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:010d}"
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        write(partial)
        files = sorted(partial.iterdir())
        for path in files:
            sync(path)
        manifest = partial / MANIFEST
        manifest.write_bytes(_manifest({"step": step, "files": {path.name: sha256(path) for path in files}}))
        sync(manifest)
        sync(partial)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(partial, final)
        sync(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def newest(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that is whole; each damaged one is removed, with a warning, and passed over."""
    if not folder.exists():
        return None
    for part in (*folder.glob("step-*.partial"), *folder.glob("step-*.removed")):
        shutil.rmtree(part, ignore_errors=True)
    for path in _paths(folder):
        problem = damage(path)
        if problem is None:
            return path
        warn(f"checkpoint {path.name} is damaged ({problem}); the one before it is taken")
        shutil.rmtree(path, ignore_errors=True)
    return None


def prune(folder: Path, losses: Mapping[int, float], *, keep_last: int, keep_best: int) -> None:
    """Delete all but the newest ``keep_last`` and, of all, the ``keep_best`` with the lowest validation loss.

    Args:
        losses: validation loss by step, of the steps that have one.
    """
    paths = {int(path.name.removeprefix("step-")): path for path in _paths(folder)}
    best = sorted((step for step in paths if step in losses), key=lambda step: (losses[step], -step))
    kept = {*list(paths)[:keep_last], *best[:keep_best]}
    for step, path in paths.items():
        if step not in kept:
            remove_folder(path)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, if anything is: any change of any byte shows."""
    try:
        raw = (path / MANIFEST).read_bytes()
        manifest = json.loads(raw)
        # The manifest holds a digest of itself; written anew, it is the same bytes only if none was changed.
        if raw != _manifest({"step": manifest["step"], "files": manifest["files"]}):
            return "the manifest differs from its SHA-256"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"no readable manifest: {type(error).__name__}: {error}"
    for name, digest in manifest["files"].items():
        if not (path / name).exists():
            return f"{name} is missing"
        if sha256(path / name) != digest:
            return f"{name} differs from its SHA-256"
    return None


def _manifest(body: dict[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps(body | {"sha256": digest}, sort_keys=True, indent=1) + "\n").encode()


def _paths(folder: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    return sorted((path for path in folder.glob("step-*") if path.name[5:].isdecimal()), reverse=True)

"""The identity of a piece of work: digest of component code, parameters and input digests.

The same fingerprint means the same result is due, so after a crash it finds its checkpoint and its tracking run again,
and a changed parameter never resumes a stale one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any


def code_digest(root: Path, paths: Iterable[str]) -> str:
    """sha256 over the names and contents of the files at ``paths``, folders taken whole, bytecode left out."""
    digest = hashlib.sha256()
    for path in paths:
        target = root / path
        files = sorted(target.rglob("*")) if target.is_dir() else [target]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root).as_posix()}\0{file.stat().st_size}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def fingerprint(code: str, parameters: Mapping[str, Any], seed: int, inputs: Mapping[str, str]) -> str:
    """Twenty hexadecimal digits that name the work; ``inputs`` maps input names to their digests."""
    body = {"code": code, "parameters": parameters, "seed": seed, "inputs": dict(sorted(inputs.items()))}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:20]


@cache
def _hasher() -> Any:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem
    from dvc_objects.fs.memory import MemoryFileSystem

    odb = HashFileDB(MemoryFileSystem(global_store=False), "/stemma")
    return build, odb, LocalFileSystem()


def data_digest(path: Path) -> tuple[str, int]:
    """(md5 as DVC writes it into ``dvc.lock``, size in bytes) of a file or folder.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    build, odb, filesystem = _hasher()
    _, meta, obj = build(odb, str(path), filesystem, "md5", dry_run=True)
    return obj.hash_info.value, meta.size or 0

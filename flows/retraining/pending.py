"""Candidates of retraining that a person was asked to approve: their data is not trained on again meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path


def read(home: Path) -> list[str]:
    """The versions, such as ``base:2``."""
    try:
        return list(json.loads(_file(home).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return []


def add(home: Path, versions: Iterable[str]) -> None:
    """Note versions, whole or not at all. Lost, it costs one run that finds every stage cached and asks again."""
    if not (versions := {*versions} - {*read(home)}):
        return
    partial = _file(home).with_suffix(".json.partial")
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(sorted({*read(home), *versions}), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, _file(home))


def _file(home: Path) -> Path:
    return home / "retrain.asked.json"

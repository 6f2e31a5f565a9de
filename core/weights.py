"""What lies in a model's safetensors files, by their headers: nothing is loaded."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from core.errors import InputProblem


def count(folder: Path) -> tuple[int, dict[str, int]]:
    """Numbers in a folder's safetensors, in all and by their type, from the files' headers alone.

    The header's length is the first eight bytes: https://github.com/huggingface/safetensors#format

    Raises:
        InputProblem: a file is damaged.
    """
    kinds: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for kind, shape in _tensors(path).values():
            kinds[kind] = kinds.get(kind, 0) + math.prod(shape)
    return sum(kinds.values()), kinds


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a file, by its header.

    Raises:
        InputProblem: the file is damaged.
    """
    return {name: shape for name, (_, shape) in _tensors(path).items()}


def _tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor of a file."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        found = {
            name: (str(entry["dtype"]), tuple(int(size) for size in entry["shape"]))
            for name, entry in header.items()
            if name != "__metadata__"
        }
        if any(size < 0 for _, shape in found.values() for size in shape):
            raise ValueError("a shape in its header is negative")
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise InputProblem(f"{path.parent.name}/{path.name} is damaged: {error}") from None

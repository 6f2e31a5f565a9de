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
        try:
            with open(path, "rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > path.stat().st_size:
                    raise ValueError("its header is longer than the file")
                header = json.loads(file.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            for entry in tensors.values():
                kinds[entry["dtype"]] = kinds.get(entry["dtype"], 0) + math.prod(entry["shape"])
        except (ValueError, KeyError, TypeError, struct.error) as error:
            raise InputProblem(f"{path.parent.name}/{path.name} is damaged: {error}") from None
    return sum(kinds.values()), kinds

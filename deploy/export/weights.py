"""The tensors of a safetensors folder, one at a time: nothing but the file's pages is read, and no torch is needed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputProblem

# bfloat16 is the upper half of a float32, and numpy has no type of its own for it.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class Weights:
    """Every tensor under a folder's ``*.safetensors`` by its name; a shard's index is not needed.

    Raises:
        InputProblem: there are none, or a file is not what its head says.
    """

    def __init__(self, folder: Path):
        self._places: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}
        for file in sorted(folder.glob("*.safetensors")):
            content = np.memmap(file, dtype=np.uint8, mode="r")
            try:
                (size,) = struct.unpack("<Q", content[:8].tobytes())
                head = json.loads(content[8 : 8 + size].tobytes())
            except (struct.error, ValueError) as error:
                raise InputProblem(f"{file}: not a safetensors file ({error})") from None
            head.pop("__metadata__", None)
            self._places |= {name: (content[8 + size :], about) for name, about in head.items()}
        if not self._places:
            raise InputProblem(f"{folder} has no .safetensors weights")

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._places[name][1]["shape"])

    def read(self, name: str) -> np.ndarray:
        """The tensor, in float32 or float16 as it is stored; bfloat16 becomes float32, which holds every value of it.

        Raises:
            InputProblem: its numbers are of a type that is none of a plain model's weights.
        """
        content, about = self._places[name]
        if about["dtype"] not in _TYPES:
            raise InputProblem(
                f"{name} is stored as {about['dtype']}; save the model in float32, float16 or bfloat16 first"
            )
        begin, end = about["data_offsets"]
        values = content[begin:end].view(_TYPES[about["dtype"]]).reshape(about["shape"])
        if about["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32) if about["dtype"] == "F64" else np.asarray(values)

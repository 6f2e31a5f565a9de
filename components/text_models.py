"""Models that judge texts, each in one safetensors file under data/raw: its path as a parameter, and reading it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator

from components.contract import outside_raw
from core import bounded
from core.errors import InputProblem

T = TypeVar("T")


def _among_the_inputs(value: str) -> str:
    if outside_raw(value) or PurePosixPath(value).suffix != ".safetensors":
        raise ValueError("must be a .safetensors file under data/raw/, where changes are tracked")
    return value


ModelFile = Annotated[str, AfterValidator(_among_the_inputs)]


def read(path: Path, name: str, largest: int, parse: Callable[[bytes], T], what: str) -> T:
    """What ``parse`` makes of a file.

    Args:
        name: stands for the file in messages.
        largest: bytes that it may have.
        parse: raises ValueError, TypeError, KeyError, RecursionError or SafetensorError where it is no such file.
        what: such a file is, as "classifier that `COMMAND` has written".

    Raises:
        InputProblem: it is not there, or it is no such file.
    """
    from safetensors import SafetensorError

    try:
        with open(path, "rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise ValueError("it is too large")
        return parse(content)
    except OSError as error:
        raise InputProblem(f"{name}: cannot be read ({error.strerror or error})") from None
    except (ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
        raise InputProblem(f"{name}: is no {what} ({error}): train it anew") from None


def manifest(metadata: dict[str, str], format: str) -> dict[str, Any]:
    """The manifest in the metadata of a file, of this format and no deeper than is read.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: there is no such manifest.
    """
    found = json.loads(metadata["manifest"])
    if bounded.deeper(found) or not isinstance(found, dict) or found.get("format") != format:
        raise ValueError(f"its format must be {format}")
    return found

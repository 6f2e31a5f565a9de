"""The user's own llama.cpp: its converter, which knows more families, and its quantizer, which knows more kinds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from core import python
from core.errors import InputProblem

CONVERTER, QUANTIZER = "convert_hf_to_gguf.py", "llama-quantize"
#: Kinds of numbers that the quantizer alone writes.
KINDS = (
    "q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs",
)  # fmt: skip
_CONVERTED = ("f32", "f16", "bf16", "q8_0")  # by the converter


def find(name: str) -> Path | None:
    """A program of llama.cpp: below the folder that ``LLAMA_CPP`` names, else on PATH."""
    folder = os.environ.get("LLAMA_CPP")
    for place in (".", "build/bin", "bin"):
        if folder and (path := Path(folder).expanduser() / place / name).is_file():
            return path.resolve()
    found = shutil.which(name)
    return Path(found) if found else None


def convert(folder: Path, target: Path, kind: str) -> str | None:
    """Write the model in ``folder`` as ``target`` with llama.cpp's converter.

    Returns:
        Why it did not; ``None`` if it did, and also the name of no such program is a reason.
    """
    converter = find(CONVERTER)
    if converter is None or kind not in _CONVERTED:
        return f"{CONVERTER} is not here" if converter is None else f"{CONVERTER} does not write {kind}"
    command = python.script(converter, str(folder), "--outfile", str(target), "--outtype", kind)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if (own := converter.parent / "gguf-py").is_dir():  # the converter needs the package of its own release
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(converter.parent), str(own), *filter(None, [environment.get("PYTHONPATH")])]
        )
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode == 0 and target.is_file():
        return None
    lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
    return f"{CONVERTER}: {lines[-1][:300]}"


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write the GGUF file ``source`` in other numbers.

    Raises:
        InputProblem: the quantizer is not here, or refuses.
    """
    quantizer = find(QUANTIZER)
    if quantizer is None:
        raise InputProblem(missing_quantizer(kind))
    done = subprocess.run([str(quantizer), str(source), str(target), kind.upper()], capture_output=True, text=True)
    if done.returncode or not target.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputProblem(f"{QUANTIZER} refuses {kind}: {lines[-1][:300]}")


def missing_quantizer(kind: str) -> str:
    return (
        f"--quantize {kind}: only {QUANTIZER} of llama.cpp writes it, which is not on PATH; install llama.cpp "
        "(https://github.com/ggml-org/llama.cpp), or set LLAMA_CPP to its folder, or use q8_0"
    )

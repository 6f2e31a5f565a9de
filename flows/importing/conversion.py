"""Weights of other formats become safetensors, in a process that has no network and loads no code of the model's.

GGUF is read by transformers, which dequantizes it: the float32 numbers that the file stands for; files of float16 or
bfloat16 numbers keep their type. Pickled weights are read by ``torch.load(weights_only=True)``, which refuses all that
is not numbers; every tensor keeps its name, its type and its bytes.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from core import python
from core.environment import chosen
from core.errors import InputProblem
from core.files import as_umask, copy, write_json
from core.processes import die_with_parent

PICKLED = ("pytorch_model.bin", "pytorch_model-*.bin")
INDEX = "pytorch_model.bin.index.json"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h


def convert(source: Path, destination: Path, beside: Iterable[str] = ()) -> None:
    """Write the model in ``source`` (a ``.gguf`` file, or a folder with pickled weights) as safetensors.

    Args:
        destination: appears when all of it is there; a folder that is there is what an earlier call made.
        beside: files of the folder that are taken as they are.

    Raises:
        InputProblem: the file is damaged, or of a kind that cannot be converted.
    """
    if destination.is_dir():
        return
    staging = destination.with_name(f"{destination.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    done = subprocess.run(
        python.command("flows.importing.conversion", str(source.resolve()), str(staging)),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        preexec_fn=die_with_parent,
    )
    if done.returncode != 0:
        shutil.rmtree(staging)
        lines = done.stderr.strip().splitlines() or [f"the process that read it ended with code {done.returncode}"]
        raise InputProblem(f"{source.name} cannot be converted to safetensors: {lines[-1][:400]}")
    for file in staging.rglob("*"):
        if file.is_file():
            as_umask(file)
    for name in beside:
        copy(source / name, staging / name)
    os.rename(staging, destination)


def environment() -> dict[str, str]:
    """Of a process that looks at a model from outside: what it needs, and no hub."""
    values = {**chosen(os.environ), **_OFFLINE}
    python.isolate(values)
    root = str(Path(__file__).resolve().parents[2])
    values["PYTHONPATH"] = python.with_code_of(Path(root), values)
    return values


def _from_gguf(file: Path, destination: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    loaded = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=_float_type(file), trust_remote_code=False
    )
    loaded.config.__dict__.pop("quantization_config", None)
    with torch.device("meta"):  # the loaded model itself counts as quantized, which cannot be saved
        plain = type(loaded)(loaded.config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(destination)
    tokenizer.save_pretrained(destination)


def _float_type(file: Path) -> Any:
    """The type of the weights' numbers: the file's own where no matrix in it is quantized, else float32."""
    import torch
    from gguf import GGMLQuantizationType, GGUFReader

    kinds = {tensor.tensor_type for tensor in GGUFReader(file).tensors if len(tensor.shape) > 1}
    if kinds == {GGMLQuantizationType.F16}:
        return torch.float16
    return torch.bfloat16 if kinds == {GGMLQuantizationType.BF16} else torch.float32


def _from_pickles(folder: Path, destination: Path) -> None:
    import torch
    from safetensors.torch import save_file

    shards = sorted({file for pattern in PICKLED for file in folder.glob(pattern)})
    names: dict[str, str] = {}
    size = 0
    for number, shard in enumerate(shards, start=1):
        tensors = torch.load(shard, map_location="cpu", weights_only=True)
        if not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
            raise ValueError(f"{shard.name} holds something else than tensors by name")
        whole = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}  # tied ones share memory
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(whole, destination / name, metadata={"format": "pt"})
        names |= dict.fromkeys(whole, name)
        size += sum(tensor.nbytes for tensor in whole.values())
    if len(shards) > 1:
        write_json(
            destination / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": names}
        )


def _without_network() -> None:
    """Leave the machine's network where the kernel lets an ordinary process do that, and refuse to connect anyway."""
    if sys.platform == "linux":
        user, group = os.getuid(), os.getgid()
        if ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            raise PermissionError("a conversion may not use the network")

    sys.addaudithook(refuse)


def main(source: Path, destination: Path) -> NoReturn:
    """The child's work; the reason of a failure is the last line of its errors."""
    _without_network()
    try:
        if source.is_dir():
            _from_pickles(source, destination)
        else:
            _from_gguf(source, destination)
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), "")
        print(json.dumps(f"{type(error).__name__}: {line}", ensure_ascii=False)[1:-1], file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

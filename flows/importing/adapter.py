"""A PEFT adapter that others made: what its files may be, and the model that it becomes with its base.

``adapter_config.json`` comes from outside, and PEFT does more than read numbers from it: ``megatron_config`` imports a
module by name, ``init_lora_weights: pissa`` changes the base's weights, ``layer_replication`` its layers. So a LoRA or
DoRA adapter of plain settings is taken, and nothing else; ``base_model_name_or_path`` is a name and is never opened.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.harness import libraries
from core import adapted, files, python, weights
from core.errors import InputProblem
from core.processes import die_with_parent
from flows.importing import conversion, inspection
from flows.importing.inspection import FILES, TOKENIZER
from flows.importing.sources import Found

_PICKLED = "adapter_model.bin"
_CONFIG_BYTES = 1_000_000
_SECONDS = 300
_OF_MODEL = ("*.safetensors", "config", "generation", "adapter/")
_OF_TOKENIZER = tuple(name for name in FILES if not name.startswith(_OF_MODEL))
# What PEFT writes where nothing is set.
_UNUSED = {"megatron_core": "megatron.core", "qalora_group_size": 16}

_Names = str | list[str] | None


class _MadeFor(BaseModel):
    """The class of the model that an adapter without a task was made for; it is not imported."""

    model_config = ConfigDict(extra="forbid")
    base_model_class: str
    parent_library: str = Field(pattern=r"^transformers(\.\w+)*$")


class AdapterSettings(BaseModel):
    """The fields of ``adapter_config.json`` that may be set."""

    model_config = ConfigDict(extra="allow")

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM", "SEQ_2_SEQ_LM"] | None = None
    r: int = Field(ge=1, le=65_536)
    lora_alpha: float = Field(gt=0)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: _Names = None
    exclude_modules: _Names = None
    modules_to_save: list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: _Names = None
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    alpha_pattern: dict[str, float] = Field(default_factory=dict)
    bias: Literal["none", "all", "lora_only"] = "none"
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    init_lora_weights: bool | Literal["gaussian"] = True
    # Read here, or not at all.
    base_model_name_or_path: str | None = None
    revision: str | None = None
    peft_version: str | None = None
    inference_mode: bool = True
    auto_mapping: _MadeFor | None = None


_NOT_PEFTS = ("peft_type", "base_model_name_or_path", "revision", "peft_version", "auto_mapping")


def is_alone(folder: Path) -> bool:
    """True for an adapter without the model that it belongs to."""
    return (folder / adapted.CONFIG).is_file() and not (folder / "config.json").is_file()


def problems(folder: Path) -> list[str]:
    """Why the adapter in ``folder`` cannot be taken, by its files alone."""
    found = []
    if not (folder / adapted.WEIGHTS).is_file():
        pickled = (folder / _PICKLED).is_file()
        why = f"its weights are pickled ({_PICKLED}), which is not read; save them as" if pickled else "it has no"
        found.append(f"{folder}: {why} {adapted.WEIGHTS}")
    try:
        settings(folder)
    except InputProblem as problem:
        found += problem.problems
    return found


def settings(folder: Path) -> AdapterSettings:
    """The adapter's settings.

    Raises:
        InputProblem: they are none, or ask for more than LoRA or DoRA; every problem at once.
    """
    path = folder / adapted.CONFIG
    try:
        if path.stat().st_size > _CONFIG_BYTES:
            raise ValueError(f"larger than {_CONFIG_BYTES:,} bytes")
        read = AdapterSettings.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors()]
        raise InputProblem(f"{path} cannot be taken, only plain LoRA and DoRA are: {'; '.join(lines)}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputProblem(f"{path} is no adapter_config.json of PEFT: {error}") from None
    more = [name for name, value in (read.model_extra or {}).items() if value and _UNUSED.get(name) != value]
    if more:
        raise InputProblem(
            f"{path} sets {', '.join(sorted(more)[:5])}, which is not taken: only plain LoRA and DoRA are"
        )
    return read


def misfit(folder: Path, base: Path) -> str | None:
    """:func:`unfitting`, found in a process of its own: the settings' patterns come from outside, and matching one may
    never end."""
    try:
        done = subprocess.run(
            python.command("flows.importing.adapter", str(folder.resolve()), str(base.resolve())),
            env=conversion.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        return f"{folder} cannot be compared with its base in {_SECONDS} seconds; simplify the patterns in its settings"
    if done.returncode:
        line = (done.stderr.strip().splitlines() or [f"the process ended with code {done.returncode}"])[-1]
        return f"{folder} cannot be compared with its base: {line[:300]}"
    found: str | None = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def unfitting(folder: Path, base: Path) -> str | None:
    """Why the adapter in ``folder`` does not fit the model in ``base``, by the names and shapes of its tensors; no
    weights are loaded. ``None`` where it does."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    given = settings(folder)
    values = {name: getattr(given, name) for name in AdapterSettings.model_fields if name not in _NOT_PEFTS}
    try:
        config = transformers.AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)
        kind = getattr(transformers, (config.architectures or ["AutoModelForCausalLM"])[0])
        with torch.device("meta"):
            model = get_peft_model(kind._from_config(config), LoraConfig(**values))
            wanted, known = (get_peft_model_state_dict(model, save_embedding_layers=all_) for all_ in (False, True))
    except (ValueError, AttributeError, KeyError, TypeError, OSError, re.error) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return f"{folder} does not fit its base: {line[:300]}"
    found = weights.shapes(folder / adapted.WEIGHTS)
    # PEFT also writes the base's own embeddings, where an adapter reaches these.
    shapes = {name: tuple(tensor.shape) for name, tensor in known.items() if name in wanted or name in found}
    for name in sorted(shapes.keys() | found.keys()):
        if shapes.get(name) != found.get(name):
            a, b = (str(list(each[name])) if name in each else "not there" for each in (found, shapes))
            return f"{folder} does not fit its base, which differs in shape: {name} is {a}, and the base takes {b}"
    return None


def assemble(folder: Path, base: Path, target: Path, *, linked: bool = False) -> tuple[str, ...]:
    """Write the model into ``target``: the base's files, and in ``adapter/`` the two of the adapter, byte for byte. A
    tokenizer that lies beside the adapter, as trainers save it, goes before the base's.

    Args:
        linked: the base's files are hard links where the disk allows it, for a folder that nothing writes to.

    Returns:
        The names of the files.

    Raises:
        InputProblem: the adapter's own ``base.json`` names another base; nothing is written then.
    """
    _check_named(folder, base)
    names = {file.relative_to(base).as_posix() for pattern in FILES for file in base.glob(pattern)}
    own = [file for pattern in _OF_TOKENIZER for file in sorted(folder.glob(pattern)) if file.is_file()]
    has_own = any((folder / name).is_file() for name in TOKENIZER)
    for name in sorted(names):
        if not (has_own and any(Path(name).match(pattern) for pattern in _OF_TOKENIZER)):
            (_link if linked else files.copy)(base / name, target / name)
    for file in own if has_own else ():
        files.copy(file, target / file.name)
    for name in (adapted.CONFIG, adapted.WEIGHTS):
        files.copy(folder / name, target / adapted.FOLDER / name)
    adapted.name_base(target)
    return tuple(sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()))


def taken(folder: Path, model: Path, names: tuple[str, ...], base: str) -> Found:
    """What an import finds: the adapter in ``folder``, as a part of the ``model`` that it became on ``base``."""
    read = settings(folder)
    note = f"a {'DoRA' if read.use_dora else 'LoRA'} adapter of rank {read.r} on {base}"
    return Found(model, names, str(folder), None, inspection.license_of(folder), (note,))


def _check_named(folder: Path, base: Path) -> None:
    if not (named := folder / adapted.BASE).is_file():
        return
    recorded = adapted.named(folder)
    if recorded is None:
        raise InputProblem(f"{named} does not name the weights of a base")
    if recorded != adapted.digests(base):
        raise InputProblem(
            f"{folder} is an adapter for another base: {adapted.BASE} names other weights than those of the base"
        )


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)  # a base may be large
    except OSError:
        files.copy(source, target)


if __name__ == "__main__":
    python.hide(*libraries.SELDOM_USED)
    print(json.dumps(unfitting(Path(sys.argv[1]), Path(sys.argv[2]))))

"""The options of a plan, as texts from a command line: read and checked, every mistake reported at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from components.planning import estimate, memory
from components.planning.devices import DEVICES, Precision
from components.pretrain.presets import PRESETS
from components.training import Optimizer
from core.errors import InputProblem

_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"(\d[\d_]*(?:\.\d+)?(?:e\+?\d+)?)\s*([kmbgt]?)", re.IGNORECASE)


def parse_count(text: str) -> int:
    """A whole number of things from ``140B``, ``1.5T``, ``2M``, ``300k``, ``1e9`` or ``1_000``.

    Raises:
        ValueError: it is none of these, or not above 0; the message says what would do.
    """
    match = _NUMBER.fullmatch(text.strip())
    value = round(float(match[1].replace("_", "")) * _FACTORS[match[2].lower()]) if match else 0
    if value < 1:
        raise ValueError(f"{text!r} is no number above 0; write it like 140B, 1.5T, 2M or 1000000")
    return value


def parse_positive(text: str, most: float = float("inf")) -> float:
    """A number above 0 and at most ``most``.

    Raises:
        ValueError: it is not; the message says the bounds.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= most:
        raise ValueError(f"{text!r} is no number above 0" + (f" and at most {most:g}" if most < float("inf") else ""))
    return value


PRECISIONS: tuple[str, ...] = get_args(Precision)
OPTIMIZERS = ("adamw", "muon")
#: Options that describe the training of a preset or of --parameters; for the workspace's stages params.yaml says these.
OF_PRESET = ("tokens", "context", "micro_batch", "optimizer")


@dataclass(frozen=True)
class Options:
    """The options that were given; None where a default is to be found."""

    preset: str | None = None
    parameters: int | None = None
    active: int | None = None
    tokens: int | None = None
    device: str | None = None
    count: int | None = None
    price: float | None = None
    sharding: memory.Sharding | None = None
    micro_batch: int | None = None
    context: int | None = None
    precision: Precision | None = None
    optimizer: Optimizer | None = None
    mfu: float = estimate.MFU
    goodput: float = 1.0
    pue: float = estimate.PUE
    utilisation: float = estimate.UTILISATION
    watts: float | None = None
    gradient_checkpointing: bool = False


def parse(given: Mapping[str, str | bool | None]) -> Options:
    """Options from texts by name; what is None was not given.

    Raises:
        InputProblem: every mistake at once, each with its option.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, text in given.items():
        if text is None:
            continue
        try:
            values[name] = _READERS[name](text)
        except ValueError as error:
            problems.append(f"{_option(name)}: {error}")
    problems += _together(given, values)
    if problems:
        raise InputProblem(problems)
    return Options(**values)


def _together(given: Mapping[str, str | bool | None], values: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with options that are right by themselves."""
    if given.get("preset") is None and given.get("parameters") is None:
        for name in OF_PRESET:
            if given.get(name) is not None:
                yield (
                    f"{_option(name)}: goes with --preset or --parameters; without them params.yaml says so "
                    f"(`stemma params` lists all)"
                )
    if given.get("preset") is not None and given.get("parameters") is not None:
        yield "--parameters: the preset has its own; give one of --preset and --parameters"
    if given.get("active") is not None and given.get("parameters") is None:
        yield "--active: goes with --parameters, of which it is a part"
    if values.get("active", 0) >= values.get("parameters", float("inf")):
        yield "--active: must be below --parameters; a dense model needs --parameters alone"
    device, precision, count = values.get("device"), values.get("precision"), values.get("count")
    if device and precision and not DEVICES[device].is_processor and precision not in DEVICES[device].peak:
        known = " or ".join(DEVICES[device].peak)
        yield f"--precision: {DEVICES[device].title} has no {precision} units; choose {known}"
    if device and DEVICES[device].is_processor and precision == "fp8":
        yield "--precision: processors have no fp8 units; choose fp32 or bf16"
    if values.get("sharding") not in (None, "ddp") and count == 1:
        yield "--sharding: one device divides nothing; give a larger --count"
    preset = PRESETS.get(values.get("preset", ""))
    if preset and values.get("context", 0) > preset.context:
        yield f"--context: {values['preset']} has {preset.context} positions; choose at most that"


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _choice(known: Iterable[str], aliases: Mapping[str, str] | None = None) -> Callable[[str], str]:
    names, other = list(known), dict(aliases or {})

    def read(text: str) -> str:
        name = other.get(text.lower(), text.lower())
        if name not in names:
            near = difflib.get_close_matches(name, [*names, *other], n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{text!r} is unknown; {hint}there are: {', '.join([*names, *other])}")
        return name

    return read


def _share(text: str) -> float:
    return parse_positive(text, most=1)


def _ratio(text: str) -> float:
    value = parse_positive(text)
    if value < 1:
        raise ValueError(f"{text!r} is below 1; a site draws at least what its devices draw")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "preset": _choice(PRESETS),
    "parameters": parse_count,
    "active": parse_count,
    "tokens": parse_count,
    "device": _choice(DEVICES),
    "count": parse_count,
    "price": parse_positive,
    "sharding": _choice(memory.SHARDINGS, memory.ALIASES),
    "micro_batch": parse_count,
    "context": parse_count,
    "precision": _choice(PRECISIONS, {"float32": "fp32", "bfloat16": "bf16", "float8": "fp8"}),
    "optimizer": _choice(OPTIMIZERS),
    "mfu": _share,
    "goodput": _share,
    "pue": _ratio,
    "utilisation": _share,
    "watts": parse_positive,
    "gradient_checkpointing": bool,
}

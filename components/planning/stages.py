"""The training stages of the current ``params.yaml`` as trainings to be planned.

What a stage would do is read off its parameters and whatever of its inputs is there already: the tokenized corpus, the
base model's configuration, a sample of the records. What cannot be known yet is said instead of guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import components
from components.finetuning.lengths import choose
from components.finetuning.parameters import AdapterParameters
from components.harness.parameters import validate
from components.planning import adapters
from components.planning.devices import Precision
from components.planning.memory import Sharding
from components.preference_tune.parameters import ONLINE
from components.pretrain.data import Batches
from components.pretrain.parent import FOLDER, SCRATCH, WAY_ON, read_pointer
from components.pretrain.presets import ON_THE_HUB, configuration
from components.tokenize import tokenizer
from components.tokenize.parameters import PARENT
from components.training import Optimizer
from core.errors import InputProblem

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

STAGES = ("pretrain", "classify_finetune", "instruct_finetune", "reward_model", "preference_tune")
#: Records whose lengths stand for all: the first of the file.
SAMPLE = 400
_LONGEST = 1 << 30  # tokens, of a model without a limit
_OF_PAIRS = ("dpo", "orpo", "cpo", "simpo")

_SHARDINGS: dict[str, Sharding] = {
    "ddp": "ddp",
    # All divide weights, gradients and moments among all devices.
    "fsdp2": "zero3",
    "zero3": "zero3",
    "tensor_parallel": "zero3",
    "context_parallel": "zero3",
}


class Unknown(Exception):
    """A stage cannot be planned yet; the message says what is missing and which stage makes it."""


@dataclass(frozen=True)
class Work:
    """What a stage trains.

    Attributes:
        config: the decoder.
        context: tokens of the longest sequence.
        tokens: that the training reads, padding left out.
        steps: optimizer steps; None for a preset, whose batch is not known.
        sequences: of a step, over all processes.
        micro_batch: sequences that go through the model of a process at once; None: all of its share.
        optimizer: ``adamw`` or ``muon``.
        precision: of the products; None: what suits the device.
        processes: that train together.
        checkpoints: on disk at once.
        passes: FLOPs of a token in units of a full training step's.
        frozen_copy: a second, frozen copy of the model looks on.
        adapter: what learns in place of the model's own parameters.
        loss: how it makes scores over the vocabulary: in ``chunks``, ``whole``, or not at all (``none``).
        sharding: how the processes share the work.
        checkpointed: gradient checkpointing.
        stored_tokens: packed tokens on disk.
        notes: what the plan leaves out.
    """

    config: PreTrainedConfig
    context: int
    tokens: int
    steps: int | None
    sequences: int
    optimizer: Optimizer
    micro_batch: int | None = None
    precision: Precision | None = None
    processes: int = 1
    checkpoints: int = 3
    passes: float = 1.0
    frozen_copy: bool = False
    adapter: AdapterParameters | None = None
    loss: Literal["chunks", "whole", "none"] = "chunks"
    sharding: Sharding | None = None
    checkpointed: bool = False
    stored_tokens: int | None = None
    notes: tuple[str, ...] = ()


def work(stage: str, values: Mapping[str, Any], root: Path) -> Work:
    """What ``stage`` would do with ``values``, the content of ``params.yaml``.

    Raises:
        InputProblem: the stage's parameters are wrong.
        Unknown: an input that decides is not there yet.
    """
    component = components.load(stage)
    parameters = validate(values, stage, component.parameters)
    if stage == "pretrain":
        return _pretrain(parameters, values, root)
    return _fine_tuning(stage, parameters, component.processes(parameters), values, root)


def _pretrain(parameters: Any, values: Mapping[str, Any], root: Path) -> Work:
    if parameters.steps == 0:
        raise Unknown("pretrain.steps is 0: the model is taken as it is, and nothing is trained")
    index = _index(root)
    batches = Batches(
        parameters.batch_size,
        parameters.seq_length,
        start=parameters.batch_ramp_start,
        ramp_tokens=parameters.batch_ramp_tokens,
        multiple=parameters.processes,
    )
    if parameters.steps is not None:
        steps = parameters.steps
    elif parameters.tokens is not None:
        steps = batches.steps(parameters.tokens / parameters.seq_length)
    elif index is None:
        raise Unknown("data/tokens is not there yet, so an epoch has no size: run the tokenize stage first")
    else:
        steps = batches.steps(parameters.epochs * index["splits"]["train"]["tokens"] / parameters.seq_length)
    notes = ["start-up, validation and samples are not counted"]
    if index is None:
        notes.append("data/tokens is not there yet: the vocabulary is tokenize.vocabulary_size")
    if parameters.sharding in ("tensor_parallel", "context_parallel"):
        notes.append(f"{parameters.sharding} divides activations among devices; they are shown undivided")
    return Work(
        config=_pretrain_config(parameters, values, root),
        context=parameters.seq_length,
        tokens=batches.tokens(steps),
        steps=steps,
        sequences=parameters.batch_size,
        micro_batch=parameters.per_device_batch_size,
        optimizer=parameters.optimizer,
        precision=None if parameters.precision == "auto" else parameters.precision,
        processes=parameters.processes,
        checkpoints=parameters.keep_last + parameters.keep_best + 1,
        sharding=_SHARDINGS[parameters.sharding] if parameters.processes > 1 else None,
        checkpointed=parameters.gradient_checkpointing,
        stored_tokens=sum(split["tokens"] for split in index["splits"].values()) if index else None,
        notes=tuple(notes),
    )


def _pretrain_config(parameters: Any, values: Mapping[str, Any], root: Path) -> PreTrainedConfig:
    import torch
    from transformers import AutoConfig

    from components.pretrain.architecture import from_scratch

    if parameters.init == SCRATCH:
        with torch.device("meta"):
            return from_scratch(parameters.architecture, parameters.seq_length, _Vocabulary(root, values)).config
    pointer = read_pointer(root)
    if pointer is None or pointer.init != parameters.init:
        published = ON_THE_HUB.get(parameters.init.partition("@")[0])
        if published is not None:
            return configuration(published)
        raise Unknown(f"pretrain.init: {parameters.init} is not in {FOLDER} yet; {WAY_ON}")
    try:
        config = AutoConfig.from_pretrained(root / FOLDER, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise Unknown(f"pretrain.init: the configuration of {parameters.init} cannot be read: {error}") from error
    if not _keeps_tokenizer(values):
        config.vocab_size = len(_Vocabulary(root, values))
    return config


def _keeps_tokenizer(values: Mapping[str, Any]) -> bool:
    parameters: Any = validate(values, "tokenize", components.load("tokenize").parameters)
    return parameters.tokenizer == PARENT


def _fine_tuning(stage: str, parameters: Any, processes: int, values: Mapping[str, Any], root: Path) -> Work:
    data = "labels" if stage == "classify_finetune" else "instructions"
    if (values.get("curate") or {}).get(data, {}).get("source") == "none":
        raise Unknown(f"skipped: no {data}")
    begins = parameters.init if stage == "reward_model" else "instruct"
    base = root / "models" / ("base" if stage in ("classify_finetune", "instruct_finetune") else begins)
    config = _base_config(base, values, root)
    method = parameters.method if stage == "preference_tune" else None
    in_pairs = stage == "reward_model" or method in _OF_PAIRS
    sides = 2 if in_pairs else 1  # the chosen and the rejected answer
    passes, notes = 1.0, ["start-up and measuring afterwards are not counted"]
    try:
        lengths, rows = _lengths(stage, parameters, base, root, config)
    except Unknown as unknown:
        if not isinstance(parameters.seq_length, int) or parameters.steps is None:
            raise
        lengths, rows = [parameters.seq_length], 1
        notes.append(f"{unknown}; until then every example counts as seq_length, {parameters.seq_length} tokens")
    if getattr(parameters, "packing", "none") != "none":
        # Rows are all but full: the last of them decide, which a sample does not show.
        row = parameters.seq_length if parameters.seq_length != "auto" else _LONGEST
        row = min(row, getattr(config, "max_position_embeddings", None) or row)
        if parameters.seq_length == "auto":
            row = choose(lengths, row, everything=True)
        lengths = [row] * math.ceil(sum(lengths) / row)
    mean, longest = sum(lengths) / len(lengths), max(lengths)
    steps = parameters.steps or max(1, math.ceil(parameters.epochs * rows / parameters.batch_size))
    if stage == "classify_finetune" and parameters.train != "all":
        notes.append(f"train: {parameters.train} costs less than shown, which counts every weight as learning")
    if stage in ("reward_model", "preference_tune"):
        notes.append("drawing and ranking answers are not counted")
    adapter = parameters.adapter if parameters.adapter.type != "none" else None
    if adapter is not None:
        passes = adapters.PASSES
        if adapter.type == "qlora":
            notes.append("the time that unpacking weights of 4 bits takes is not counted")
    has_reference = method in ("dpo", "kto") or (method in ONLINE and parameters.beta > 0)
    if has_reference:
        passes += 1 / 3  # the reference model's forward pass beside a step's own
    if method == "kto":
        passes += 2 / 3  # both models' over the neighbours' answers, which the KL divergence is estimated from
    return Work(
        config=config,
        context=longest,
        tokens=round(steps * parameters.batch_size * sides * mean),
        steps=steps,
        sequences=parameters.batch_size * sides,
        micro_batch=parameters.per_device_batch_size * sides,
        optimizer="adamw" if parameters.optimizer == "auto" else parameters.optimizer,
        precision=None if parameters.precision == "auto" else parameters.precision,
        processes=processes,
        sharding=_SHARDINGS[parameters.sharding] if processes > 1 else None,
        checkpointed=parameters.gradient_checkpointing,
        passes=passes,
        frozen_copy=has_reference,
        adapter=adapter,
        loss="whole" if stage in ("instruct_finetune", "preference_tune") else "none",
        notes=tuple(notes),
    )


def _base_config(folder: Path, values: Mapping[str, Any], root: Path) -> PreTrainedConfig:
    """The configuration of the model that is tuned; before there is one, that which pretrain would make."""
    from transformers import AutoConfig

    if (folder / "config.json").is_file():
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    parameters = validate(values, "pretrain", components.load("pretrain").parameters)
    return _pretrain_config(parameters, values, root)


def _lengths(stage: str, parameters: Any, base: Path, root: Path, config: PreTrainedConfig) -> tuple[list[int], int]:
    """Lengths in tokens of a sample of the stage's records, cut where the stage cuts them; and how many there are."""
    tokenizer = next((path for path in (base, root / "models/tokenizer") if (path / "tokenizer.json").is_file()), None)
    if tokenizer is None:
        raise Unknown("models/tokenizer is not there yet, so records have no length: run the tokenize stage first")
    from transformers import AutoTokenizer

    limit = getattr(config, "max_position_embeddings", None) or _LONGEST
    if isinstance(parameters.seq_length, int):
        limit = min(limit, parameters.seq_length)
    if stage == "classify_finetune":
        texts, rows = _labelled(root / "data/labels/train.parquet")
    else:
        name = {"instruct_finetune": "instruct", "reward_model": "reward"}.get(stage, "preference")
        texts, rows = _conversations(root / f"data/instructions/{name}.jsonl")
    reader = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False, local_files_only=True)
    encoded = reader(texts, add_special_tokens=True)
    lengths = [max(1, len(ids)) for ids in encoded["input_ids"]]
    if parameters.seq_length == "auto":
        limit = choose(lengths, limit, everything=getattr(parameters, "too_long", "truncate") == "fail")
    return [min(length, limit) for length in lengths], rows


def _labelled(path: Path) -> tuple[list[str], int]:
    """Texts of a sample, and how many there are."""
    if not path.is_file():
        raise Unknown("data/labels is not there yet: run the curate stage first")
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(path)
    batch = next(file.iter_batches(SAMPLE, columns=["text"]), None)
    texts = batch.column("text").to_pylist() if batch is not None else []
    if not texts:
        raise Unknown("data/labels has no texts")
    return texts, file.metadata.num_rows


def _conversations(path: Path) -> tuple[list[str], int]:
    """Each sampled record's words: its messages, or its prompt with its (chosen) answer; and how many there are."""
    if not path.is_file():
        raise Unknown("data/instructions is not there yet: run the curate stage first")
    texts: list[str] = []
    rows = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.strip():
                continue
            rows += 1
            if rows <= SAMPLE:
                texts.append(_words(json.loads(line)))
    if not texts:
        raise Unknown(f"data/instructions/{path.name} has no rows")
    return texts, rows


def _words(record: Mapping[str, Any]) -> str:
    if messages := record.get("messages"):
        return "\n".join(str(message.get("content") or "") for message in messages)
    answer = record.get("chosen") or record.get("completion") or ""
    return f"{record.get('prompt') or ''}\n{answer if isinstance(answer, str) else json.dumps(answer)}"


def _index(root: Path) -> dict[str, Any] | None:
    try:
        return json.loads((root / "data/tokens/index.json").read_text())
    except (OSError, ValueError):
        return None


class _Vocabulary:
    """As much of a tokenizer as a configuration needs: the size of its vocabulary, by the corpus or the parameters."""

    bos_token_id = eos_token_id = pad_token_id = 0

    def __init__(self, root: Path, values: Mapping[str, Any]):
        index = _index(root)
        self._size = index["vocab_size"] if index else _wanted_vocabulary(values)

    def __len__(self) -> int:
        return self._size


def _wanted_vocabulary(values: Mapping[str, Any]) -> int:
    parameters: Any = validate(values, "tokenize", components.load("tokenize").parameters)
    if parameters.tokenizer is None:
        return parameters.vocabulary_size
    from transformers import AutoTokenizer

    try:
        if parameters.tokenizer.endswith(".model"):
            return len(tokenizer.load(parameters.tokenizer)[0])
        return len(AutoTokenizer.from_pretrained(parameters.tokenizer, trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise InputProblem(f"tokenize.tokenizer: {parameters.tokenizer} cannot be read: {error}") from error

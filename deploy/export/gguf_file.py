"""A GGUF file of a model folder, written by the ``gguf`` package: tensor by tensor, so that a large model fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputProblem
from deploy.export import gguf_families, gguf_vocabulary
from deploy.export.weights import Weights

#: Kinds of numbers that are written here, and llama.cpp's name of a file that is mostly of them.
KINDS = {
    "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0", "q5_1": "MOSTLY_Q5_1",
    "q5_0": "MOSTLY_Q5_0", "q4_1": "MOSTLY_Q4_1", "q4_0": "MOSTLY_Q4_0",
}  # fmt: skip
_COARSE = ("q4_0", "q4_1", "q5_0", "q5_1")
_EMBEDDINGS = ("token_embd.weight", "output.weight")


def configuration(folder: Path) -> dict[str, Any]:
    """The model's configuration with every default filled in.

    Raises:
        InputProblem: transformers knows no such model.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputProblem(f"config.json: transformers cannot read it: {str(error).splitlines()[0]}") from None
    names = ("vocab_size", "num_hidden_layers", "tie_word_embeddings")  # those that families call otherwise
    return {**config.to_dict(), **{name: getattr(config, name, None) for name in names}}


def problems(folder: Path) -> list[str]:
    """Why the model in ``folder`` cannot be written here; read from its configuration and tokenizer alone."""
    config = configuration(folder)
    found = gguf_families.problems(config)
    try:
        gguf_vocabulary.read(folder, config.get("vocab_size") or 0)
    except InputProblem as problem:
        found += problem.problems
    return found


def write(folder: Path, target: Path, kind: str, about: Mapping[str, str]) -> None:
    """Write the model in ``folder`` as ``target``.

    Args:
        kind: one of :data:`KINDS`. Norms, biases and positions stay in f32, rows that do not fill a block in f16.
        about: texts for the head: ``general.name``, ``stemma.version`` ...

    Raises:
        InputProblem: it cannot be written; a partial ``target`` may be left.
    """
    import gguf

    if found := problems(folder):
        raise InputProblem(found)
    config, weights = configuration(folder), Weights(folder)
    family = gguf_families.FAMILIES[config["model_type"]]
    architecture = gguf.MODEL_ARCH[family.architecture]
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_type(gguf.GGUFType.MODEL)
    for name, text in about.items():
        writer.add_string(name, text)
    gguf_families.describe(writer, config)
    writer.add_file_type(gguf.LlamaFileType[KINDS[kind]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    gguf_vocabulary.read(folder, config["vocab_size"]).write(writer)

    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    tensors = _named(weights, names, tied=bool(config["tie_word_embeddings"]))
    types: dict[str, gguf.GGMLQuantizationType] = {}
    factors = gguf_families.rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for new, name in tensors.items():
        shape = weights.shape(name)[:: -1 if name.endswith(family.transposed) else 1]
        types[new] = _type(new, shape, kind)
        block, size = gguf.GGML_QUANT_SIZES[types[new]]
        writer.add_tensor_info(new, shape, np.dtype(np.float32), math.prod(shape) // block * size, types[new])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for new, name in tensors.items():
        values = family.change(name, weights.read(name), config)
        values = np.ascontiguousarray(values.T if name.endswith(family.transposed) else values)
        writer.write_tensor_data(_quantized(new, values, types[new]))
    writer.close()


def _named(weights: Weights, names: Any, *, tied: bool) -> dict[str, str]:
    """The tensors' names in transformers by those in GGUF, embeddings first.

    Raises:
        InputProblem: llama.cpp has no place for one.
    """
    found, unknown = {}, []
    for name in weights.names:
        if name.endswith((".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")):
            continue  # no weights: masks and tables of older versions of transformers
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            unknown.append(name)
        elif not (tied and new == "output.weight"):
            found[new] = name
    if unknown:
        raise InputProblem(f"GGUF: llama.cpp has no place for the tensors {', '.join(unknown[:5])}")
    return dict(sorted(found.items(), key=lambda each: each[0] not in _EMBEDDINGS))


def _type(new: str, shape: tuple[int, ...], kind: str) -> Any:
    """The numbers that a tensor is written in."""
    import gguf

    if len(shape) == 1 or "norm" in new or new == "position_embd.weight":
        return gguf.GGMLQuantizationType.F32
    # As llama.cpp does: the embeddings are what coarse numbers harm most.
    wanted = gguf.GGMLQuantizationType[("q8_0" if kind in _COARSE and new in _EMBEDDINGS else kind).upper()]
    fits = shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0
    return wanted if fits else gguf.GGMLQuantizationType.F16


def _quantized(new: str, values: np.ndarray, kind: Any) -> np.ndarray:
    import gguf

    with np.errstate(over="ignore"):
        made = gguf.quants.quantize(values if kind.name == "F16" else values.astype(np.float32), kind)
    if kind.name == "F16" and not np.isfinite(made).all():
        raise InputProblem(f"GGUF: {new} has numbers beyond float16's range; use --quantize bf16")
    return made

"""Whether a decoder made from scratch can be trained in this machine's memory at all, said before anything is made."""

from __future__ import annotations

from typing import Any

from components.finetuning.memory import memory_here
from components.pretrain.parameters import DEFAULTS
from components.pretrain.parent import SCRATCH
from components.pretrain.presets import PRESETS
from core.numbers import count, size

#: Bytes of a weight in float32, its gradient and the optimizer's moments: AdamW has two, Muon one of a matrix.
_LEARNS = {"adamw": 16, "muon": 12}
#: Below that, no machine is asked for its memory, which takes seconds.
_SMALL = 1e9


def problem(parameters: Any) -> str | None:
    """Why the decoder of ``parameters`` (of the stage) does not fit; ``None`` where it may, or is not made here.

    Weights, gradients and moments alone are counted, of matrices alone where no preset says the exact number:
    activations come on top.
    """
    architecture = parameters.architecture
    if parameters.init != SCRATCH or parameters.steps == 0:
        return None
    numbers, exact = _weights(architecture)
    each = _LEARNS.get(parameters.optimizer, min(_LEARNS.values()))
    if numbers * each < _SMALL:
        return None
    there, where, own = memory_here()
    shared = (
        parameters.processes if own and parameters.sharding != "ddp" else 1
    )  # one machine's processes share its own
    if numbers * each / shared <= there:
        return None
    fitting = [name for name, preset in PRESETS.items() if preset.parameters * each / shared <= there]
    largest = max(fitting, key=lambda name: PRESETS[name].parameters, default=None)
    advice = f"the largest preset that fits is {largest}, with {count(PRESETS[largest].parameters)}" if largest else ""
    among = f" on each of {shared} devices" if shared > 1 else ""
    return (
        f"pretrain.architecture makes {'' if exact else 'at least '}{count(numbers)} parameters; training them takes "
        f"at least {size(numbers * each / shared)}{among}, and {where} has {size(there)}: "
        f"{'; '.join(filter(None, [advice, 'take a smaller architecture or a larger machine']))} (`stemma plan`)"
    )


def _weights(architecture: Any) -> tuple[int, bool]:
    """(number of weights, whether it is exact): of a preset as it is, else of the matrices that every decoder has."""
    preset = PRESETS.get(architecture.preset or "")
    given = architecture.model_dump(exclude={"preset", "model_type", "tie_word_embeddings", "extra"}, exclude_none=True)
    if preset is not None and not given and not architecture.extra:
        return preset.parameters, True
    values = {**(preset.settings if preset is not None else DEFAULTS), **given}
    width, layers = values["hidden_size"], values["num_hidden_layers"]
    # Of a block at least the queries, the way out of attention, and both matrices of a feed-forward layer.
    return layers * (2 * width * width + 2 * width * values.get("intermediate_size", width)), False

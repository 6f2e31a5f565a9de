"""What kind of transformer a model folder holds, and what each stage can do with that kind.

Decided from ``config.json`` and transformers' own tables of architectures, without loading weights: what a family
cannot do is said before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import InputProblem

Kind = Literal["decoder", "encoder", "encoder-decoder", "other"]

_CAUSAL = ("ForCausalLM", "LMHeadModel")  # how the architectures of decoders end
# transformers' classifiers of these read places on a page, tables, or padding on the left.
_NO_PLAIN_TEXT = frozenset({"layoutlm", "layoutlmv2", "layoutlmv3", "lilt", "markuplm", "tapas", "xlnet"})
# Layers of a configuration's ``layer_types`` that look at other tokens by a mask alone.
_MASKED = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
# Families in which conversations of a row would see each other: they carry a memory from token to token, or their
# attention takes positions from places in the row. Tried with transformers 5.23; others are tried before training.
_NOT_PACKED = frozenset({
    "bamba", "bloom", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "mamba", "mamba2", "mpt", "nemotron_h",
    "opt", "recurrent_gemma", "rwkv", "xlstm", "zamba", "zamba2",
})  # fmt: skip
_WHAT = {
    "decoder": "a decoder",
    "encoder": "an encoder, which writes no text",
    "encoder-decoder": "an encoder-decoder",
    "other": "neither a decoder nor an encoder of text",
}
# What each stage can train or measure, and whose model it would have to be instead.
_TAKES: dict[str, tuple[frozenset[str], str]] = {
    "pretrain": (frozenset({"decoder"}), "a decoder"),
    "classify_finetune": (frozenset({"decoder", "encoder", "encoder-decoder"}), "a model of text"),
    "instruct_finetune": (frozenset({"decoder", "encoder-decoder"}), "a decoder or an encoder-decoder"),
    "reward_model": (frozenset({"decoder", "encoder", "encoder-decoder"}), "a model of text"),
    "preference_tune": (frozenset({"decoder"}), "a decoder, such as a Llama, Qwen or GPT-2 model"),
    "evaluate": (frozenset({"decoder", "encoder-decoder"}), "a model that writes text"),
}
#: These are skipped, with the reason, where another stage made a model that they do not take; the others are what a run
#: is for, so that it does not begin without them.
_SKIPPED = frozenset({"reward_model", "preference_tune", "evaluate"})


@dataclass(frozen=True)
class ModelFamily:
    """The kind of a model.

    Attributes:
        model_type: transformers' name of the family, such as ``qwen3``.
        classifies: transformers has this family with a head for labels.
        packs: it keeps several conversations in a row apart, as far as its configuration says.
    """

    kind: Kind
    model_type: str
    classifies: bool
    packs: bool = True

    def problem(self, stage: str, *, packs: bool = False) -> str | None:
        """Why ``stage`` cannot work with such a model; ``None`` if it can, or is none that reads a trained model.

        Args:
            packs: the stage is to put several conversations into a row.
        """
        if stage not in _TAKES:
            return None
        model = f"a model of type {self.model_type} is {_WHAT[self.kind]}"
        if stage == "pretrain":
            advice = "pretraining is for decoders: set pretrain.steps to 0 to take the model as it is"
            return None if self.kind in _TAKES[stage][0] else f"{model}, and {advice}"
        reason = self.reason(stage)
        if reason is None and packs and not (self.packs and self.kind == "decoder"):
            return f"{model}, in which the conversations of a row would see each other: set {stage}.packing to none"
        return reason and f"{reason}: leave the stage out with --skip {stage}, or take another model"

    def reason(self, stage: str) -> str | None:
        """:meth:`problem` of a stage that trains or measures what pretrain made, without what to do."""
        kinds, needs = _TAKES[stage]
        if self.kind not in kinds:
            return f"a model of type {self.model_type} is {_WHAT[self.kind]}; {stage} needs {needs}"
        if stage in ("classify_finetune", "reward_model") and not self.classifies:
            return f"transformers has no classifier of type {self.model_type}"
        return None


def of(folder: Path) -> ModelFamily:
    """The family of the model in ``folder``.

    Raises:
        InputProblem: there is no readable ``config.json``, or transformers does not know the model's type.
    """
    shown = f"models/{folder.name}"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputProblem(f"{shown}: config.json cannot be read ({error.__class__.__name__})") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputProblem(f"{shown}: config.json names no model_type, so the kind of model is unknown")
    return classify(config, shown)


def classify(config: Mapping[str, Any], shown: str) -> ModelFamily:
    """The family that the content of a ``config.json`` names; ``shown`` is the folder's name in messages.

    Raises:
        InputProblem: transformers does not know the model's type.
    """
    from transformers.models.auto import modeling_auto as tables
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    name = config["model_type"]
    if name not in CONFIG_MAPPING_NAMES:
        raise InputProblem(
            f"{shown}: transformers {_version()} does not know models of type {name!r}, and code that a model brings "
            f"(auto_map) is never run"
        )
    causal = any(str(each).endswith(_CAUSAL) for each in config.get("architectures") or ())
    heads = name in tables.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES and name not in _NO_PLAIN_TEXT
    writes = name in tables.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    translates = name in tables.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    listens = name in tables.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
    looks = name in {*tables.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES, *tables.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    kind: Kind = "other"
    # A family of encoders or encoder-decoders may have a decoder too (BertLMHeadModel), which the weights then name.
    if writes and (causal or config.get("is_decoder")) and not config.get("is_encoder_decoder"):
        kind = "decoder"
    elif translates and not listens and not looks:
        kind = "encoder-decoder"
    elif name in tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES or (heads and not writes):
        kind = "encoder"
    elif writes and not listens:
        kind = "decoder"
    masked = _MASKED.issuperset(config.get("layer_types") or ()) and not config.get("alibi")
    return ModelFamily(kind, name, heads, masked and name not in _NOT_PACKED)


def require(folder: Path, stage: str, *, packs: bool = False) -> ModelFamily:
    """The family of the model in ``folder``, which has to be one that ``stage`` takes (and packs, if it is to).

    Raises:
        InputProblem: it is not.
    """
    family = of(folder)
    if problem := family.problem(stage, packs=packs):
        raise InputProblem(f"models/{folder.name}: {problem}")
    return family


def require_decoder(folder: Path) -> None:
    """Raise an :class:`InputProblem` if the model in ``folder`` is none that predicts the next token of a text."""
    family = of(folder)
    if family.kind != "decoder":
        raise InputProblem(
            f"models/{folder.name}: a model of type {family.model_type} is {_WHAT[family.kind]}; a "
            "decoder is needed here, such as a Llama, Qwen or GPT-2 model"
        )


def unsuited(folder: Path, stage: str) -> str | None:
    """Why ``stage`` is skipped: it does not take such a model as that in ``folder``; ``None`` where it does, and where
    the stage itself says what is wrong with it."""
    family = _other_than_decoder(folder)
    return family.reason(stage) if family else None


def draws_answers(folder: Path) -> bool:
    """True where the model in ``folder`` is a decoder, as far as its ``config.json`` can be read."""
    family = _other_than_decoder(folder)
    return family is None or family.kind == "decoder"


def _other_than_decoder(folder: Path) -> ModelFamily | None:
    """The family of the model in ``folder``; ``None`` where its architecture says that it is a decoder, and where it
    cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if any(str(name).endswith(_CAUSAL) for name in config.get("architectures") or ()):
            return None  # without the tables of transformers, which take a second to import
        return classify(config, str(folder))
    except (OSError, ValueError, AttributeError, KeyError, InputProblem):
        return None


def problems(folder: Path, stages: Iterable[str], packing: Collection[str] = ()) -> list[str]:
    """Why the wanted ``stages`` cannot work with what descends from the model in ``folder``; none without a model.

    A stage that is skipped for a model of text is no problem. Those in ``packing`` are to put several conversations
    into a row.
    """
    if not (folder / "config.json").is_file():
        return []
    try:
        family = of(folder)
    except InputProblem as problem:
        return list(problem.problems)
    names = dict.fromkeys(stage.partition("@")[0] for stage in stages)
    wanted = [name for name in names if family.kind == "other" or name not in _SKIPPED]
    found = [family.problem(name, packs=name in packing) for name in wanted]
    return [f"models/{folder.name}: {problem}" for problem in found if problem]


def _version() -> str:
    from importlib.metadata import version

    return version("transformers")

"""Where a candidate starts: on from the champion's weights, on the champion's decoder as it is, or from scratch."""

from __future__ import annotations

import shutil
from typing import Any

import components
from components.contract import ArtifactSpec
from components.pretrain.parent import FOLDER as PARENT
from core import dvc
from flows.pipeline.prepare import Prepared
from flows.pipeline.promotion import ALIAS
from flows.retraining.parameters import RetrainParameters
from registry.store.materialize import materialize

DECODER_STAGE = "pretrain"


def decoder() -> ArtifactSpec:
    """What the pretraining stage makes: its path in the workspace, and the name of its registered model."""
    return next(output for output in components.load(DECODER_STAGE).outputs if output.registered_model)


def overrides(rules: RetrainParameters) -> dict[str, Any]:
    """The parameters that make pretraining start where ``retrain.start`` says.

    Going on from the champion, its tokenizer stays too: another one would give its embedding other tokens to mean.
    """
    if rules.start == "finetune":
        return {}
    if rules.start == "scratch":
        return {f"{DECODER_STAGE}.init": "scratch"}
    return {f"{DECODER_STAGE}.init": f"registry:{decoder().registered_model}@{ALIAS}", "tokenize.tokenizer": PARENT}


def keep_decoder(prepared: Prepared) -> None:
    """Put the champion's decoder into the run's tree, and leave out the stages that only lead to a new one.

    Raises:
        RegistryError: its files are not to be had, or are not what was recorded.
    """
    graph, made = prepared.graph, decoder()
    wanted = graph.descendants([DECODER_STAGE]) - {DECODER_STAGE}
    waiting = list(wanted)
    while waiting:
        parents = graph.parents[waiting.pop()] - wanted - {DECODER_STAGE}
        wanted |= parents
        waiting += parents
    try:
        files = materialize(prepared.workspace, f"{made.registered_model}@{ALIAS}")
        folder = prepared.root / made.path
        shutil.rmtree(folder, ignore_errors=True)  # its bytes may be links into the cache
        shutil.copytree(files, folder, copy_function=shutil.copyfile)
        prepared.stages[:] = [stage for stage in prepared.stages if stage in wanted]
        prepared.board.lines = {stage: prepared.board.lines[stage] for stage in prepared.stages}
        prepared.changed = dvc.status(prepared.root)
    except BaseException:
        prepared.worktree.remove()
        raise

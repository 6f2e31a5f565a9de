"""instruct_finetune: a base model learns to answer, from demonstrations."""

from components.contract import Artifact, Component
from components.instruct_finetune.parameters import InstructFinetuneParameters

component = Component(
    name="instruct_finetune",
    version="1.0.0",
    summary="A model that answers instructions: supervised fine-tuning with the loss on the answers alone.",
    parameters=InstructFinetuneParameters,
    inputs=(
        Artifact("base", "models/base", "model", "base"),
        Artifact("instructions", "data/instructions", "dataset", "instructions"),
    ),
    outputs=(
        Artifact("model", "models/instruct", "model", "instruct"),
        Artifact("report", "reports/instruct_finetune", "report", "report"),
    ),
    processes=lambda parameters: parameters.processes,
    resumable=True,
)

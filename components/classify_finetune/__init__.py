"""classify_finetune: the decoder's output layer replaced by a class head."""

from components.classify_finetune.parameters import ClassifyFinetuneParameters
from components.contract import Artifact, Component

component = Component(
    name="classify_finetune",
    version="1.0.0",
    summary="A text classifier: the base model with a class head, beside TF-IDF with logistic regression.",
    parameters=ClassifyFinetuneParameters,
    inputs=(
        Artifact("base", "models/base", "model", "base"),
        Artifact("labels", "data/labels", "dataset", "labels"),
    ),
    outputs=(
        Artifact("model", "models/classifier", "model", "classifier", registered_model="classifier"),
        Artifact("report", "reports/classify_finetune", "report", "report"),
    ),
    resumable=True,
)

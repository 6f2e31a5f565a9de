"""reward_model: learns which of two answers is the better one."""

from components.contract import Artifact, Component
from components.reward_model.parameters import RewardModelParameters

component = Component(
    name="reward_model",
    version="1.0.0",
    summary="A model that scores answers, trained on ranked answers of the instruct model or on the user's pairs.",
    parameters=RewardModelParameters,
    inputs=(
        Artifact("instruct", "models/instruct", "model", "instruct"),
        Artifact("instructions", "data/instructions", "dataset", "preferences"),
    ),
    outputs=(
        Artifact("model", "models/reward", "model", "reward_model", registered_model="reward"),
        Artifact("report", "reports/reward_model", "report", "report"),
    ),
    resumable=True,
)

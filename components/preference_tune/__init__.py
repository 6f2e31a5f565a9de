"""preference_tune: the instruct model learns to prefer its better answers."""

from components.contract import Artifact, Component
from components.preference_tune.parameters import PreferenceTuneParameters

component = Component(
    name="preference_tune",
    version="1.0.0",
    summary="The instruct model tuned by DPO on its own ranked answers to fresh questions, or on the user's pairs.",
    parameters=PreferenceTuneParameters,
    inputs=(
        Artifact("instruct", "models/instruct", "model", "reference"),
        Artifact("reward", "models/reward", "model", "reward_model"),
        Artifact("instructions", "data/instructions", "dataset", "preferences"),
    ),
    outputs=(
        Artifact("model", "models/assistant", "model", "assistant", registered_model="assistant"),
        Artifact("report", "reports/preference_tune", "report", "report"),
    ),
    resumable=True,
)

"""A stage `chat` for the browser's workspace: it registers a real chat model that can only count, as ``assistant``.

Like any component it runs in the harness, so that the form, DVC, MLflow, the registry, the gate and the gateway
treat it as the trained ones; no test has the time to train a model that has something to say.
"""

from __future__ import annotations

import shutil

from ruamel.yaml import YAML

from tests.workspace import REPOSITORY, Workspace, add_component

INIT = """
from components.chat.parameters import ChatParameters
from components.contract import ArtifactSpec, Component

component = Component(
    name="chat",
    version="1.0.0",
    summary="A chat model that counts",
    parameters=ChatParameters,
    inputs=(ArtifactSpec("instructions", "data/instructions", "dataset", "eval_set"),),
    outputs=(
        ArtifactSpec("model", "models/assistant", "model", "assistant", "assistant"),
        ArtifactSpec("report", "reports/chat", "report", "report"),
    ),
)
"""
PARAMETERS = """
from pydantic import Field
from components.contract import StageParameters


class ChatParameters(StageParameters):
    \"\"\"A model that counts.\"\"\"

    word: str = Field("first", min_length=1, description="What it counts: word-1 word-2 ...")
    length: int = Field(40, ge=1, le=100, description="How far it counts")
"""
STAGE = """
import json

from components.chat import counting_models
from components.contract import Metric


def run(context):
    wanted = context.parameters
    model = context.outputs["model"]
    about = {"length": wanted.length, "context": wanted.length + 60, "sharpness": 50.0}  # so sharp that it never errs
    counting_models.counter(model, wanted.word, chat=True, **about)
    (context.outputs["report"] / "report.json").write_text(json.dumps({"length": wanted.length}))
    context.record(
        Metric("accuracy", 1.0, higher_is_better=True, n=wanted.length, eval_set="instructions",
               baselines={"silence": 0.0}),
        headline=True,
    )
"""
STAGES = """
chat:
  cmd: exec python -m components chat
  deps: [data/instructions, components/chat]
  params: [seed, chat]
  outs: [models/assistant, reports/chat]
  metrics:
    - metrics/chat.json: {cache: false}
    - receipts/chat.json: {cache: false}
"""


def install_chat_model(workspace: Workspace) -> None:
    """Put the stage into the workspace's pipeline and the shipped components."""
    folder = add_component(workspace, "chat", INIT, PARAMETERS, STAGE)
    shutil.copy(REPOSITORY / "tests" / "integration" / "gateway" / "counting_models.py", folder)
    yaml = YAML()
    pipeline = yaml.load((workspace.root / "dvc.yaml").read_text())
    pipeline["stages"].update(yaml.load(STAGES))
    yaml.dump(pipeline, workspace.root / "dvc.yaml")
    values = yaml.load((workspace.root / "params.yaml").read_text())
    values["chat"] = {"word": "first", "length": 12}
    values["promotion"] = {"approval": "required", "assistant": {"accuracy": {"min": 0.5}}}
    yaml.dump(values, workspace.root / "params.yaml")

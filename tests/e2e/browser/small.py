"""The shipped pipeline up to pretraining, with so little data and so few steps that each stage is done in seconds."""

from __future__ import annotations

from ruamel.yaml import YAML

from tests.workspace import Workspace

STAGES = ("curate", "tokenize", "pretrain")
PRETRAIN = {
    "steps": 20, "seq_length": 256, "per_device_batch_size": 4, "devices": 1, "log_every": 2, "checkpoint_every": 10,
    "evaluate_every": 10, "evaluation_tokens": 1024, "sample_tokens": 8,
}  # fmt: skip
ARCHITECTURE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
QUESTIONS = {"instruct": 100, "reward": 20, "preference": 20, "development": 20, "test": 20}


def make_small(workspace: Workspace) -> None:
    """Cut ``dvc.yaml`` and ``params.yaml`` down."""
    yaml = YAML()
    pipeline = yaml.load((workspace.root / "dvc.yaml").read_text())
    yaml.dump({"stages": {name: pipeline["stages"][name] for name in STAGES}}, workspace.root / "dvc.yaml")
    values = yaml.load((workspace.root / "params.yaml").read_text())
    values["curate"]["sources"][0]["max_documents"] = 400
    values["curate"]["instructions"]["signatures"]["questions"] = QUESTIONS
    values["curate"]["labels"]["source"] = "none"
    values["tokenize"]["vocabulary_size"] = 400
    for stage in ("curate", "tokenize"):
        values[stage]["engine"]["workers"] = 1
    values["pretrain"].update(PRETRAIN)
    values["pretrain"]["architecture"].update(ARCHITECTURE)
    yaml.dump(values, workspace.root / "params.yaml")

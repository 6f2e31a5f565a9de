"""A real workspace with three registered models: an assistant, an adapter on its base, and a classifier."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from core import adapted
from core.workspace import Workspace
from registry.lineage.sync import sync
from registry.promotion.promote import promote
from tests.trained_tokenizer import trained
from tests.workspace import init_dvc

PIPELINE = """
stages:
  train:
    cmd: exec python stage.py
    deps: [data/raw, stage.py]
    outs: [models/assistant, models/adapted, models/classifier]
    metrics: [receipts/train.json: {cache: false}]
"""
CORPUS = ["f ( a , b ) isn't 12345 ! one two three balloons and 12 more, they're red. How many? Two."] * 20
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
         "max_position_embeddings": 128, "initializer_range": 0.3, "tie_word_embeddings": True}  # fmt: skip


@pytest.fixture(scope="package", autouse=True)
def _environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STEMMA_HOME", "STEMMA_REGISTRY_URL", "MLFLOW_TRACKING_URI", "STEMMA_SIGNING_KEY",
                     "STEMMA_TRUSTED_KEYS", "LLAMA_CPP"):  # fmt: skip
            patch.delenv(name, raising=False)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
            patch.setenv(name, "true")
        yield


def write_models(folder: Path) -> None:
    """``assistant``, ``adapted`` (a LoRA on its weights) and ``classifier`` in transformers' folders."""
    tokenizer = trained(CORPUS, vocabulary_size=320, min_frequency=2)
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.eos_token_id,
           "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    config = AutoConfig.for_model("llama", vocab_size=len(tokenizer), **SHAPE, **ids)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    model.generation_config.max_new_tokens = 24  # as the first release left it there
    model.save_pretrained(folder / "assistant")
    config.num_labels = 3
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / "classifier")
    for name in ("assistant", "classifier"):
        tokenizer.save_pretrained(folder / name)

    from peft import LoraConfig, get_peft_model

    shutil.copytree(folder / "assistant", folder / "adapted")
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:  # a fresh adapter changes nothing
            torch.nn.init.normal_(parameter, std=0.3)
    wrapped.save_pretrained(folder / "adapted" / adapted.FOLDER)
    (folder / "adapted" / adapted.FOLDER / "README.md").unlink()
    settings = folder / "adapted" / adapted.FOLDER / adapted.CONFIG
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "base_model_name_or_path": None}))
    adapted.name_base(folder / "adapted")


@pytest.fixture(scope="package")
def workspace(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Workspace:
    """``assistant:1`` and ``adapted:1`` are champions, and so are signed; ``classifier:1`` is not."""
    root = tmp_path_factory.mktemp("exporting") / "workspace"
    write_models(root / "data" / "raw")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("seed: 1\n")
    (root / ".gitignore").write_text("/.stemma/\n/models/\n__pycache__/\n")
    shutil.copy(Path(__file__).with_name("stage.py"), root / "stage.py")

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.name", "Ada")
    run("git", "config", "user.email", "ada@example.org")
    init_dvc(root)
    run("git", "add", "dvc.yaml", "params.yaml", "stage.py", ".gitignore")
    run("git", "commit", "-qm", "A workspace")
    run(sys.executable, "-m", "dvc", "repro", "-q")
    found = Workspace.find(root)
    report = sync(found, run="first", update_mlflow=False)
    assert not report.problems, report.problems
    for name in ("assistant:1", "adapted:1"):
        assert promote(found, name, "champion", "the test asks for it", "Ada", force=True).accepted
    return found

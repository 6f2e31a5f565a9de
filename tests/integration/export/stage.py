"""The one stage of the test workspace: the models of its raw data, and a receipt, as DVC's stages leave them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from core.keys import with_signature
from core.workspace import Workspace
from registry.store.manifests import digest_of

HERE = Path.cwd()
MODELS = ("assistant", "adapted", "classifier")


def main() -> None:
    for name in MODELS:
        shutil.copytree(HERE / "data/raw" / name, HERE / "models" / name)
    raw = digest_of(HERE / "data/raw")
    parameters = {"max_new_tokens": 24, "learning_rate": 1e-3}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    metric = {"name": "accuracy", "value": 0.75, "stderr": 0.02, "n": 400, "eval_set": None, "higher_is_better": True,
              "baselines": {"majority": 0.25}}  # fmt: skip
    receipt = {
        "schema": 1, "stage": "train", "component": {"name": "train", "version": "1.0.0", "code_digest": "c" * 32},
        "fingerprint": hashlib.sha256(raw.encode()).hexdigest(), "run": "first", "parameters": parameters,
        "non_default": {"learning_rate": 1e-3}, "seed": 1,
        "inputs": [{"name": "raw", "path": "data/raw", "type": "raw", "role": "raw", "digest": raw, "size": None}],
        "outputs": [{"name": name, "path": f"models/{name}", "type": "model", "role": "model", "registered_model": name}
                    for name in MODELS],
        "metrics": [metric], "headline": "accuracy", "git": {"commit": commit, "dirty": False},
        "environment": {"python": sys.version.split()[0]}, "device": "cpu", "processes": 1, "tokens": 1,
        "started": 1.0, "ended": 2.0, "seconds": 1.0,
    }  # fmt: skip
    (HERE / "receipts").mkdir(exist_ok=True)
    (HERE / "receipts" / "train.json").write_text(json.dumps(with_signature(Workspace.find(), receipt)))


if __name__ == "__main__":
    main()

"""The one stage of the test workspace: three models of the raw data, and a receipt, as DVC's stages leave them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import counting_models  # beside this file in the workspace
import yaml

from core.keys import with_signature
from core.workspace import Workspace

HERE = Path.cwd()
MODELS = ("assistant", "base", "classifier")


def digest(folder: Path) -> str:
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    manifest = [{"md5": hashlib.md5((folder / file).read_bytes()).hexdigest(), "relpath": file} for file in files]
    return hashlib.md5(json.dumps(manifest, sort_keys=True).encode()).hexdigest() + ".dir"


def main() -> None:
    started, parameters = time.time(), yaml.safe_load((HERE / "params.yaml").read_text())["train"]
    tag, context = parameters["tag"], parameters["context"]
    counting_models.counter(HERE / "models/assistant", tag, length=parameters["length"], context=context, chat=True)
    counting_models.counter(HERE / "models/base", tag, length=8, context=32, chat=False)
    counting_models.classifier(HERE / "models/classifier", sharpness=parameters["sharpness"])
    code = hashlib.md5((HERE / "stage.py").read_bytes()).hexdigest()
    raw = digest(HERE / "data/raw")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    receipt = {
        "schema": 1, "stage": "train", "component": {"name": "train", "version": "1.0.0", "code_digest": code},
        "fingerprint": hashlib.sha256(json.dumps([code, parameters, raw]).encode()).hexdigest(),
        "run": os.environ.get("TEST_RUN"), "parameters": parameters, "non_default": parameters, "seed": 1,
        "inputs": [{"name": "raw", "path": "data/raw", "type": "raw", "role": "raw", "digest": raw, "size": None}],
        "outputs": [{"name": name, "path": f"models/{name}", "type": "model", "role": "model", "registered_model": name}
                    for name in MODELS],
        "metrics": [], "headline": None, "git": {"commit": commit, "dirty": False},
        "environment": {"python": sys.version.split()[0]}, "device": "cpu", "processes": 1, "tokens": 1,
        "started": started, "ended": time.time(), "seconds": time.time() - started,
    }  # fmt: skip
    (HERE / "receipts").mkdir(exist_ok=True)
    (HERE / "receipts" / "train.json").write_text(json.dumps(with_signature(Workspace.find(), receipt)))


if __name__ == "__main__":
    main()

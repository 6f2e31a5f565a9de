"""The stages of the test workspace: quick, deterministic, each with a receipt.

Run by DVC as ``python stages.py <stage>``; of Stemma only what signs the receipt is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

HERE = Path.cwd()
PARAMETERS = yaml.safe_load((HERE / "params.yaml").read_text())
DEFAULTS = {"curate": {"keep": 10}, "pretrain": {"quality": 0.8, "weights": "safetensors"}, "evaluate": {"limit": 100}}
EDGES = {
    "curate": ([("raw", "data/raw", "raw")], [("corpus", "data/corpus", "dataset", None)]),
    "pretrain": ([("corpus", "data/corpus", "dataset")], [("model", "models/base", "model", "base")]),
    "evaluate": (
        [("model", "models/base", "model"), ("corpus", "data/corpus", "dataset")],
        [("report", "reports/evaluate-base", "report", None)],
    ),
}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def digest(folder: Path) -> str:
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    manifest = json.dumps([{"md5": md5(folder / file), "relpath": file} for file in files], sort_keys=True)
    return hashlib.md5(manifest.encode()).hexdigest() + ".dir"


def curate(parameters: dict) -> list[dict]:
    out = HERE / "data/corpus"
    out.mkdir(parents=True, exist_ok=True)
    text = "".join(path.read_text() for path in sorted((HERE / "data/raw").iterdir()))
    (out / "train.txt").write_text(text * parameters["keep"])
    return [{"name": "documents_kept", "value": float(parameters["keep"]), "baselines": {}}]


def pretrain(parameters: dict) -> list[dict]:
    out = HERE / "models/base"
    out.mkdir(parents=True, exist_ok=True)
    from tiny_decoder import save  # beside this file

    source = digest(HERE / "data/corpus")
    save(out, parameters["quality"])
    if parameters["weights"] != "safetensors":
        (out / "model.safetensors").rename(out / "pytorch_model.bin")
    (out / "training.json").write_text(json.dumps({"quality": parameters["quality"], "source": source}))
    return [
        {"name": "loss", "value": 1 - parameters["quality"], "higher_is_better": False, "baselines": {"unigram": 1.0}}
    ]


def evaluate(parameters: dict) -> list[dict]:
    out = HERE / "reports/evaluate-base"
    out.mkdir(parents=True, exist_ok=True)
    quality, n = json.loads((HERE / "models/base/training.json").read_text())["quality"], parameters["limit"]
    (out / "report.html").write_text(f"<p>{quality}</p>")
    stderr = (quality * (1 - quality) / n) ** 0.5
    return [{
        "name": "accuracy", "value": quality, "stderr": stderr, "n": n, "eval_set": "corpus", "higher_is_better": True,
        "baselines": {"majority": 0.3},
    }]  # fmt: skip


def tracked(stage: str) -> dict:
    """The MLflow run that was made for this execution; importing MLflow to make it here would take seconds."""
    untracked = {"run_id": None, "experiment_id": None, "parent_run_id": None}
    return json.loads(os.environ.get("TEST_MLFLOW", "{}")).get(stage, untracked)


def main(stage: str) -> None:
    started = time.time()
    name = stage.partition("@")[0]
    parameters = PARAMETERS[name]
    inputs, outputs = EDGES[name]
    read = [
        {"name": item, "path": path, "type": kind, "role": item, "digest": digest(HERE / path), "size": None}
        for item, path, kind in inputs
    ]
    code = md5(HERE / "stages.py")
    described = json.dumps([code, parameters, [item["digest"] for item in read]], sort_keys=True)
    fingerprint = hashlib.sha256(described.encode()).hexdigest()
    metrics = globals()[name](parameters)
    run = os.environ.get("TEST_RUN")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    (HERE / "receipts").mkdir(exist_ok=True)
    body = {
        "schema": 1,
        "stage": stage,
        "component": {"name": name, "version": "1.0.0", "code_digest": code},
        "fingerprint": fingerprint,
        "run": run,
        "parameters": parameters,
        "non_default": {k: v for k, v in parameters.items() if v != DEFAULTS[name][k]},
        "seed": PARAMETERS["seed"],
        "inputs": read,
        "outputs": [
            {"name": item, "path": path, "type": kind, "role": item, "registered_model": registered}
            | {"digest": digest(HERE / path), "size": None}
            for item, path, kind, registered in outputs
        ],
        "metrics": metrics,
        "headline": metrics[0]["name"],
        "warnings": [],
        "git": {"commit": commit, "dirty": False},
        "mlflow": tracked(stage),
        "prefect": {"flow_run_id": None, "task_run_id": None},
        "environment": {"python": sys.version.split()[0]},
        "device": "cpu",
        "processes": 1,
        "tokens": 100,
        "started": started,
        "ended": time.time(),
        "seconds": time.time() - started,
    }
    path = HERE / "receipts" / f"{stage.replace('@', '-')}.json"
    path.write_text(json.dumps(signed(body)))


def signed(body: dict) -> dict:
    """The receipt as the harness signs it."""
    from core.keys import with_signature
    from core.workspace import Workspace

    return with_signature(Workspace.find(HERE), body)


if __name__ == "__main__":
    main(sys.argv[1])

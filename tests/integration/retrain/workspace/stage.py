"""The stages of the test workspace: no training, but what they make depends on every byte of their data.

A row of raw data is ``{"text": ..., "quality": 0.7}``. A model's quality is the mean of the rows it was trained on and,
where it went on from a parent, of the parent's; evaluating it on the test split finds just that.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tiny_decoder import save  # beside this file

from core.keys import with_signature
from core.workspace import Workspace

STAGE, RUN = sys.argv[1], os.environ.get("STEMMA_RUN")
NAME, _, INSTANCE = STAGE.partition("@")
INPUTS = {
    "curate": [("raw", "data/raw", "raw", "raw")],
    "pretrain": [("corpus", "data/corpus", "dataset", "corpus"), ("parent", "models/parent", "model", "parent")],
    "tune": [("base", "models/base", "model", "base"), ("corpus", "data/corpus", "dataset", "corpus")],
    "evaluate": [("model", f"models/{INSTANCE}", "model", INSTANCE), ("corpus", "data/corpus", "dataset", "eval_set")],
}[NAME]
OUTPUT = {
    "curate": ("corpus", "data/corpus", "dataset", "corpus", None),
    "pretrain": ("model", "models/base", "model", "base", "base"),
    "tune": ("model", "models/assistant", "model", "assistant", "assistant"),
    "evaluate": ("report", f"reports/evaluate-{INSTANCE}", "report", "report", None),
}[NAME]


def curate(out: Path, parameters: dict) -> list[dict]:
    files = sorted(Path("data/raw").rglob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    frozen = sorted({file for each in parameters.get("split", {}).get("held_out", []) for file in Path().glob(each)})
    if frozen:
        test = [row for file in frozen for row in pq.read_table(file).to_pylist()]
    else:
        test = [row for row in rows if int(hashlib.md5(row["text"].encode()).hexdigest(), 16) % 5 == 0]
    held = {row["text"] for row in test}
    for split, some in (("train", [row for row in rows if row["text"] not in held]), ("test", test)):
        pq.write_table(pa.Table.from_pylist(some), out / f"{split}-00000-of-00001.parquet")
    return [metric("documents", len(rows))]


def train(out: Path, origin: str | None) -> list[dict]:
    rows = pq.read_table("data/corpus/train-00000-of-00001.parquet").to_pylist()
    quality = sum(row["quality"] for row in rows) / len(rows)
    if origin and (Path(origin) / "training.json").exists():
        quality = (quality + json.loads((Path(origin) / "training.json").read_text())["quality"]) / 2
    save(out, quality)
    (out / "training.json").write_text(json.dumps({"quality": quality, "stage": NAME}))
    return [metric("loss", 1 - quality, False)]


def evaluate(out: Path) -> list[dict]:
    rows = pq.read_table("data/corpus/test-00000-of-00001.parquet").to_pylist()
    quality = json.loads(Path(f"models/{INSTANCE}/training.json").read_text())["quality"]
    (out / "report.html").write_text(f"<p>{quality} on {len(rows)}</p>")
    return [{**metric("accuracy", quality), "eval_set": "corpus", "stderr": 0.001, "n": len(rows)}]


def metric(name: str, value: float, higher: bool | None = True) -> dict:
    return {"name": name, "value": value, "higher_is_better": higher, "baselines": {"none": 0.1}}


def main() -> None:
    started = time.time()
    values = yaml.safe_load(Path("params.yaml").read_text())
    parameters = values.get(NAME) or {}
    out = Path(OUTPUT[1])
    out.mkdir(parents=True, exist_ok=True)
    home = Path(os.environ["STEMMA_HOME"])
    with open(home / "stages.log", "a") as log:  # what ran, for the tests
        log.write(f"{RUN} {STAGE}\n")
    if (home / f"fail-{NAME}").exists():
        raise RuntimeError("it was told to fail")
    if NAME == "curate":
        metrics = curate(out, parameters)
    elif NAME == "evaluate":
        metrics = evaluate(out)
    else:
        metrics = train(out, {"pretrain": "models/parent", "tune": "models/base"}[NAME])
    read = [item for item in INPUTS if any(Path(item[1]).iterdir()) or item[0] != "parent"]
    code = hashlib.md5(Path("stage.py").read_bytes()).hexdigest()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    body = {
        "schema": 1, "stage": STAGE, "component": {"name": NAME, "version": "1.0.0", "code_digest": code},
        "fingerprint": hashlib.md5(repr((STAGE, parameters, started)).encode()).hexdigest(),
        "run": RUN, "parameters": parameters, "non_default": {}, "seed": values["seed"],
        "inputs": [{"name": n, "path": p, "type": t, "role": r, "digest": None, "size": None} for n, p, t, r in read],
        "outputs": [dict(zip(("name", "path", "type", "role", "registered_model"), OUTPUT, strict=True))],
        "metrics": metrics, "headline": metrics[0]["name"], "warnings": [], "git": {"commit": commit, "dirty": False},
        # A run of another server: with none at all, every sync would ask MLflow for it, which takes seconds to import.
        "mlflow": {"run_id": hashlib.md5(STAGE.encode()).hexdigest(), "experiment_id": "1", "parent_run_id": None},
        "prefect": {"flow_run_id": os.environ.get("STEMMA_PREFECT_FLOW_RUN_ID"), "task_run_id": None},
        "environment": {}, "device": "cpu", "processes": 1, "tokens": 0,
        "started": started, "ended": time.time(), "seconds": time.time() - started,
    }  # fmt: skip
    Path("receipts").mkdir(exist_ok=True)
    Path(f"receipts/{STAGE.replace('@', '-')}.json").write_text(json.dumps(with_signature(Workspace.find(), body)))


main()

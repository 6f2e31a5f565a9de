"""Stands for `python -m components <stage>`: same files, no training. What it does is said by files in behave/."""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML
from tiny_decoder import save  # beside this file

from core.keys import with_signature
from core.processes import die_with_parent
from core.workspace import Workspace

STAGE = sys.argv[1]
SLUG = STAGE.replace("@", "-")
INSTANCE = STAGE.partition("@")[2]
HOME = Path(os.environ.get("STEMMA_HOME", ".stemma"))
RUN = os.environ.get("STEMMA_RUN")
INPUTS = {
    "curate": [("raw", "data/raw", "raw", "raw")],
    "pretrain": [("corpus", "data/corpus", "dataset", "corpus")],
    "evaluate": [
        ("model", f"models/{INSTANCE}", "model", INSTANCE),
        ("corpus", "data/corpus", "dataset", "eval_set"),
    ],
    "preference_tune": [("base", "models/base", "model", "base"), ("corpus", "data/corpus", "dataset", "corpus")],
}[STAGE.partition("@")[0]]
if STAGE == "pretrain" and any(Path("models/parent").iterdir()):
    INPUTS.append(("parent", "models/parent", "model", "parent"))
OUTPUT = {
    "curate": ("corpus", "data/corpus", "dataset", "corpus", None),
    "pretrain": ("model", "models/base", "model", "base", "base"),
    "evaluate": ("report", f"reports/evaluate-{INSTANCE}", "report", "report", None),
    "preference_tune": ("model", "models/assistant", "model", "assistant", "assistant"),
}[STAGE.partition("@")[0]]


def behaviour(name: str) -> str | None:
    path = Path(os.environ.get("TOY_BEHAVE", "/nonexistent")) / f"{SLUG}.{name}"
    return path.read_text() if path.exists() else None


def progress(done: int, total: int, began: float) -> None:
    events = HOME / "scratch" / SLUG / "0" / "tracking" / "events.jsonl"
    events.parent.mkdir(parents=True, exist_ok=True)
    if RUN:
        (HOME / "runs" / RUN / f"{SLUG}.events").write_text(json.dumps(str(events)))
    body = {"kind": "progress", "time": time.time(), "description": STAGE, "done": done, "total": total, "unit": "it"}
    point = {"kind": "point", "time": time.time(), "step": done, "metrics": {"accuracy": done / total}}
    with open(events, "a") as file:
        file.write(json.dumps({**body, "fields": {"loss": 1.0 / (done + 1)}}) + "\n" + json.dumps(point) + "\n")
    # MLflow has everything, also where the stage is stopped: sending the rest takes a process that imports it.
    events.with_name("cursor.json").write_text(json.dumps({"offset": events.stat().st_size}))


def main() -> int:
    started = time.time()
    die_with_parent()
    if problem := behaviour("problem"):
        print(f"{STAGE}: 1 problem\n  {problem}", file=sys.stderr)
        if RUN:
            (HOME / "runs" / RUN / f"{SLUG}.problems.json").write_text(json.dumps([problem]))
        return 2
    if behaviour("fail"):
        raise RuntimeError("the toy broke as it was told to")
    checkpoint = HOME / f"{SLUG}.checkpoint"

    def stop(*_: object) -> None:
        time.sleep(0.5)  # a checkpoint takes its time
        checkpoint.write_text("saved")
        sys.exit(3)

    signal.signal(signal.SIGTERM, stop)
    (HOME / f"{SLUG}.pid").write_text(str(os.getpid()))
    steps = int(behaviour("steps") or 3)
    for step in range(steps):
        progress(step + 1, steps, started)
        time.sleep(0.05)
    params = YAML(typ="safe").load(Path("params.yaml").read_text())
    content = json.dumps([STAGE, params["seed"], params.get(STAGE), [Path(i[1]).name for i in INPUTS]])
    if (parent := Path("models/parent/model.safetensors")).exists() and STAGE == "pretrain":
        content += hashlib.md5(parent.read_bytes()).hexdigest()
    folder = Path(OUTPUT[1])
    folder.mkdir(parents=True, exist_ok=True)
    number = int(hashlib.md5(content.encode()).hexdigest()[:6], 16)
    if OUTPUT[2] == "model":
        save(folder, 1 + number)
    else:
        (folder / "content.txt").write_text(content)
    section = params.get(STAGE) or {}
    # As a real stage's metric depends on its parameters.
    metric = {
        "name": "accuracy",
        "value": section.get("learning_rate", 0.75),
        "stderr": 0.01,
        "n": 100,
        "higher_is_better": True,
    }
    more, trained = [], section.get("tokens") or 0
    if trained:  # a law that a ladder of such trainings has to show
        size = 10_000 * int(section["architecture"]["preset"].removeprefix("depth-")) ** 3
        loss = 1.5 + 30 / size**0.35 + 20 / trained**0.4
        more = [{"name": "parameters", "value": size}, {"name": "validation_loss", "value": loss, "stderr": 0.01}]
    is_eval = STAGE.startswith("evaluate")
    metric |= {"eval_set": "corpus" if is_eval else None, "baselines": {"majority": 0.3}}
    receipt = {
        "schema": 1,
        "stage": STAGE,
        "component": {"name": STAGE.partition("@")[0], "version": "1.0.0", "code_digest": "0" * 64},
        "fingerprint": hashlib.md5(content.encode()).hexdigest()[:20],
        "run": RUN,
        "parameters": params.get(STAGE) or {},
        "non_default": {},
        "seed": params["seed"],
        "inputs": [{"name": n, "path": p, "type": t, "role": r, "digest": None, "size": 1} for n, p, t, r in INPUTS],
        "outputs": [dict(zip(("name", "path", "type", "role", "registered_model"), OUTPUT, strict=True))],
        "metrics": [metric, *more],
        "headline": "accuracy",
        "warnings": [],
        "git": {"commit": None, "dirty": True},
        # A run of another server: with none at all, every sync would ask MLflow for it, which takes seconds to import.
        "mlflow": {"run_id": hashlib.md5(STAGE.encode()).hexdigest(), "experiment_id": "1", "parent_run_id": None},
        "prefect": {
            "flow_run_id": os.environ.get("STEMMA_PREFECT_FLOW_RUN_ID"),
            "task_run_id": os.environ.get("STEMMA_PREFECT_TASK_RUN_ID"),
        },
        "environment": {},
        "device": "cpu",
        "processes": 1,
        "tokens": trained,
        "started": started,
        "ended": time.time(),
        "seconds": time.time() - started,
    }
    Path("receipts").mkdir(exist_ok=True)
    Path(f"receipts/{SLUG}.json").write_text(json.dumps(with_signature(Workspace.find(), receipt)))
    return 0


sys.exit(main())

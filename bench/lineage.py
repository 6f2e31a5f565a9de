"""How fast the registry answers on a large history: ``python bench/lineage.py [--artifacts N]``.

Fills a registry with families: raw data that ``FAN_OUT`` chains start from, each chain ``DEPTH`` executions deep, each
execution reading what the one before it made and writing ``OUTPUTS`` artifacts. The end of a chain is a model version.
Then queries it, and records one more run of 50 artifacts as `stemma sync` does. SQLite in a temporary folder, or
PostgreSQL where ``STEMMA_REGISTRY_URL`` names an empty database.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML
from sqlalchemy import insert, text

from core.keys import with_signature
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.schema import Artifact, ComponentVersion, Event, Execution, ModelVersion, RegisteredModel
from registry.lineage.cost import CostParameters, cost
from registry.lineage.impact import impact
from registry.lineage.sync import sync
from registry.lineage.trace import trace

DEPTH, FAN_OUT, OUTPUTS = 30, 20, 5
STAGES, OUTPUTS_A_STAGE = 8, 5  # of the run that is synced: 8 stages, 40 outputs and 10 raw inputs are 50 artifacts
BATCH = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=50, help="how often each question is repeated")
    parser.add_argument("--seed", type=int, default=1337)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stemma-bench-") as folder:
        url = os.environ.get("STEMMA_REGISTRY_URL") or f"sqlite:///{folder}/registry.db"
        os.environ["STEMMA_REGISTRY_URL"] = url
        with open_registry(url) as registry:
            where = platform.processor() or platform.machine()
            print(
                f"{where}, {os.cpu_count()} cores, Python {platform.python_version()}, {registry.engine.dialect.name}"
            )
            began = time.perf_counter()
            counts = fill(registry, arguments.artifacts)
            print(f"filled with {counts} in {time.perf_counter() - began:.1f} s")
            workspace = make_workspace(Path(folder) / "workspace")
            for name, timings in measure(registry, workspace, arguments.questions, arguments.seed).items():
                report(name, timings)


Timing = tuple[float, float]  # seconds of wall time; seconds of processor time, subprocesses (git) included


class Stopwatch:
    """Appends the :data:`Timing` of its block to a list. Beside other work on the machine only the second is fair."""

    def __init__(self, timings: list[Timing]):
        self.timings = timings

    def __enter__(self) -> None:
        self.began = time.perf_counter(), _processor_seconds()

    def __exit__(self, *_: object) -> None:
        self.timings.append((time.perf_counter() - self.began[0], _processor_seconds() - self.began[1]))


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def report(name: str, timings: list[Timing]) -> None:
    """One line: median and spread, in milliseconds."""
    parts = []
    for title, seconds in zip(("wall", "processor"), zip(*timings, strict=True), strict=True):
        ordered = sorted(1000 * value for value in seconds)
        low, high = ordered[len(ordered) // 20], ordered[-1 - len(ordered) // 20]
        parts.append(f"{title} median {statistics.median(ordered):6.1f} ms (5-95 % {low:.1f}-{high:.1f})")
    print(f"{name:<34} {'   '.join(parts)}   n={len(timings)}")


def fill(registry: Registry, artifacts: int) -> dict[str, int]:
    """Insert at least ``artifacts`` artifacts with their executions, events and model versions; returns the counts."""
    families = max(1, round(artifacts / (FAN_OUT * DEPTH * OUTPUTS + 1)))
    rows: dict[type, list[dict]] = {kind: [] for kind in (Artifact, Execution, Event, ModelVersion)}
    next_id = dict.fromkeys(rows, 0)
    with registry.write() as session:
        session.execute(
            insert(ComponentVersion), [{"id": 1, "name": "pretrain", "version": "1.0.0", "spec_digest": "c" * 64}]
        )
        session.execute(insert(RegisteredModel), [{"id": 1, "name": "base", "created": 1.0}])

        def add(kind: type, **values) -> int:
            next_id[kind] += 1
            rows[kind].append({"id": next_id[kind], **values})
            return next_id[kind]

        def artifact(kind: str, name: str) -> int:
            digest = hashlib.md5(str(next_id[Artifact]).encode(), usedforsecurity=False).hexdigest() + ".dir"
            return add(Artifact, type=kind, name=name, hash_algo="md5", digest=digest, size=10**6, files=3,
                       uri=f"dvc:{name}", created=1.0)  # fmt: skip

        def event(execution: int, artifact_id: int, direction: str, name: str) -> None:
            add(Event, execution_id=execution, artifact_id=artifact_id, direction=direction, name=name, role=name,
                path=name)  # fmt: skip

        def flush() -> None:
            for kind, pending in rows.items():
                for start in range(0, len(pending), BATCH):
                    session.execute(insert(kind), pending[start : start + BATCH])
                pending.clear()

        for family in range(families):
            raw = artifact("raw", "data/raw")
            for chain in range(FAN_OUT):
                read = raw
                for step in range(DEPTH):
                    execution = add(Execution, **execution_row(family, chain, step))
                    event(execution, read, "INPUT", "input")
                    kind = "model" if step == DEPTH - 1 else "dataset"
                    for output in range(OUTPUTS):
                        made = artifact(kind, f"data/{step}/{output}")
                        event(execution, made, "OUTPUT", f"output {output}")
                        read = made if output == 0 else read
                add(ModelVersion, model_id=1, version=next_id[ModelVersion] + 1, artifact_id=read,
                    execution_id=execution, created=1.0, mlflow_version="1")  # fmt: skip
            if sum(map(len, rows.values())) > BATCH:
                flush()
        flush()
        if registry.engine.dialect.name == "postgresql":
            for table in ("artifacts", "executions", "events", "model_versions", "components", "registered_models"):
                session.execute(text(f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}))"))
    if registry.engine.dialect.name == "postgresql":
        with registry.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    return {kind.__tablename__: count for kind, count in next_id.items()}


def execution_row(family: int, chain: int, step: int) -> dict:
    """A finished execution as the registry keeps them."""
    return {
        "key": f"{family}/{chain}/{step}", "component_id": 1, "stage": f"stage-{step}", "state": "COMPLETE",
        "fingerprint": f"{family:06x}{chain:06x}{step:08x}", "parameters": {"steps": 600, "learning_rate": 0.003},
        "non_default": {"steps": 600}, "environment": {"python": "3.11.7", "packages": {"torch": "2.13.0"}},
        "warnings": [], "git_commit": "0" * 40, "git_dirty": False, "mlflow_run_id": "0" * 32, "seed": 1337,
        "device": "cpu", "processes": 1, "tokens": 1000, "gpu_seconds": 0.0, "started": family * 1000.0 + step,
        "ended": family * 1000.0 + step + 1, "seconds": 1.0,
    }  # fmt: skip


def measure(registry: Registry, workspace: Workspace, questions: int, seed: int) -> dict[str, list[Timing]]:
    """Every asking, each about another family, in a session of its own as a command has."""
    chosen = random.Random(seed)
    with registry.read() as session:
        versions = session.query(ModelVersion).count()
        raw = [row.digest for row in session.query(Artifact.digest).filter(Artifact.type == "raw")]
    prices = CostParameters(price_per_device_hour={"cpu": 0.05})

    def answered(question: Callable, subject: Callable[[], str]) -> list[Timing]:
        timings: list[Timing] = []
        for about in [subject() for _ in range(questions)]:
            with Stopwatch(timings), registry.read() as session:
                question(session, about)
        return timings

    def version() -> str:
        return f"base:{chosen.randint(1, versions)}"

    found = {
        f"trace ({DEPTH} executions)": answered(trace, version),
        f"cost ({DEPTH} executions)": answered(lambda session, about: cost(session, about, prices), version),
        f"impact ({FAN_OUT * DEPTH} executions)": answered(
            lambda session, about: impact(session, workspace, about), lambda: chosen.choice(raw)
        ),
    }
    found["sync of a run with 50 artifacts"] = []
    found["sync again, nothing new"] = []
    for number in range(min(questions, 5)):
        finish_run(workspace, number)
        for name in ("sync of a run with 50 artifacts", "sync again, nothing new"):
            # MLflow is a server of its own with its own speed; the run's flow reports to it after the sync.
            with Stopwatch(found[name]):
                report = sync(workspace, run=f"run-{number}", update_mlflow=False)
            assert not report.problems, report.problems
    return found


def make_workspace(root: Path) -> Workspace:
    """A git repository that finished runs can be put into."""
    root.mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "data").mkdir()
    for command in (("init", "-q"), ("config", "user.name", "bench"), ("config", "user.email", "bench@localhost")):
        subprocess.run(["git", *command], cwd=root, check=True)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    subprocess.run(["git", "commit", "-qm", "workspace"], cwd=root, check=True)
    return Workspace(root, root.parent / "home")


def finish_run(workspace: Workspace, number: int) -> None:
    """Leave what a finished run leaves: ``dvc.lock`` and a receipt for each of its stages."""
    root = workspace.root

    def digest(name: str) -> str:
        return hashlib.md5(f"{number}/{name}".encode(), usedforsecurity=False).hexdigest() + ".dir"

    (root / "receipts").mkdir(exist_ok=True)
    lock: dict = {"schema": "2.0", "stages": {}}
    read = [(f"raw-{index}", f"data/raw-{index}", "raw") for index in range(10)]
    for step in range(STAGES):
        stage = f"stage-{step}"
        kind = "model" if step == STAGES - 1 else "dataset"
        made = [(f"output-{index}", f"data/{step}-{index}", kind) for index in range(OUTPUTS_A_STAGE)]
        receipt = {
            "schema": 1, "stage": stage, "component": {"name": stage, "version": "1.0.0", "code_digest": "c"},
            "fingerprint": f"{number}-{step}", "run": f"run-{number}", "parameters": {"steps": 600}, "seed": 1,
            "inputs": [{"name": name, "path": path, "type": kind, "role": name, "digest": digest(path)}
                       for name, path, kind in read],
            "outputs": [{"name": name, "path": path, "type": kind, "role": name,
                         "registered_model": "base" if kind == "model" and name == "output-0" else None}
                        for name, path, kind in made],
            "metrics": [{"name": f"metric {index}", "value": 0.5} for index in range(5)], "headline": "metric 0",
            "git": {"commit": "0" * 40, "dirty": False}, "device": "cpu", "processes": 1, "tokens": 1000,
            "started": 1e9 + step, "ended": 1e9 + step + 1, "seconds": 1.0,
        }  # fmt: skip
        content = json.dumps(with_signature(workspace, receipt)).encode()
        (root / "receipts" / f"{stage}.json").write_bytes(content)
        outs = [{"path": path, "hash": "md5", "md5": digest(path), "size": 10, "nfiles": 1} for _, path, _ in made]
        outs.append({"path": f"receipts/{stage}.json", "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()})
        deps = [{"path": path, "hash": "md5", "md5": digest(path), "size": 10, "nfiles": 1} for _, path, _ in read]
        lock["stages"][stage] = {"cmd": "true", "deps": deps, "outs": outs}
        read = made
    with open(root / "dvc.lock", "w") as file:
        YAML().dump(lock, file)


if __name__ == "__main__":
    sys.exit(main())

"""How fast the console's pages answer on a large registry: ``python -m bench.console [--artifacts N]``.

The registry is that of ``bench/lineage.py``, with a pipeline run and a metric for every model version and a thousand
promotions besides. Every page is asked for as a browser does, without the network between.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from bench.lineage import BATCH, DEPTH, Stopwatch, Timing, fill, make_workspace, report
from core.workspace import Workspace
from deploy.console.app import build
from deploy.console.console import Console, Gate
from deploy.gateway import api_keys
from deploy.gateway.api_keys import Keyring
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.schema import (
    GENESIS,
    Artifact,
    Association,
    ExecutionContext,
    MetricValue,
    ModelVersion,
    Promotion,
)
from registry.integrity.chain import hash_of, link_of

PROMOTIONS = 1000
HERE = "http://127.0.0.1:8001"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=20, help="how often each page is asked for")
    parser.add_argument("--seed", type=int, default=1337)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stemma-bench-") as folder:
        os.environ["STEMMA_REGISTRY_URL"] = url = f"sqlite:///{folder}/registry.db"
        workspace = make_workspace(Path(folder) / "workspace")
        with open_registry(url) as registry:
            where = platform.processor() or platform.machine()
            print(f"{where}, {os.cpu_count()} cores, Python {platform.python_version()}, SQLite")
            began = time.perf_counter()
            counts = fill(registry, arguments.artifacts)
            live(registry, counts[ModelVersion.__tablename__])
            print(f"filled with {counts} in {time.perf_counter() - began:.1f} s")
            for name, timings in measure(registry, workspace, arguments.questions, arguments.seed).items():
                report(name, timings)


def live(registry: Registry, versions: int) -> None:
    """Add what runs and people leave: a run and a metric for each version, and promotions."""
    with registry.write() as session:
        runs = [
            {"id": number, "type": "pipeline_run", "name": f"run-{number}", "created": float(number), "mirrored": True}
            for number in range(1, versions + 1)
        ]
        rows = session.execute(select(ModelVersion.execution_id, ModelVersion.artifact_id).order_by(ModelVersion.id))
        made = rows.all()
        # The executions of a chain have the ids before that of its last one.
        filed = [
            {"context_id": number, "execution_id": execution - step}
            for number, (execution, _) in enumerate(made, 1)
            for step in range(DEPTH)
        ]
        metrics = [
            {"artifact_id": artifact, "execution_id": execution, "name": "accuracy", "value": 0.5, "stderr": 0.01,
             "n": 1000, "higher_is_better": True, "baselines": {"majority": 0.3}, "headline": True}
            for execution, artifact in made
        ]  # fmt: skip
        for kind, pending in ((ExecutionContext, runs), (Association, filed), (MetricValue, metrics)):
            for start in range(0, len(pending), BATCH):
                session.execute(insert(kind), pending[start : start + BATCH])
        verdict = Artifact(type="gate", name="gates/0.json", hash_algo="sha256", digest="0" * 64, created=1.0)
        session.add(verdict)
        session.flush()
        previous = GENESIS
        for number in range(1, min(PROMOTIONS, versions) + 1):
            row = Promotion(
                model_id=1, alias="champion", to_version_id=number, action="promote", forced=False, passed=True,
                from_version_id=number - 1 or None, gate_artifact_id=verdict.id, actor="bench", reason="better",
                time=f"2026-01-01T00:00:{number:09}", previous_hash=previous,
            )  # fmt: skip
            row.hash = previous = hash_of(link_of(session, row))
            session.add(row)
            session.flush()


def measure(registry: Registry, workspace: Workspace, questions: int, seed: int) -> dict[str, list[Timing]]:
    """Every page, each time about something else."""
    (workspace.root / ".dvc").mkdir()
    key = api_keys.add(workspace.home, "bench", "viewer")
    app = build(Console(workspace, Gate()), Keyring(workspace.home), "bench")
    browser = TestClient(app, base_url=HERE, headers={"Authorization": f"Bearer {key}"}, follow_redirects=False)
    chosen = random.Random(seed)
    with registry.read() as session:
        newest = session.scalars(select(ModelVersion.version).order_by(ModelVersion.id.desc()).limit(1)).one()
        raw = list(session.scalars(select(Artifact.digest).filter_by(type="raw")))
        models = list(session.scalars(select(Artifact.digest).join(ModelVersion).limit(1000)))

    def version() -> int:
        return chosen.randint(1, newest)

    pages = {
        "models": lambda: "/models",
        "a model": lambda: f"/models/base?before={version() + 1}",
        "history": lambda: f"/models/base/history?skip={chosen.randint(0, min(PROMOTIONS, newest) - 1)}",
        "a version": lambda: f"/models/base/{version()}",
        "two versions compared": lambda: f"/compare?a=base:{version()}&b=base:{version()}",
        "evaluations": lambda: "/evaluate?model=base",
        "runs": lambda: f"/runs?before={version() + 1}",
        "a run": lambda: f"/runs/run-{version()}",
        "family tree": lambda: f"/tree?of=base:{version()}",
        "its drawing": lambda: f"/tree/graph.json?of=base:{version()}",
        "card of raw data": lambda: f"/artifacts/{chosen.choice(raw)}",
        "card of a model": lambda: f"/artifacts/{chosen.choice(models)}",
        "where raw data is used": lambda: f"/where-used?subject={chosen.choice(raw)}",
        "health": lambda: "/system",
    }
    found: dict[str, list[Timing]] = {}
    for name, address in pages.items():
        browser.get(address())  # templates are compiled, and the database's pages read
        found[name] = []
        for _ in range(questions):
            asked = address()
            with Stopwatch(found[name]):
                answer = browser.get(asked)
            assert answer.status_code == 200, f"{asked}: {answer.text}"
    return found


if __name__ == "__main__":
    main()

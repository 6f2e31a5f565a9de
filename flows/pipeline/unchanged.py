"""A run in which nothing changed: what the last one showed is shown again, after one `dvc status` and nothing else.

A run that changed nothing has to be as quick as `dvc status`. So the last screen is kept in the
home, together with a digest of everything that it depends on beside what DVC watches. Where any of that differs, or is
not on this machine, the run is done in full: it syncs the registry, and puts new models before the gate.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from core import dvc, files, layout
from core.workspace import Workspace, sqlite_url
from flows.pipeline.report import StageRow, Summary

# What decides the last screen. Rules of promotion are in params.yaml; a stage's code is among DVC's dependencies.
_CONTENT = ("dvc.yaml", "params.yaml", "dvc.lock", "data/raw.dvc", "models/parent.dvc", "receipts/*.json")


def recall(workspace: Workspace) -> Summary | None:
    """The last screen, where it holds still: nothing is stale and nothing changed since; else ``None``."""
    body = files.read_json(layout.last_screen(workspace.home), None)
    if body is None or body["digest"] != _digest(workspace) or dvc.status(workspace.root):
        return None
    return Summary(**{**body["summary"], "rows": [StageRow(*row) for row in body["summary"]["rows"]]})


def remember(workspace: Workspace, summary: Summary) -> None:
    """Keep the screen of a run of all stages in the workspace's own tree, for the runs that change nothing."""
    from components.pretrain.parent import read_pointer
    from flows.pipeline.promotion import standing
    from registry.db.database import open as open_registry

    parent = read_pointer(workspace.root)
    # A model in a folder of the user's is looked at by each run, and copied where it is another one by now.
    watched = parent is not None and parent.init and (workspace.root / Path(parent.init).expanduser()).exists()
    digest = None if watched else _digest(workspace)
    if digest is not None:
        with open_registry(workspace.registry_url) as registry:  # after it: another run may have decided meanwhile
            digest = digest if standing(registry) == summary.champions else None
    if digest is None or summary.notes or any(kind == "Awaits approval" for kind, _ in summary.decisions):
        layout.last_screen(workspace.home).unlink(missing_ok=True)  # there is something to be done again
        return
    body = {**asdict(summary), "unchanged": True, "decisions": []}
    files.write_json(layout.last_screen(workspace.home), {"digest": digest, "summary": body})


def _digest(workspace: Workspace) -> str | None:
    """Of all that a run looks at and DVC does not; ``None`` where the registry or MLflow are not files of the home."""
    databases = [layout.registry_database(workspace.home), layout.mlflow_database(workspace.home)]
    if [workspace.registry_url, workspace.mlflow_uri] != [sqlite_url(path) for path in databases]:
        return None
    digest = hashlib.sha256(str(workspace.root).encode())
    for pattern in _CONTENT:
        for path in sorted(workspace.root.glob(pattern)):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    for path in [*databases, *(Path(f"{path}-wal") for path in databases), *layout.event_logs(workspace.home)]:
        if path.is_file():
            digest.update(json.dumps([str(path), path.stat().st_size, path.stat().st_mtime_ns]).encode())
    return digest.hexdigest()

"""``stemma import``: a model from outside becomes a version of the registry, with a lineage that begins at its source.

An import is a pipeline run of one stage, in a git worktree of its own whose ``dvc.yaml`` holds that stage alone. So its
snapshot, its receipt, its bytes in DVC's cache, and what restores, traces, audits, collects and reproduces them are
those of every other version.
"""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from sqlalchemy import select

from components.pretrain.parent import FOLDER
from core import dvc, files, keys, layout
from core.errors import InputProblem
from core.files import private_folder
from core.workspace import Workspace
from flows.importing import adapter, adapter_base, inspection, sources
from flows.importing.sources import Found
from flows.importing.stage import NAME, ORDER, RECEIPT
from flows.pipeline import parent_model
from flows.pipeline.parent_model import Parent
from flows.pipeline.stage_process import StageProcess
from registry.db.database import open as open_registry
from registry.db.schema import Artifact, ModelVersion, RegisteredModel
from registry.errors import RegistryError
from registry.lineage.sync import sync
from registry.store import worktrees
from registry.store.manifests import digest_of
from registry.store.run_locks import running
from registry.store.snapshot import snapshot

_MODEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_LICENSE_CHARACTERS = 200
# What the tree of an import does not hold: the workspace's own data and models.
_OTHERS = ("dvc.lock", "receipts", "metrics", "data", "models", "reports")


@dataclass
class ImportedModel:
    """What came of an import.

    Attributes:
        version: ``model:version``.
        new: false where the registry had these bytes under this name already.
        size: bytes of its files.
        notes: what was done to it on the way, and what a user should know.
    """

    version: str
    new: bool
    origin: str
    revision: str | None
    license: str | None
    files: dict[str, int]
    size: int
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def import_model(
    workspace: Workspace,
    source: str,
    model: str,
    *,
    license: str | None = None,
    revision: str | None = None,
    base: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ImportedModel:
    """Register the model that ``source`` names as the next version of ``model``.

    Args:
        license: of the model, where its source does not say it, or says it wrongly.
        revision: of a hub id: a branch, a tag or a commit.
        base: of an adapter alone: a registered version, or a folder; where not given, what its files name.
        say: called with a line before what takes time.

    Raises:
        InputProblem: the source, the name or an option cannot be used; every problem at once, nothing was changed.
        RegistryError, DvcError, KeyProblem, GitError: as for a run.
    """
    path = sources.path_of(workspace.root, source)
    is_adapter = adapter.is_alone(path)
    if problems := _problems(workspace, source, model, license, revision, base, is_adapter=is_adapter):
        raise InputProblem(problems)
    if revision is not None:
        source = f"{source}@{revision}"
    if sources.is_here(workspace.root, source):
        source = str(sources.path_of(workspace.root, source).resolve())  # the stage runs in another folder
    private_folder(workspace.home)
    keys.signing_key(workspace)  # the receipt will be signed; better known before the work
    with running(workspace.home):  # no collection takes the base's files, or the import's snapshot, meanwhile
        return _import(workspace, source, model, license, base, say, is_adapter=is_adapter)


def _import(
    workspace: Workspace,
    source: str,
    model: str,
    license: str | None,
    base: str | None,
    say: Callable[[str], None],
    *,
    is_adapter: bool,
) -> ImportedModel:
    parent = None
    if is_adapter:
        parent = adapter_base.find(workspace, Path(source), base)
        found = _adapted(workspace, Path(source), parent)
    else:
        found = sources.fetch(workspace.home, workspace.root, source, say)
    digest = digest_of(found.folder, found.names)
    version, new = _registered(workspace, model, digest), False
    why = inspection.tokenizer_problem(found.folder)
    if why is None and parent is not None and version is None:  # what is registered was compared before
        assert parent.folder is not None
        why = adapter.misfit(Path(source), parent.folder)
    if why is not None:
        if parent is not None:
            sources.forget(workspace.home, found)
        raise InputProblem(why)
    if version is None:
        order = {"source": source, "model": model, "path": f"models/{model}", "license": license, "digest": digest}
        order |= {"base": parent.source} if parent is not None else {}
        say(f"{model}: registering {found.source}")
        _run(workspace, order, parent)
        version, new = _registered(workspace, model, digest), True
        if version is None:
            raise RegistryError(f"{found.source} changed while it was imported; import it again")
    license = license or found.license
    sizes = {name: (found.folder / name).stat().st_size for name in found.names}
    warnings = inspection.warnings(found.folder, license)
    sources.forget(workspace.home, found)
    return ImportedModel(
        version, new, found.origin, found.revision, license, sizes, sum(sizes.values()), list(found.notes), warnings
    )


def _problems(
    workspace: Workspace,
    source: str,
    model: str,
    license: str | None,
    revision: str | None,
    base: str | None,
    *,
    is_adapter: bool,
) -> list[str]:
    path = sources.path_of(workspace.root, source)
    found = adapter.problems(path) if is_adapter else sources.problems(workspace.root, source)
    if base is not None and not is_adapter:
        found.append(f"--base {base}: only an adapter alone has a base, and {source} is none")
    if not _MODEL.fullmatch(model):
        found.append(f"--as {model}: use letters, digits, '-' and '_' (100 at most), a letter first")
    if license is not None and not (license.strip() and len(license) <= _LICENSE_CHARACTERS and license.isprintable()):
        found.append(f"--license: name it in at most {_LICENSE_CHARACTERS} characters, such as apache-2.0")
    if revision is not None and not sources.is_of_hub(workspace.root, source):
        found.append(f"--revision {revision}: only a model of the hub has revisions, and {source} is none")
    return found


def _registered(workspace: Workspace, model: str, digest: str) -> str | None:
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        version = session.scalars(
            select(ModelVersion)
            .join(RegisteredModel, RegisteredModel.id == ModelVersion.model_id)
            .join(Artifact, Artifact.id == ModelVersion.artifact_id)
            .where(RegisteredModel.name == model, Artifact.digest == digest)
        ).first()
        return str(version) if version is not None else None


def _adapted(workspace: Workspace, source: Path, base: Parent) -> Found:
    """The model that an adapter becomes on its base, put together apart from the workspace."""
    assert base.folder is not None and base.source is not None
    target = layout.imports(workspace.home) / f"adapter-{secrets.token_hex(4)}" / "model"
    names = adapter.assemble(source, base.folder, target, linked=True)
    return adapter.taken(source, target, names, base.source)


def _run(workspace: Workspace, order: dict[str, Any], parent: Parent | None) -> None:
    """The import as a pipeline run in a tree of its own, which is snapshot and taken away."""
    run = f"{NAME}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    commit = snapshot(workspace, run)
    folder = layout.worktrees(workspace.home) / run
    holding = worktrees.hold(folder)
    try:
        root = worktrees.add(workspace.root, folder, commit, dvc.cache_folder(workspace.root))
        _lay_out(root, order)
        if parent is not None:
            parent_model.place(root, parent, lambda line: None)
        StageProcess(root, workspace.home, run, NAME).reproduce()
        sync(Workspace(root, workspace.home), run=run)
    finally:
        worktrees.remove(workspace.root, folder)
        worktrees.release(folder, holding)


def _lay_out(root: Path, order: dict[str, Any]) -> None:
    """Make a tree the import's: its one stage, and nothing of the workspace's own data and models."""
    for name in _OTHERS:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    files.write_json(root / ORDER, order)
    stage = {
        "cmd": "exec python -m flows.importing.stage",
        "deps": [ORDER, *([FOLDER] if "base" in order else [])],
        "outs": [order["path"]],
        "metrics": [{RECEIPT: {"cache": False}}],
    }
    with files.replacing(root / "dvc.yaml", "w") as file:
        YAML().dump({"stages": {NAME: stage}}, file)
    (root / "receipts").mkdir()

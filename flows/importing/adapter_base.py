"""The model that an adapter belongs to: the one that the user names, or the registered one that its files name."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from components.pretrain.parameters import REGISTRY
from core import adapted
from core.errors import InputProblem
from core.workspace import Workspace
from deploy.gateway.local_generation import checked_files
from flows.importing import adapter, sources
from flows.pipeline.parent_model import Parent
from registry.db.database import open as open_registry
from registry.db.schema import IMPORT, Execution, ModelVersion
from registry.errors import UnknownReference
from registry.store.manifests import digest_of


def find(workspace: Workspace, folder: Path, given: str | None) -> Parent:
    """The base of the adapter in ``folder``, its files verified.

    Args:
        given: a registered version (``MODEL[:VERSION|@ALIAS]``) or a model's folder. Without it, the newest imported
            version that has the weights that the adapter's ``base.json`` names, or the origin that its
            ``base_model_name_or_path`` names; that name is never opened.

    Raises:
        InputProblem: there is no such model, or it is an adapter on its base itself.
        RegistryError: its bytes or signatures are not what was recorded.
    """
    if given is not None and sources.is_here(workspace.root, given):
        base = _folder(workspace, given)
    else:
        base = _registered(workspace, given if given is not None else _named(workspace, folder))
    assert base.folder is not None
    if adapted.is_adapted(base.folder):
        raise InputProblem(f"{base.source} is an adapter on its base itself, which is no base for another")
    return base


def _folder(workspace: Workspace, given: str) -> Parent:
    if problems := sources.problems(workspace.root, given):
        raise InputProblem([f"--base: {line}" for line in problems])
    source = str(sources.path_of(workspace.root, given).resolve())
    found = sources.fetch(workspace.home, workspace.root, source, lambda line: None)
    return Parent(source, found.source, digest_of(found.folder, found.names), found.folder, found.names, found)


def _registered(workspace: Workspace, reference: str) -> Parent:
    try:
        version, files, _ = checked_files(workspace, reference)
    except UnknownReference as unknown:
        raise InputProblem(f"--base {reference}: is no folder here, and {unknown}") from None
    names = tuple(sorted(file.relative_to(files).as_posix() for file in files.rglob("*") if file.is_file()))
    return Parent(f"{REGISTRY}{version}", version, digest_of(files), files, names)


def _named(workspace: Workspace, folder: Path) -> str:
    """The version that the adapter's files name."""
    given = adapter.settings(folder)
    weights = adapted.named(folder)
    with open_registry(workspace.registry_url) as registry, registry.read() as session:
        imported = session.scalars(
            select(ModelVersion)
            .join(Execution, Execution.id == ModelVersion.execution_id)
            .where(Execution.stage == IMPORT)
            .order_by(ModelVersion.id.desc())
        )
        for version in imported:
            made = version.execution.parameters
            if made.get("base"):
                continue
            files = made.get("files") or {}
            if weights and all(files.get(name) == digest for name, digest in weights.items()):
                return str(version)
            if not weights and given.base_model_name_or_path and made.get("origin") == given.base_model_name_or_path:
                return str(version)
    name = given.base_model_name_or_path
    raise InputProblem(
        f"{folder}: its base, {name or 'which it does not name'}, was not imported into this registry: import that "
        "first, or name its version or folder with --base"
    )

"""The files of a corpus by a name of it: a folder, a run, a model version or a git revision; nothing is copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core import dvc, dvc_lock
from core.git import git
from core.workspace import Workspace
from registry.db.database import open as open_registry
from registry.errors import MissingBytes, RegistryError, UnknownReference
from registry.integrity.history import resolve
from registry.store.manifests import FolderManifests, digest_of
from registry.store.restore import source_of
from registry.store.snapshot import NAMESPACE

CORPUS, REPORT, TOKENIZED = "data/corpus", "reports/curate", "reports/tokenize"


@dataclass(frozen=True)
class CorpusFiles:
    """Where the bytes of a corpus lie.

    Attributes:
        name: what people call it.
        shards: by their names in the corpus; in DVC's cache they bear others.
        report: files of the report of the stage that made it, by name; none where that is not at hand.
        tokenized: files of the last report of the stage that tokenized it, or another one.
    """

    name: str
    shards: dict[str, Path]
    report: dict[str, Path] = field(default_factory=dict)
    tokenized: dict[str, Path] = field(default_factory=dict)


def find_corpus(workspace: Workspace, name: str | None = None) -> CorpusFiles:
    """The corpus that ``name`` names; without one, that of the workspace as it lies there.

    Looked for in this order: a folder; a run; a model version (MODEL, MODEL:VERSION, MODEL@ALIAS or the start of its
    digest: the corpus of the run that made it); a git revision.

    Raises:
        UnknownReference: it is none of these, or that has no corpus.
        MissingBytes: its files are neither in DVC's cache nor in the workspace.
    """
    if name is None:
        return _in_folder(workspace.root / CORPUS, CORPUS)
    if Path(name).is_dir():
        return _in_folder(Path(name), name)
    commit, where = _commit(workspace, name)
    content = dvc_lock.read_at(workspace.root, commit, "dvc.lock")
    stages = dvc_lock.stages_of(content, f"dvc.lock of {where}") if content else {}
    digests = {path: digest for stage in stages.values() for path, digest in stage.outs.items()}
    if CORPUS not in digests:
        raise UnknownReference(f"{where} has no {CORPUS}: no corpus was made there, or it failed before")
    shards = _kept(workspace, digests[CORPUS], CORPUS, where)
    reports = []
    for path in (REPORT, TOKENIZED):
        try:
            reports.append(_kept(workspace, digests[path], path, where) if path in digests else {})
        except MissingBytes:
            reports.append({})  # the documents can be seen without it
    return CorpusFiles(where, shards, *reports)


def _in_folder(folder: Path, name: str) -> CorpusFiles:
    shards = {file.name: file for file in sorted(folder.glob("*.parquet"))}
    if not shards:
        hint = "run `stemma stage curate`, or name a folder, a run, a version or a git revision"
        raise UnknownReference(f"{name} holds no parquet file; {hint}")
    root = folder.resolve().parent.parent
    if folder.resolve() != root / CORPUS:
        return CorpusFiles(name, shards)
    reports = [root / REPORT, root / TOKENIZED]
    return CorpusFiles(name, shards, *({f.name: f for f in r.iterdir()} if r.is_dir() else {} for r in reports))


def _commit(workspace: Workspace, name: str) -> tuple[str, str]:
    """The commit that ``name`` means, and what it is in words."""
    if run := _revision(workspace.root, f"{NAMESPACE}/{name}"):
        return run, f"run {name}"
    try:
        with open_registry(workspace.registry_url) as registry, registry.read() as session:
            source = source_of(workspace, session, resolve(workspace, session, name))
        return source.commit, f"{source.version} (run {source.run})"
    except UnknownReference as error:
        unknown: RegistryError = error
    if commit := _revision(workspace.root, name):
        return commit, f"git revision {name}"
    raise UnknownReference(
        f"{name!r} is neither a folder, nor a run, a model version or a git revision ({unknown})"
    ) from None


def _revision(root: Path, name: str) -> str:
    return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False)


def _kept(workspace: Workspace, digest: str, path: str, where: str) -> dict[str, Path]:
    """The files of a folder that DVC tracks, from its cache or, if they are the same there, from the workspace."""
    names = FolderManifests(workspace).files(digest, path)
    cache = dvc.cache_folder(workspace.root)
    found = {name: dvc.object_path(cache, md5) for name, md5 in sorted((names or {}).items())}
    if names is not None and all(file.is_file() for file in found.values()):
        return found
    folder = workspace.root / path
    if folder.is_dir() and digest_of(folder) == digest:
        return {file.name: file for file in sorted(folder.iterdir())}
    raise MissingBytes(
        f"the files of {path} of {where} (md5 {digest}) are neither in DVC's cache nor in the workspace: bring them "
        "back with `dvc fetch --all-commits` from a remote that has them"
    )

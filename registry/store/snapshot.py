"""The exact tree of a run as a git commit, made by plumbing: index, working tree and HEAD stay as they were."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from ruamel.yaml.error import YAMLError
from sqlalchemy.orm import Session

from core import bounded
from core.errors import GitError, WorkspaceError
from core.git import git
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.database import open as open_registry
from registry.db.schema import Snapshot
from registry.lineage.recording import find_or_add, record_context
from registry.store import secrets

NAMESPACE = "refs/stemma/runs"
# Kept even where .gitignore leaves them out.
ALWAYS = ("dvc.lock", "dvc.yaml", "params.yaml", "data/raw.dvc", "models/parent.dvc", "receipts", "metrics")
ATTEMPTS = 5
LEFT_OUT = "Left out as a secret: "
LARGE_BYTES = 50_000_000  # untracked files above it belong into DVC; git would copy and keep them


def snapshot(workspace: Workspace, run_name: str, registry: Registry | None = None) -> str:
    """:func:`commit_tree`, recorded in the registry.

    Raises:
        WorkspaceError, GitError: as there.
    """
    commit = commit_tree(workspace, run_name)
    with contextlib.nullcontext(registry) if registry else open_registry(workspace.registry_url) as opened:
        with opened.write() as session:
            record_snapshot(session, run_name, commit)
    return commit


def commit_tree(workspace: Workspace, run_name: str) -> str:
    """Commit the workspace's tree, uncommitted edits included, as ``refs/stemma/runs/<run_name>``.

    What ``.gitignore`` leaves out stays out, except ``dvc.lock``, receipts and metrics; so do the home (it holds
    keys), large untracked files (see :func:`large_untracked`) and untracked files that hold secrets, which the
    commit's message names (:func:`secrets_left_out`). A snapshot of the same name with another tree becomes a parent
    of the new one, so nothing that was ever kept is lost.

    Returns:
        The commit's sha.

    Raises:
        WorkspaceError: the name cannot be a git reference.
        GitError: git failed.
    """
    ref = f"{NAMESPACE}/{run_name}"
    if not git(workspace.root, "check-ref-format", "--normalize", ref, check=False):
        raise WorkspaceError(f"{run_name!r} cannot name a run: use letters, digits, '-', '_' and '.'")
    tree, hidden = _settled_tree(workspace)
    message = _message(run_name, hidden)
    for attempt in range(ATTEMPTS):
        existing = git(workspace.root, "rev-parse", "--verify", "--quiet", ref, check=False)
        if existing and _holds(workspace.root, existing, tree, message):
            commit = existing
            break
        commit = _commit(workspace.root, tree, message, existing)
        try:
            git(workspace.root, "update-ref", "-m", f"stemma: {run_name}", ref, commit, existing or "0" * 40)
            break
        except GitError:  # another process made the reference meanwhile
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.05 * (attempt + 1))
    return commit


def record_snapshot(session: Session, run_name: str, commit: str) -> None:
    """Note the commit that holds a run's tree."""
    context, ref = record_context(session, run_name), f"{NAMESPACE}/{run_name}"
    row, new = find_or_add(
        session, Snapshot, {"context_id": context.id}, ref=ref, commit_sha=commit, created=time.time()
    )
    if not new:
        row.commit_sha = commit


def secrets_left_out(root: Path, commit: str) -> list[str]:
    """What a snapshot left out as secrets, and the rule that found each, a line each; as its message has it."""
    lines = git(root, "log", "-1", "--format=%B", commit, check=False).splitlines()
    return [line.removeprefix(LEFT_OUT) for line in lines if line.startswith(LEFT_OUT)]


def left_out_words(lines: list[str]) -> str:
    """The same for people."""
    return (
        f"left out of the snapshot, because they look like secrets: {', '.join(lines)}; name them in .gitignore, or if "
        "one is none and belongs to the run, `git add` it"
    )


def large_untracked(root: Path) -> list[str]:
    """Files of the repository that snapshots leave out, by path from its top: untracked, not ignored, and large."""
    return _large(*_untracked(root))


def _large(top: Path, names: list[str]) -> list[str]:
    return [name for name in names if (top / name).is_file() and (top / name).stat().st_size > LARGE_BYTES]


def _untracked(root: Path) -> tuple[Path, list[str]]:
    """(top of the repository, paths from it of what git neither tracks nor ignores)"""
    top = Path(git(root, "rev-parse", "--show-toplevel"))
    names = git(top, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return top, [name for name in names if name]


def not_kept(root: Path) -> list[str]:
    """The :func:`large_untracked` files of which DVC has no copy either: a restored run would lack them.

    A folder that ``pretrain.init`` names was copied to ``models/parent``, which DVC keeps.
    """
    top = Path(git(root, "rev-parse", "--show-toplevel"))
    parent = _parent_model(root)
    return [name for name in large_untracked(root) if parent is None or not _same(top / name, parent, root)]


def _parent_model(root: Path) -> Path | None:
    """The folder that ``models/parent`` was copied from; ``None`` where it came from elsewhere."""
    try:
        body = bounded.yaml((root / "models" / "parent.dvc").read_bytes(), fast=True)
        return (root / str(body["meta"]["init"])).resolve()
    except (OSError, YAMLError, KeyError, TypeError):
        return None


def _same(file: Path, parent: Path, root: Path) -> bool:
    if not file.resolve().is_relative_to(parent):
        return False
    copy = root / "models" / "parent" / file.resolve().relative_to(parent)
    return copy.is_file() and copy.stat().st_size == file.stat().st_size


def _settled_tree(workspace: Workspace) -> tuple[str, dict[str, str]]:
    """The tree, and the secrets that it lacks.

    Read again where files came, went or grew meanwhile: others may be at work in it.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return _tree(workspace)
        except GitError:
            time.sleep(0.2 * attempt)
    return _tree(workspace)


def _tree(workspace: Workspace) -> tuple[str, dict[str, str]]:
    root = workspace.root
    top, untracked = _untracked(root)
    large = _large(top, untracked)
    hidden = secrets.find(top, [name for name in untracked if name not in large])
    left_out = [*large, *hidden]
    home = workspace.home
    if home.is_relative_to(top) and not git(top, "check-ignore", str(home), check=False):
        left_out.append(home.relative_to(top).as_posix())
        untracked = [name for name in untracked if not (top / name).is_relative_to(home)]
    added = [name for name in untracked if name not in left_out]
    with tempfile.TemporaryDirectory(prefix="stemma-index-") as folder:
        index = Path(folder) / "index"
        current = Path(git(top, "rev-parse", "--path-format=absolute", "--git-path", "index"))
        if current.exists():
            shutil.copy2(current, index)  # so that git need not hash files it knows
        env = {**os.environ, "GIT_INDEX_FILE": str(index)}
        excluded = [f":(top,exclude,literal){name}" for name in left_out]
        git(top, "add", "--update", ".", *excluded, env=env)
        # By their names: what came since they were looked for secrets is not among them.
        by_name = ("--literal-pathspecs", "add", "--pathspec-from-file=-", "--pathspec-file-nul")
        git(top, *by_name, env=env, text="\0".join(added))
        kept = [
            name
            for name in ALWAYS
            if (root / name).exists() and any([(root / name).is_file(), _has_files(root / name)])
        ]
        if kept:
            git(root, "add", "--force", "--", *kept, *excluded, env=env)
        return git(top, "write-tree", env=env), hidden


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _message(run_name: str, hidden: dict[str, str]) -> str:
    lines = [f"{LEFT_OUT}{name} ({rule})" for name, rule in sorted(hidden.items())]
    return "\n".join([f"Snapshot of pipeline run {run_name}", *([""] if lines else []), *lines])


def _holds(root: Path, commit: str, tree: str, message: str) -> bool:
    """Whether a commit is of this tree, and says the same of what it lacks."""
    return git(root, "log", "-1", "--format=%T%n%B", commit) == f"{tree}\n{message}"


def _commit(root: Path, tree: str, message: str, existing: str) -> str:
    head = git(root, "rev-parse", "--verify", "--quiet", "HEAD", check=False)
    parents = [argument for parent in dict.fromkeys((head, existing)) if parent for argument in ("-p", parent)]
    env = dict(os.environ)
    for role in ("AUTHOR", "COMMITTER"):  # a machine may have no git identity at all
        env.setdefault(f"GIT_{role}_NAME", git(root, "config", "user.name", check=False) or "stemma")
        env.setdefault(f"GIT_{role}_EMAIL", git(root, "config", "user.email", check=False) or "stemma@localhost")
    return git(root, "commit-tree", tree, *parents, "-m", message, env=env)

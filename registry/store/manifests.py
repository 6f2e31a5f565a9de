"""DVC's digests of files and folders, and the files that a folder held.

A file's digest is its md5; a folder's is that of its manifest (see :mod:`core.manifests`), so verifying a folder
verifies names and bytes at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from core import dvc, manifests
from core.dvc_lock import EMPTY_FOLDER
from core.manifests import FOLDER, ManifestRefused
from core.workspace import Workspace
from registry.errors import InvalidBytes


class FolderManifests:
    """Files of folders by the folder's digest: from DVC's cache, else from the workspace as it lies there now."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    @cached_property
    def _cache(self) -> Path:
        return dvc.cache_folder(self.workspace.root)

    def files(self, digest: str, path: str) -> dict[str, str] | None:
        """md5 of every file by its path in the folder; ``None`` where the manifest is not at hand.

        Args:
            digest: the folder's md5; that of a single file gives that file, by the name "".
            path: where the folder lies in the workspace.

        Raises:
            InvalidBytes: the cache's manifest is damaged, or names places outside the folder.
        """
        if not digest.endswith(FOLDER):
            return {"": digest}
        if digest == EMPTY_FOLDER:  # which DVC may never have kept: a stage that reads an empty folder lists nothing
            return {}
        try:
            return read_manifest(self._cache, digest)
        except FileNotFoundError:
            return self._of_workspace(digest, path)

    def _of_workspace(self, digest: str, path: str) -> dict[str, str] | None:
        """A folder that DVC does not keep still has its files in the workspace, if they were not changed."""
        folder = self.workspace.root / path
        files = {file.relative_to(folder).as_posix(): md5_of(file) for file in folder.rglob("*") if file.is_file()}
        return files if manifest_digest(files) == digest else None


def read_manifest(cache: Path, digest: str) -> dict[str, str]:
    """md5 of every file of a folder by its path in it, from the manifest in ``cache``.

    Raises:
        FileNotFoundError: it is not there.
        InvalidBytes: it is damaged, or names places outside the folder.
    """
    path = dvc.object_path(cache, digest)
    try:
        return manifests.read(path.read_bytes(), digest)
    except ManifestRefused as refused:
        raise InvalidBytes(
            f"{refused} ({path}); delete it, and bring it back with `dvc fetch` from a remote that you trust"
        ) from None


def md5_of(file: Path) -> str:
    """md5 of a file's content, as DVC names it."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest_of(path: Path, names: Iterable[str] | None = None) -> str:
    """DVC's digest of a file or folder; of a folder with none but the files called ``names``, where they are given."""
    if path.is_file():
        return md5_of(path)
    if names is None:
        names = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return manifest_digest({name: md5_of(path / name) for name in names})


def manifest_digest(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder with these files, md5 by path."""
    entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]  # the form that DVC hashes
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + FOLDER

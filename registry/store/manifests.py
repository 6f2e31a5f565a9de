"""Which files a folder held: DVC's manifests, which list path and md5 of every file of a folder it keeps."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path

from core import dvc
from core.workspace import Workspace
from registry.errors import InvalidBytes

FOLDER = ".dir"  # how the digest of a folder ends


class Listings:
    """Files of folders by the folder's digest: from DVC's cache, else from the workspace as it lies there now."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace

    @cached_property
    def _cache(self) -> Path:
        return dvc.cache_folder(self.workspace.root)

    def of(self, digest: str, path: str) -> dict[str, str] | None:
        """md5 of every file by its path in the folder; ``None`` where the manifest is not at hand.

        Args:
            digest: the folder's md5; that of a single file gives that file, by the name "".
            path: where the folder lies in the workspace.

        Raises:
            InvalidBytes: the cache's manifest is damaged.
        """
        if not digest.endswith(FOLDER):
            return {"": digest}
        manifest = dvc.object_path(self._cache, digest)
        try:
            content = manifest.read_bytes()
        except FileNotFoundError:
            return self._of_workspace(digest, path)
        if hashlib.md5(content, usedforsecurity=False).hexdigest() + FOLDER != digest:
            raise InvalidBytes(
                f"{manifest} is damaged: its md5 is not its name; delete it and run `dvc fetch {path}` to get it again"
            )
        return {entry["relpath"]: entry["md5"] for entry in json.loads(content)}

    def _of_workspace(self, digest: str, path: str) -> dict[str, str] | None:
        """A folder that DVC was never asked to keep still has its files, if nobody changed them."""
        folder = self.workspace.root / path
        files = {file.relative_to(folder).as_posix(): md5_of(file) for file in folder.rglob("*") if file.is_file()}
        entries = [{"md5": files[name], "relpath": name} for name in sorted(files)]  # the form that DVC hashes
        known = hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + FOLDER
        return files if known == digest else None


def md5_of(file: Path) -> str:
    """md5 of a file's content, as DVC names it."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

"""Where things lie: the workspace (the folder of ``dvc.yaml``) and the home that all of its worktrees share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from core import layout
from core.errors import WorkspaceError
from core.git import common_folder

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


@dataclass(frozen=True)
class Workspace:
    """A folder with ``dvc.yaml`` in a git repository.

    Attributes:
        root: folder of ``dvc.yaml``.
        home: databases, keys, scratch: ``STEMMA_HOME``, or ``.stemma`` beside the common git folder. Its paths are in
            :mod:`core.layout`.
    """

    root: Path
    home: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The workspace that holds ``start`` (the current directory), looking upward.

        Raises:
            WorkspaceError: no ``dvc.yaml`` at or above ``start``, or it is not in a git repository.
        """
        root = find_root(start)
        common = common_folder(root)
        configured = os.environ.get("STEMMA_HOME")
        home = Path(configured).expanduser().resolve() if configured else common.parent / ".stemma"
        return cls(root, home)

    @property
    def registry_url(self) -> str:
        """``STEMMA_REGISTRY_URL`` (SQLite or PostgreSQL), or SQLite in the home."""
        return os.environ.get("STEMMA_REGISTRY_URL") or sqlite_url(layout.registry_database(self.home))

    @property
    def mlflow_uri(self) -> str:
        """``MLFLOW_TRACKING_URI``, or SQLite in the home."""
        return mlflow_uri(self.home)


def mlflow_uri(home: Path) -> str:
    """``MLFLOW_TRACKING_URI``, or SQLite in the home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(layout.mlflow_database(home))


def find_root(start: Path | None = None) -> Path:
    """The nearest folder that holds ``dvc.yaml``, from ``start`` (the current directory) upward.

    Raises:
        WorkspaceError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise WorkspaceError(
        f"{start}: no dvc.yaml here or above; go into a Stemma workspace (a clone of the project) and try again"
    )


def sqlite_url(path: Path) -> str:
    """The SQLAlchemy URL of an SQLite file, whatever signs its path holds.

    A ``?`` would begin the URL's options, so such a path is given as SQLite's own ``file:`` address
    (https://www.sqlite.org/uri.html), which has a way to spell it.
    """
    if "?" not in str(path):
        return f"sqlite:///{path}"
    return f"sqlite:///file:{quote(str(path))}?uri=true"


def sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite database; ``None`` for one in memory."""
    if not url.database or url.database == ":memory:":
        return None
    if url.database.startswith("file:"):
        return Path(unquote(url.database.removeprefix("file:")))
    return Path(url.database)

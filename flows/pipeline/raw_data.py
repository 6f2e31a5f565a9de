"""``data/raw``: the user's own files, versioned by DVC like everything that is made from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core import dvc

RAW = Path("data/raw")


def is_versioned(root: Path, changed: Mapping[str, object]) -> bool:
    """True when DVC keeps the files as they are now; ``changed`` is what ``dvc status`` says."""
    return (root / f"{RAW}.dvc").is_file() and f"{RAW}.dvc" not in changed


def ensure(root: Path, changed: Mapping[str, object]) -> str | None:
    """Make sure that the folder is there and that what it holds is versioned; says what was done, if anything.

    ``dvc.yaml`` names the folder as a dependency of the first stage, so it must be there, empty or not.

    Args:
        changed: what ``dvc status`` says has changed.

    Raises:
        dvc.DvcError: DVC cannot add the files.
    """
    folder, pointer = root / RAW, root / f"{RAW}.dvc"
    if not folder.is_dir():
        if pointer.is_file():
            dvc.run(root, "checkout", str(pointer.relative_to(root)))
            return f"{RAW}: checked out from DVC's cache"
        folder.mkdir(parents=True)
        return f"{RAW}: made the folder; your own files go there"
    if is_versioned(root, changed):
        return None
    if not pointer.is_file() and not any(folder.iterdir()):
        return None
    dvc.run(root, "add", "--quiet", str(RAW))
    count = sum(1 for file in folder.rglob("*") if file.is_file())
    return f"{RAW}: versioned by `dvc add` ({count} file{'' if count == 1 else 's'}); commit {RAW}.dvc with your code"

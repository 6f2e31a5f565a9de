"""``data/raw``: the user's own files, versioned by DVC like everything that is made from them."""

from __future__ import annotations

from pathlib import Path

from flows import dvc

RAW = Path("data/raw")


def ensure(root: Path) -> str | None:
    """Make sure that the folder is there and that what it holds is versioned; says what was done, if anything.

    ``dvc.yaml`` names the folder as a dependency of the first stage, so it must be there, empty or not.

    Raises:
        dvc.DvcError: DVC cannot add the files.
    """
    folder, pointer = root / RAW, root / f"{RAW}.dvc"
    if not folder.is_dir():
        if pointer.is_file():
            dvc.run(root, "checkout", str(pointer.relative_to(root)))
            return f"{RAW}: checked out from DVC's cache"
        folder.mkdir(parents=True)
        return None
    if not any(folder.iterdir()) and not pointer.is_file():
        return None
    if pointer.is_file() and not dvc.status(root, str(pointer.relative_to(root))):
        return None
    dvc.run(root, "add", "--quiet", str(RAW))
    count = sum(1 for file in folder.rglob("*") if file.is_file())
    return f"{RAW}: versioned by `dvc add` ({count} file{'' if count == 1 else 's'}); commit {RAW}.dvc with your code"

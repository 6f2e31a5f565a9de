"""``data/raw``: the user's own files, versioned by DVC like everything that is made from them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from components.curate.files.user_files import links_outside
from core import dvc, parameters_file
from core.errors import InputProblem

RAW = Path("data/raw")
_SHOWN = 10
_NONE: Mapping[str, Any] = MappingProxyType({})


def is_versioned(root: Path, changed: Mapping[str, object]) -> bool:
    """True when DVC keeps the files as they are now; ``changed`` is what ``dvc status`` says."""
    return (root / f"{RAW}.dvc").is_file() and f"{RAW}.dvc" not in changed


def refused_by_dvc(root: Path) -> list[str]:
    """Entries of the folder that DVC cannot version, each by name and with what to do."""
    found: list[str] = []
    for folder, folders, files in os.walk(root / RAW):
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            if wrong := _refused(path):
                shown = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
                found.append(f"{shown}: {wrong}")
    more = len(found) - _SHOWN
    return found if more <= 0 else [*found[:_SHOWN], f"{RAW}: {more} more files that DVC cannot version"]


def _refused(path: Path) -> str | None:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, which DVC cannot version: rename it"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return f"a link to {os.readlink(path)}, which cannot be opened ({error.strerror}): remove or correct it"
        return f"cannot be read ({error.strerror}): change its permissions, or remove it"
    if path.name == ".dvcignore":
        return "DVC takes no .dvcignore within a versioned folder: remove it"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is neither a file nor a folder: remove it"
    if not os.access(path, os.R_OK):
        return "cannot be read (permission denied): change its permissions, or remove it"
    return None


def refuse(root: Path, overrides: Mapping[str, Any]) -> None:
    """Refuse what DVC cannot version, and links that lead out of the folder: DVC would keep what they lead to.

    Args:
        overrides: of parameters, for this run.

    Raises:
        InputProblem: all of it.
    """
    refused = refused_by_dvc(root)
    allowed = overrides.get("curate.outside_links")
    with contextlib.suppress(InputProblem, KeyError, AttributeError):  # of parameters that cannot be read others speak
        if allowed is None:
            allowed = parameters_file.read(root / "params.yaml")["curate"].get("outside_links")
    if allowed is not True:
        known = {line.partition(":")[0] for line in refused}
        refused += [line for line in links_outside(root) if line.partition(":")[0] not in known]
    if refused:
        raise InputProblem(refused)


def ensure(
    root: Path, changed: Mapping[str, object], overrides: Mapping[str, Any] = MappingProxyType({})
) -> str | None:
    """Make sure that the folder is there and that what it holds is versioned; says what was done, if anything.

    ``dvc.yaml`` names the folder as a dependency of the first stage, so it must be there, empty or not.

    Args:
        changed: what ``dvc status`` says has changed.
        overrides: of parameters, for this run.

    Raises:
        InputProblem: the folder holds what DVC cannot version, or a link that leads out of it.
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
    refuse(root, overrides)
    dvc.run(root, "add", "--quiet", str(RAW))
    count = sum(1 for file in folder.rglob("*") if file.is_file())
    return f"{RAW}: versioned by `dvc add` ({count} file{'' if count == 1 else 's'}); commit {RAW}.dvc with your code"

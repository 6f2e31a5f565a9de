"""Taking files into ``data/raw``: copied whole, versioned by DVC, so that whatever is made of them can be traced."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from core import dvc
from core.errors import InputProblem
from core.workspace import Workspace
from flows.pipeline import raw_data
from flows.pipeline.raw_data import RAW
from flows.retraining.sources import RawFile, below, copy_in
from registry.store.manifests import md5_of


@dataclass
class Taken:
    """What was done.

    Attributes:
        names: workspace-relative paths of the files whose content is new here.
        lines: the same in words.
    """

    names: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def take_in(workspace: Workspace, files: Sequence[RawFile], say: Callable[[str], None]) -> None:
    """Copy files into ``data/raw`` of the user's own tree and version it: the one place where raw data lives.

    Raises:
        InputProblem: a file is still being written.
        DvcError: DVC cannot add the files.
    """
    changed = dvc.status(workspace.root)
    if told := raw_data.ensure(workspace.root, changed):  # what a copy may replace is in DVC's cache first
        say(told)
    if files:
        copy_in(workspace.root, files)
        if told := raw_data.ensure(workspace.root, {f"{RAW}.dvc": []}):
            say(told)


def add(workspace: Workspace, paths: Iterable[Path], into: str = "") -> Taken:
    """Take the files of a command line in; what lies in ``data/raw`` already is only versioned.

    Args:
        into: folder below ``data/raw``.

    Raises:
        InputProblem: every path that cannot be taken; nothing was changed.
        DvcError: DVC cannot add the files.
    """
    raw = workspace.root / RAW
    folder, problems = PurePosixPath(into), []
    if folder.is_absolute() or ".." in folder.parts:
        problems.append(f"--into {into}: must be a folder below {RAW}")
    files: dict[str, RawFile] = {}
    inside = []
    for given in paths:
        path = Path(os.path.abspath(given))  # links stay links: what they lead to is copied
        if path.is_relative_to(raw):
            inside.append(path)
            problems += [] if path.exists() else [f"{given}: there is no such file"]
            continue
        try:
            found = list(below(path)) if path.is_dir() else [path]
            for file in found:
                name = (folder / (file.relative_to(path.parent))).as_posix()
                if name in files:
                    problems.append(f"{given}: {RAW}/{name} is also the place of {files[name].path}; use --into")
                files[name] = RawFile(file, name, md5_of(file))
            if not found:
                problems.append(f"{given}: holds no file")
        except OSError as error:
            problems.append(f"{given}: {error.strerror or error}")
    if problems:
        raise InputProblem(problems)
    taken = Taken()
    before = {name: md5_of(raw / name) for name in files if (raw / name).is_file()}
    new = [file for file in files.values() if before.get(file.name) != file.md5]
    pointer = workspace.root / f"{RAW}.dvc"
    earlier = pointer.read_bytes() if pointer.is_file() else b""
    take_in(workspace, new, taken.lines.append)
    taken.names = [f"{RAW}/{file.name}" for file in new]
    if inside and pointer.is_file() and pointer.read_bytes() != earlier:
        taken.names += [path.relative_to(workspace.root).as_posix() for path in inside]
    if not taken.names:
        taken.lines.append(f"nothing changed: {RAW} holds this already")
    return taken

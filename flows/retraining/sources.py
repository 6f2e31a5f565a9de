"""Raw data: the places that are looked at for it, and taking files into ``data/raw``, where DVC versions them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from core import dvc
from core.errors import InputProblem
from core.files import replacing
from core.workspace import Workspace
from flows.pipeline import raw_data
from flows.pipeline.raw_data import RAW
from flows.retraining.parameters import PolledSource
from registry.store.manifests import md5_of

_SIGNS = frozenset("*?[")


@dataclass(frozen=True)
class RawFile:
    """A file as it lies now, and where in ``data/raw`` it belongs.

    Attributes:
        path: the file itself.
        name: its path in ``data/raw``.
        md5: of its content, as DVC names it.
    """

    path: Path
    name: str
    md5: str


@dataclass
class Seen:
    """Every file that there is now.

    Attributes:
        files: by its path in ``data/raw``; a polled file stands before the copy that was ingested of it earlier.
        outside: those of them that ``data/raw`` has not, or not with this content.
        busy: names of files that changed while they were read.
    """

    files: dict[str, RawFile] = field(default_factory=dict)
    outside: list[RawFile] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)

    def take(self, path: Path, name: str) -> RawFile | None:
        if (before := _state(path)) is not None:
            file = RawFile(path, name, md5_of(path))
            if _state(path) == before:
                self.files[name] = file
                return file
        self.busy.append(name)
        return None


def look(root: Path, sources: Iterable[PolledSource]) -> Seen:
    """Every file of ``data/raw``, and of the polled sources where they would lie in it; each is read once.

    Raises:
        InputProblem: every source that is not there, or cannot be read.
    """
    seen, problems = Seen(), []
    for path in below(root / RAW, links=True):  # DVC can be configured to link files to its cache
        seen.take(path, path.relative_to(root / RAW).as_posix())
    here = {name: file.md5 for name, file in seen.files.items()}
    for number, source in enumerate(sources):
        top, pattern = place_of(root, source)
        try:
            for path in _files(top, pattern):
                # A single file, or a folder's: its path from there on.
                place = path.name if path == top else path.relative_to(top).as_posix()
                file = seen.take(path, f"{source.into}/{place}")
                if file is not None and here.get(file.name) != file.md5:
                    seen.outside.append(file)
        except OSError as error:
            problems.append(f"params.yaml: retrain.sources.{number}.path: {source.path}: {error.strerror or error}")
    if problems:
        raise InputProblem(problems)
    return seen


def place_of(root: Path, source: PolledSource) -> tuple[Path, tuple[str, ...]]:
    """The folder (or file) of a source, and the glob below it, in parts; without a glob all files count."""
    parts = Path(source.path).expanduser().parts
    fixed = next((index for index, part in enumerate(parts) if _SIGNS & set(part)), len(parts))
    return root.joinpath(*parts[:fixed]), parts[fixed:]


def copy_in(root: Path, files: Iterable[RawFile]) -> None:
    """Copy files into ``data/raw``, each whole or not at all.

    Raises:
        InputProblem: a file changed since it was looked at, so it is still being written.
    """
    for file in files:
        with replacing(root / RAW / file.name) as copy, open(file.path, "rb") as source:
            digest = hashlib.md5(usedforsecurity=False)
            while block := source.read(1 << 20):
                copy.write(block)
                digest.update(block)
            if digest.hexdigest() != file.md5:
                raise InputProblem(f"{file.path}: is being written; write it under another name and rename it")


@dataclass
class Ingested:
    """What was done.

    Attributes:
        names: workspace-relative paths of the files whose content is new here.
        lines: the same in words.
    """

    names: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def ingest(workspace: Workspace, files: Sequence[RawFile], say: Callable[[str], None]) -> None:
    """Copy files into ``data/raw`` of the user's own tree and version it: the one place where raw data lives.

    Raises:
        InputProblem: a file is still being written.
        DvcError: DVC cannot add the files.
    """
    changed = dvc.status(workspace.root)
    if done := raw_data.ensure(workspace.root, changed):  # what a copy may replace is in DVC's cache first
        say(done)
    if files:
        copy_in(workspace.root, files)
        if done := raw_data.ensure(workspace.root, {f"{RAW}.dvc": []}):
            say(done)


def add(workspace: Workspace, paths: Iterable[Path], into: str = "") -> Ingested:
    """Take the files of a command line in; what lies in ``data/raw`` already is only versioned.

    Args:
        into: folder below ``data/raw``.

    Raises:
        InputProblem: every path that cannot be ingested; nothing was changed.
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
    ingested = Ingested()
    before = {name: md5_of(raw / name) for name in files if (raw / name).is_file()}
    new = [file for file in files.values() if before.get(file.name) != file.md5]
    pointer = workspace.root / f"{RAW}.dvc"
    earlier = pointer.read_bytes() if pointer.is_file() else b""
    ingest(workspace, new, ingested.lines.append)
    ingested.names = [f"{RAW}/{file.name}" for file in new]
    if inside and pointer.is_file() and pointer.read_bytes() != earlier:
        ingested.names += [path.relative_to(workspace.root).as_posix() for path in inside]
    if not ingested.names:
        ingested.lines.append(f"nothing changed: {RAW} holds this already")
    return ingested


def below(folder: Path, links: bool = False) -> Iterator[Path]:
    """Every file below a folder, sorted; hidden ones are other tools'. Links are left out unless ``links`` is set."""
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.name.startswith(".") or entry.name.endswith(".partial"):
            continue
        if entry.is_dir(follow_symlinks=links):
            yield from below(Path(entry.path), links)
        elif entry.is_file(follow_symlinks=links):
            yield Path(entry.path)


def matches(name: str, pattern: str) -> bool:
    """Whether a workspace-relative path is named by a glob in which ``**`` crosses folders and ``*`` does not."""
    return _match(PurePosixPath(name).parts, PurePosixPath(pattern).parts)


def _match(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_match(parts[skipped:], pattern[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _match(parts[1:], pattern[1:])


def _files(top: Path, pattern: tuple[str, ...]) -> Iterator[Path]:
    top.stat()  # fails for a missing folder, or one that may not be read
    if top.is_file():
        yield top
        return
    os.scandir(top).close()
    for path in below(top):
        if not pattern or _match(path.relative_to(top).parts, pattern):
            yield path


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns

"""The user's files under data/raw: which ones the parameters name, by names alone.

All of curation finds files through here, so that a format, a compression or a hidden file is the same thing in a
corpus, in instructions and in labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO

from components.curate.files import pdf, source_code
from components.curate.parameters import CurateParameters
from components.tasks.contract import SPLITS
from core import bounded, dvc
from core.bounded import Allowance
from core.errors import DvcError

RAW = "data/raw"
TABLES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
"""Format by suffix, of files that hold rows."""
DOCUMENTS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".html": "html",
    ".htm": "html",
    ".warc": "warc",
    ".wet": "warc",
    ".pdf": "pdf",
    ".zip": "archive",
    ".tar": "archive",
    ".tgz": "archive",
    **dict.fromkeys(source_code.LANGUAGES, "code"),
    **TABLES,
}
"""Format by suffix, of files that a corpus can be made of."""
BENCHMARKS = {".txt": "text", ".text": "text", ".md": "text", ".markdown": "text", **TABLES}
"""Format by suffix, of files that training texts are compared with."""
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
_SHOWN = 10


@dataclass(frozen=True)
class UserFile:
    """A user's file, or a piece of one.

    Attributes:
        name: as the user knows it, relative to the workspace.
        format: one of the values of :data:`DOCUMENTS`.
        start, stop: the piece: bytes of a jsonl, csv or tsv file, from the start of a row to the end of one, or of a
            web archive, from the start of a record, or of an archive, from the start of a member (of compressed tables
            and tar archives as unpacked), or row groups of a parquet file; without ``stop`` to its end.
        first: number of the first row in it.
        url: where it is, for a file that is elsewhere; ``path`` is then its name until it is fetched.
        size, mark: of such a file, as its store says: bytes, and what changes with its content.
        content: of a member of an archive; ``path`` is then its name in it, ``allowance`` what may be unpacked of
            the archive, or of the piece of it, and ``archive`` its name.
    """

    name: str
    path: Path
    format: str
    start: int = 0
    stop: int | None = None
    first: int = 1
    url: str | None = None
    size: int | None = None
    mark: str | None = None
    content: bytes | None = field(default=None, repr=False)
    allowance: Allowance | None = field(default=None, repr=False, compare=False)
    archive: str | None = None

    @property
    def counted(self) -> str:
        """The name under which its rows are counted: those of all members of an archive are together."""
        return self.name if self.archive is None else f"{self.archive} (rows of its members)"

    def place(self, where: str) -> str:
        """A place in it, as it is listed under that name."""
        return where if self.archive is None else f"{self.name[len(self.archive) + 1 :]}, {where}"

    def opened(self) -> IO[bytes]:
        """Its content as a stream, unpacked. Raises OSError, OutOfBounds (while it is read)."""
        return bounded.unpacked(self.path if self.content is None else self.content, self.path.suffix, self.allowance)


def is_url(pattern: str) -> bool:
    """Whether a pattern names files elsewhere (:mod:`components.curate.files.remote`)."""
    return "://" in pattern


def problems(parameters: CurateParameters, workspace: Path) -> list[str]:
    """What parameters and the names of files alone show to be wrong, before anything is read."""
    if not (workspace / RAW).is_dir() and (workspace / f"{RAW}.dvc").is_file():
        return []  # the files are still in DVC's cache
    found: list[str] = [] if parameters.outside_links else links_outside(workspace)
    for source in parameters.sources:
        if source.type != "python_docs" and source.extractor == "trafilatura" and find_spec("trafilatura") is None:
            found.append("curate.sources: extractor trafilatura is not installed: pip install 'stemma-llm[html]'")
        if source.type == "files":
            local = [pattern for pattern in source.paths if not is_url(pattern)]
            files, wrong = find(local, "curate.sources", workspace, DOCUMENTS)
            found += [*wrong, *pdf_problems(files)]
        elif source.type == "huggingface" and source.id.startswith((".", "/", "data/")):
            if not (workspace / source.id).is_dir():
                found.append(f"curate.sources: there is no folder {source.id!r}: check the path, or give a dataset id")
    found += find_shards(parameters.split.held_out, "curate.split.held_out", workspace)[1]
    found += find_shards(parameters.deduplication.against, "curate.deduplication.against", workspace)[1]
    found += find(parameters.decontamination.against, "curate.decontamination.against", workspace, BENCHMARKS)[1]
    if parameters.instructions.source == "files":
        for split in SPLITS:
            patterns = getattr(parameters.instructions.files, split)
            found += find(patterns, f"curate.instructions.files.{split}", workspace)[1]
    if parameters.labels.source == "files":
        found += find(parameters.labels.files, "curate.labels.files", workspace)[1]
    return list(dict.fromkeys(found))  # a file may be named twice


def pdf_problems(files: Iterable[UserFile]) -> list[str]:
    """Why the PDF files among these cannot be read here."""
    reason = pdf.why_not() if any(file.format == "pdf" for file in files) else None
    return [] if reason is None else [f"curate.sources: {reason}"]


def links_outside(workspace: Path) -> list[str]:
    """Links in data/raw that lead out of it, each with what to do: what they lead to would be read, kept and learnt.

    Those into DVC's own cache stay: DVC may keep the folder's files as such links.
    """
    inside, cache = (workspace / RAW).resolve(), _cache(workspace)
    found = []
    for folder, folders, files in os.walk(workspace / RAW):
        for path in (Path(folder, name) for name in sorted([*folders, *files])):
            if not path.is_symlink():
                continue
            target = Path(os.path.realpath(path))
            if not any(target.is_relative_to(place) for place in (inside, *cache)):
                name = shown(path.relative_to(workspace).as_posix())
                found.append(
                    f"{name}: is a link to {shown(str(target))}, outside {RAW}: put the file itself there, or set "
                    "curate.outside_links to true if every such link is yours"
                )
    more = len(found) - _SHOWN
    return found if more <= 0 else [*found[:_SHOWN], f"{RAW}: {more} more links lead out of it"]


def _cache(workspace: Path) -> list[Path]:
    try:
        return [dvc.cache_folder(workspace)]
    except DvcError:  # without DVC there are no links of its own
        return []


def find_shards(patterns: Iterable[str], parameter: str, workspace: Path) -> tuple[list[UserFile], list[str]]:
    """Shards of an earlier corpus, and the problems with the globs."""
    return find(patterns, parameter, workspace, {".parquet": "parquet"}, packed=())


def find(
    patterns: Iterable[str],
    parameter: str,
    workspace: Path,
    formats: Mapping[str, str] = TABLES,
    packed: Sequence[str] = COMPRESSIONS,
) -> tuple[list[UserFile], list[str]]:
    """Files that the globs name, sorted and each once, and the problems with the globs.

    Hidden files (names that begin with a dot: .gitignore, what macOS and editors leave beside the data) are left out,
    unless a pattern names them.

    Args:
        parameter: where the patterns come from, for the messages.
        formats: format by suffix.
        packed: suffixes of the compressions that may follow.
    """
    found: dict[str, UserFile] = {}
    problems: list[str] = []
    for pattern in patterns:
        parts = PurePosixPath(pattern).parts
        if parts[:2] != ("data", "raw") or ".." in parts:
            problems.append(
                f"{parameter}: {pattern!r} is not under {RAW}/, where changes are tracked: copy the files "
                f"there and write {RAW}/..."
            )
            continue
        matches = [path for path in workspace.glob(pattern) if not path.is_dir()]
        names = {path: path.relative_to(workspace) for path in sorted(matches)}
        seen = {path: name for path, name in names.items() if not _is_hidden(name, parts)}
        for path in [path for path in seen if not path.is_file()]:
            what = "is a link that leads to no file" if path.is_symlink() else "is no regular file"
            problems.append(f"{shown(seen.pop(path).as_posix())}: {what}: remove it")
        if not seen:
            what = "no file matches" if any(sign in pattern for sign in "*?[") else "there is no file"
            problems.append(f"{parameter}: {what} {pattern!r} (looked in {RAW}/): check the name, or add the file")
        for path, name in seen.items():
            label = shown(name.as_posix())
            kind = format_of(path, formats, packed)
            if kind is not None:
                found[label] = UserFile(label, path, kind)
            else:
                problems.append(unknown_kind(label, formats, packed))
    return sorted(found.values(), key=lambda file: file.path), problems


def unknown_kind(name: str, formats: Mapping[str, str], packed: Sequence[str]) -> str:
    """The problem of a file of another kind."""
    known = ", ".join(sorted(suffix[1:] for suffix, kind in formats.items() if kind != "code"))
    code = " and source code" if "code" in formats.values() else ""
    also = f", each also as {', '.join(suffix[1:] for suffix in packed)}" if packed else ""
    return f"{name}: unknown kind of file; supported are {known}{code}{also}"


def format_of(path: Path, formats: Mapping[str, str], packed: Sequence[str] = COMPRESSIONS) -> str | None:
    """Format of a file by its name without a compression's suffix; ``None`` if it is not among ``formats``."""
    return formats.get(suffix_of(path, packed))


def suffix_of(path: Path, packed: Sequence[str] = COMPRESSIONS) -> str:
    """Suffix of a name without that of a compression, in lower case."""
    name = PurePosixPath(path.name.lower())
    return (PurePosixPath(name.stem) if name.suffix in packed else name).suffix


def shown(text: str) -> str:
    """Text for a message, with a question mark for each byte that is not UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _is_hidden(name: Path, pattern: Sequence[str]) -> bool:
    return any(part.startswith(".") and part not in pattern for part in name.parts)

"""Files that a reader sees whole: the old content or the new one, also after a kill or a power cut."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def replacing(path: Path, mode: str = "wb", *, private: bool = False) -> Iterator[IO[Any]]:
    """A file to write that takes the place of ``path`` when the block ends, and vanishes when it raises.

    It is written beside ``path`` under a hidden name that ends in ``.partial``, flushed to the disk, and renamed.
    A link at ``path`` is replaced, never written through: it may lead into DVC's cache.

    Args:
        mode: ``"wb"``, or ``"w"`` for UTF-8 text with newlines as they are.
        private: readable by its owner alone; else as the umask says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        text: dict[str, Any] = {"encoding": "utf-8", "newline": ""} if "b" not in mode else {}
        with open(descriptor, mode, **text) as file:
            if not private:
                os.chmod(name, 0o666 & ~_umask())
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
        sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def private(path: str | Path, flags: int) -> int:
    """Opener for :func:`open`: a file that this makes is readable by its owner alone."""
    return os.open(path, flags, 0o600)


def private_folder(path: Path) -> None:
    """Make a folder that is closed to other accounts; one that is there keeps its mode."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def write_bytes(path: Path, content: bytes, *, private: bool = False) -> None:
    """Replace ``path`` by ``content``."""
    with replacing(path, private=private) as file:
        file.write(content)


def write_text(path: Path, content: str, *, private: bool = False) -> None:
    """Replace ``path`` by ``content``, in UTF-8."""
    write_bytes(path, content.encode(), private=private)


def write_json(path: Path, body: Any, *, private: bool = False) -> None:
    """Replace ``path`` by ``body`` as indented JSON with sorted keys."""
    write_text(path, json.dumps(body, indent=2, sort_keys=True) + "\n", private=private)


def read_json(path: Path, default: Any) -> Any:
    """The JSON at ``path``, or ``default`` where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log that are not blank, of its last 8 KiB; none where there is no file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def as_umask(path: Path) -> None:
    """Give a file the permissions of a newly created one: safetensors and other libraries make theirs private."""
    os.chmod(path, 0o666 & ~_umask())


def copy(source: Path, target: Path) -> None:
    """Copy a file's bytes, with the permissions of a new file; ``target``'s folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    as_umask(target)


def link_tree(source: Path, target: Path) -> None:
    """Hard links to all files of a folder, in another."""
    for path in source.rglob("*"):
        if path.is_file():
            link = target / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, link)


def remove_folder(folder: Path) -> None:
    """Remove a folder. Its name goes first, to ``NAME.removed``: a kill leaves no folder with a part of its files."""
    removed = folder.with_name(f"{folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    os.rename(folder, removed)
    shutil.rmtree(removed, ignore_errors=True)


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # Linux says it without changing it, which is the only way that is safe beside other threads.
    with contextlib.suppress(OSError, StopIteration, ValueError), open("/proc/self/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask

"""Where back-ups lie: folders below a folder, or below a URL."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.backup import stores
from deploy.backup.errors import BackupFailed
from deploy.backup.manifest import NAME, Manifest

Progress = Callable[[str, int, int], None]


def is_url(place: str) -> bool:
    return "://" in place


def complete(parent: Path) -> list[Path]:
    """The back-ups in a folder; their names sort by time."""
    return [path.parent for path in parent.glob(f"stemma-*/{NAME}")]


def upload(folder: Path, url: str, manifest: Manifest, progress: Progress) -> str:
    """Copy a back-up to ``url``; its manifest last, so that what is there without one is none.

    Raises:
        BackupFailed: the store refused.
    """
    store, done = stores.at(url, url), 0
    for name, entry in sorted(manifest.files.items()):
        progress("upload", done, manifest.bytes)
        store.put(folder / name, name)
        done += entry.bytes
    store.put(folder / NAME, NAME)
    progress("upload", manifest.bytes, manifest.bytes)
    return url


@contextmanager
def opened(place: str, scratch: Path, progress: Progress) -> Iterator[Path]:
    """The folder of a back-up: of ``place`` itself, or of the newest one below it; one at a URL is fetched first.

    Args:
        scratch: where fetched files may lie meanwhile.

    Raises:
        BackupFailed: there is no back-up.
    """
    if not is_url(place):
        path = Path(place).expanduser().resolve()
        yield path if (path / NAME).is_file() else _newest(complete(path), place)
        return
    store = stores.at(place, place)
    names = store.list()
    if NAME not in names:
        tops = sorted(name.split("/")[0] for name in names if name.count("/") == 1 and name.endswith(f"/{NAME}"))
        newest = f"{place.rstrip('/')}/{_newest(tops, place)}"
        with opened(newest, scratch, progress) as folder:
            yield folder
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="restore-", dir=scratch) as folder:
        store.fetch(NAME, Path(folder, NAME))
        manifest, done = Manifest.read(Path(folder)), 0
        for name, entry in sorted(manifest.files.items()):
            progress("download", done, manifest.bytes)
            if name in names:
                store.fetch(name, Path(folder, name))
            done += entry.bytes
        yield Path(folder)


def _newest(found: list, place: str):
    if not found:
        raise BackupFailed(f"{place} holds no back-up (no {NAME} in it, nor in a folder stemma-… below it)")
    return max(found)

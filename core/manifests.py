"""DVC's manifests: which files a folder held. A cache's or remote's writers can make any, so each is checked.

A manifest is the JSON list of the folder's files (``md5``, ``relpath``), and its own md5 with ``.dir`` behind it is the
folder's digest. One that is not what its digest says, or that names a place outside the folder, is refused before
anything of it is used.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from core.errors import StemmaError

FOLDER = ".dir"  # how the digest of a folder ends
_MD5 = re.compile(r"[0-9a-f]{32}")
_FIELDS = {"md5", "relpath"}


class ManifestRefused(StemmaError):
    """A manifest is damaged, or names what may not be written."""


def read(content: bytes, digest: str) -> dict[str, str]:
    """md5 of every file by its path in the folder.

    Args:
        content: the manifest's bytes, from wherever they are.
        digest: the folder's, with ``.dir``.

    Raises:
        ManifestRefused: the content has another digest, is no manifest, or names a place outside its folder.
    """
    if hashlib.md5(content, usedforsecurity=False).hexdigest() + FOLDER != digest:
        raise ManifestRefused(f"the manifest {digest} is damaged: its md5 is not its name")
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        raise ManifestRefused(f"the manifest {digest} is not a list of files")
    return files_of(entries, f"the manifest {digest}")


def files_of(entries: list[Any], what: str) -> dict[str, str]:
    """As :func:`read`, of entries whose digest is checked elsewhere or that have none.

    Raises:
        ManifestRefused: ``what`` is refused, with the first reason.
    """
    found: dict[str, str] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.keys() != _FIELDS:
            raise ManifestRefused(f"{what} has an entry that is not a file with an md5: {str(entry)[:100]}")
        name, md5 = entry["relpath"], entry["md5"]
        if not isinstance(md5, str) or not _MD5.fullmatch(md5):
            raise ManifestRefused(f"{what}: {name!r} has no md5 but {md5!r}")
        if name in found:
            raise ManifestRefused(f"{what} names {name!r} twice")
        found[name] = md5
    if problem := names_problem(found):
        raise ManifestRefused(f"{what} {problem}")
    return found


def names_problem(names: Iterable[object], *, nested: bool = False) -> str | None:
    """Why files may not be written by these paths below a folder; ``None`` where they may.

    Each must stay below the folder, on every system alike, and no two may meet in one place: where a file system takes
    two spellings for one, or one is the folder of the other.

    Args:
        nested: names may be folders, so one may be the folder of another.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or (problem := _problem(name)):
            return f"names {name!r}, which {problem if isinstance(name, str) else 'is no name'}"
        same = name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
        if same in seen:
            return f"names {seen[same]!r} and {name!r}, which are one file on some systems"
        seen[same] = name
    for same, name in ({} if nested else seen).items():
        above = same
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in seen:
                return f"names {seen[above]!r} as a file and as the folder of {name!r}"
    return None


def _problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if name.startswith("/") or (len(name) > 1 and name[1] == ":" and name[0].isalpha()):
        return "is an absolute path"
    if "\\" in name or "\0" in name:
        return "holds a sign that is none of a file's name"
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return "leaves its folder" if part == ".." else "is no plain path"
    return None

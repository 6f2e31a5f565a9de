"""The gateway's API keys: made, revoked, and compared with the key that a request carries.

A key is 256 random bits, so it cannot be guessed and a plain SHA-256 of it can be kept: slow password hashing protects
passwords that people choose. A key is shown once, when it is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from core import layout
from core.files import write_json
from registry.errors import RegistryError

VARIABLE = "STEMMA_API_KEYS"
ROLES = ("viewer", "operator", "admin")  # of the console, each with the rights of those before it
STACK = "stack"  # name of the token of `stemma up` among the keys
PREFIX = "sk-stemma-"
SHORTEST = 32  # characters of a key that was not made here
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class KeysProblem(RegistryError):
    """The keys cannot be read, or a key cannot be added or revoked."""


@dataclass(frozen=True)
class ApiKey:
    """One key.

    Attributes:
        created: unix seconds, 0 where it came from the environment.
        role: one of :data:`ROLES` in the console; ``None`` where the key opens the gateway alone.
    """

    name: str
    sha256: str
    created: float = 0.0
    role: str | None = None


class Keyring:
    """The keys of a workspace; a key that is added or revoked counts from the next request on.

    Attributes:
        required: whether requests need a key: once a key was made they do, also when the last one was revoked. Who
            wants an open gateway again deletes the file and starts it anew.
    """

    def __init__(self, home: Path):
        self._home = home
        self._given = from_environment()
        self._read_at: tuple[int, int] | None = None
        self._keys: list[ApiKey] = []
        self.required = False
        self.keys()

    def keys(self) -> list[ApiKey]:
        """The keys that are valid now.

        Raises:
            KeysProblem: the file cannot be read.
        """
        stamp: tuple[int, int] = (0, 0)
        with contextlib.suppress(FileNotFoundError):
            status = layout.api_keys(self._home).stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._read_at:
            self._keys = [*stored(self._home), *self._given]
            self._read_at = stamp
            self.required = self.required or bool(self._keys) or stamp != (0, 0)
        return self._keys


def digest(key: str) -> str:
    """The SHA-256 that is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def match(keys: list[ApiKey], shown: str) -> ApiKey | None:
    """The key that a request carries, compared with every known one in constant time."""
    hashed, found = digest(shown), None
    for key in keys:
        if hmac.compare_digest(key.sha256, hashed):
            found = key
    return found


def load(home: Path) -> list[ApiKey]:
    """The keys of the file and of the environment.

    Raises:
        KeysProblem: either cannot be read.
    """
    return [*stored(home), *from_environment()]


def stored(home: Path) -> list[ApiKey]:
    """The keys of the workspace's file.

    Raises:
        KeysProblem: it cannot be read.
    """
    path = layout.api_keys(home)
    try:
        return [ApiKey(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeysProblem(
            f"{path} cannot be read ({error}); restore it, or delete it and make new keys with `stemma keys add NAME`"
        ) from None


def from_environment() -> list[ApiKey]:
    """The keys of ``STEMMA_API_KEYS``: ``NAME:KEY`` or ``NAME:SHA256``, separated by commas.

    A role in the console stands behind the name: ``NAME/ROLE:KEY``.

    Raises:
        KeysProblem: an entry is neither.
    """
    found = []
    for place, entry in enumerate(filter(None, re.split(r"[,\s]+", os.environ.get(VARIABLE, ""))), start=1):
        owner, colon, key = entry.partition(":")
        name, slash, role = owner.partition("/")
        if not colon or not _NAME.fullmatch(name) or len(key) < SHORTEST or (slash and role not in ROLES):
            raise KeysProblem(
                f"{VARIABLE}: entry {place} is neither NAME:KEY with a key of {SHORTEST} characters or more nor "
                f"NAME:SHA256, with /ROLE ({', '.join(ROLES)}) behind the name or without; `stemma keys add NAME` "
                "makes a key"
            )
        found.append(ApiKey(name, key if _SHA256.fullmatch(key) else digest(key), role=role or None))
    return found


def add(home: Path, name: str, role: str | None = None) -> str:
    """Make a key.

    Args:
        role: what its owner may do in the console; nothing where not given.

    Returns:
        the key itself, which is stored nowhere.

    Raises:
        KeysProblem: the name is not valid, or taken.
    """
    if not _NAME.fullmatch(name):
        raise KeysProblem(f"{name!r} is not a valid name for a key; use letters, digits, dots, dashes and underscores")
    if name == STACK:
        raise KeysProblem(f"{name!r} names the token of `stemma up`; choose another name for a key")
    keys = stored(home)
    if any(key.name == name for key in keys):
        raise KeysProblem(f"a key named {name} exists already; `stemma keys revoke {name}` removes it")
    key = PREFIX + secrets.token_urlsafe(32)
    _write(home, [*keys, ApiKey(name, digest(key), time.time(), role)])
    return key


def revoke(home: Path, name: str) -> None:
    """Remove a key; a running gateway refuses it from its next request on.

    Raises:
        KeysProblem: the file has no key of that name.
    """
    keys = stored(home)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        known = ", ".join(key.name for key in keys) or "none"
        raise KeysProblem(f"there is no key named {name}; known: {known}")
    _write(home, left)


def _write(home: Path, keys: list[ApiKey]) -> None:
    write_json(layout.api_keys(home), {"keys": [asdict(key) for key in keys]}, private=True)

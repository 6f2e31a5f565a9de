"""The gateway's API keys: who has one, and whether a key that somebody shows is one of them.

A key is 256 random bits, so there is nothing to guess and one SHA-256 of it can be kept: slow password hashing protects
what people choose, and here nobody chose anything. Keys are shown once, when they are made.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from registry.errors import RegistryError

VARIABLE = "STEMMA_API_KEYS"
PREFIX = "sk-stemma-"
SHORTEST = 32  # characters of a key that was not made here
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class KeysProblem(RegistryError):
    """The keys cannot be read, or what was asked of them cannot be done."""


@dataclass(frozen=True)
class ApiKey:
    """One key; ``created`` in unix seconds, 0 where it came from the environment."""

    name: str
    sha256: str
    created: float = 0.0


def path_of(home: Path) -> Path:
    """The file with the hashes of a workspace's keys."""
    return home / "api_keys.json"


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def match(keys: list[ApiKey], shown: str) -> ApiKey | None:
    """The key that was shown, compared with every one in constant time."""
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
    path = path_of(home)
    try:
        return [ApiKey(**entry) for entry in json.loads(path.read_text())["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeysProblem(
            f"{path} cannot be read ({error}); restore it, or delete it and make new keys with `stemma keys add NAME`"
        ) from None


def from_environment() -> list[ApiKey]:
    """The keys of ``STEMMA_API_KEYS``: ``NAME:KEY`` or ``NAME:SHA256``, separated by commas.

    Raises:
        KeysProblem: an entry is neither.
    """
    found = []
    for place, entry in enumerate(filter(None, re.split(r"[,\s]+", os.environ.get(VARIABLE, ""))), start=1):
        name, colon, key = entry.partition(":")
        if not colon or not _NAME.fullmatch(name) or len(key) < SHORTEST:
            raise KeysProblem(
                f"{VARIABLE}: entry {place} is not NAME:KEY with a key of {SHORTEST} characters or more, nor "
                "NAME:SHA256; `stemma keys add NAME` makes a key"
            )
        found.append(ApiKey(name, key if _SHA256.fullmatch(key) else digest(key)))
    return found


def add(home: Path, name: str) -> str:
    """Make a key.

    Returns:
        the key itself, which is nowhere else.

    Raises:
        KeysProblem: there is one of that name, or it is no name.
    """
    if not _NAME.fullmatch(name):
        raise KeysProblem(f"{name!r} is no name for a key; use letters, digits, dots, dashes and underscores")
    keys = stored(home)
    if any(key.name == name for key in keys):
        raise KeysProblem(f"there is a key called {name}; `stemma keys revoke {name}` takes it away")
    key = PREFIX + secrets.token_urlsafe(32)
    _write(home, [*keys, ApiKey(name, digest(key), time.time())])
    return key


def revoke(home: Path, name: str) -> None:
    """Take a key away; a running gateway refuses it from its next request on.

    Raises:
        KeysProblem: there is none of that name in the file.
    """
    keys = stored(home)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        known = ", ".join(key.name for key in keys) or "none"
        raise KeysProblem(f"no key is called {name}; known: {known}")
    _write(home, left)


def _write(home: Path, keys: list[ApiKey]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    body = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2)
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=".api_keys-", delete=False) as file:  # mode 0600
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path_of(home))

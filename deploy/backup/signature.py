"""Who made a back-up: its manifest is signed by the workspace's key, and through it every byte that it names.

Whoever restores a back-up lets it say which models were promoted, which keys are trusted and, with a PostgreSQL dump,
what a server executes. So before anything else of it is read, its signature has to hold by a key that is trusted here,
or by the one that the user names.
"""

from __future__ import annotations

import json
from pathlib import Path

from core import keys
from core.errors import KeyProblem
from core.files import write_json
from core.keys import Signed
from core.workspace import Workspace
from deploy.backup.manifest import NAME, BackupRefused

SIGNATURE = f"{NAME}.sig"
SHORTEST = 16  # signs of a key's fingerprint that name it


def statement(sha256: str) -> str:
    """The text that is signed."""
    return f"Stemma back-up, manifest sha256 {sha256}"


def sign(workspace: Workspace, folder: Path, sha256: str) -> str:
    """Sign the manifest with this content; returns the key's fingerprint.

    Raises:
        KeyProblem: the key cannot be used.
    """
    signed = keys.sign_text(workspace, statement(sha256))
    _, public = keys.signing_key(workspace)
    write_json(folder / SIGNATURE, {"key": signed.key_id, "public_key": public, "signature": signed.signature})
    return signed.key_id


def problem(workspace: Workspace, folder: Path, sha256: str, signed_by: str | None = None) -> str | None:
    """Why the signature of the manifest in ``folder`` does not do; ``None`` where it does.

    Args:
        sha256: of the manifest as it was read.
        signed_by: fingerprint of a key that the user trusts for this back-up, or its first signs.
    """
    try:
        body = json.loads((folder / SIGNATURE).read_bytes())
        key, public, value = (str(body[name]) for name in ("key", "public_key", "signature"))
    except FileNotFoundError:
        return "it is not signed"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"its {SIGNATURE} is no signature"
    trusted = keys.trusted_keys(workspace)
    if signed_by is not None:
        if len(signed_by) < SHORTEST:
            return f"--signed-by {signed_by}: give at least {SHORTEST} signs of the key's fingerprint"
        trusted = {key: public} if key.startswith(signed_by) and keys.key_id(public) == key else {}
        if not trusted:
            return f"it is signed by key {key[:SHORTEST]}, and not by {signed_by}"
    if key not in trusted:
        return (
            f"it is signed by key {key}, which is not trusted here; if that is the fingerprint that `stemma backup` "
            f"printed when it was made, give it: --signed-by {key[:SHORTEST]}"
        )
    return keys.fault(trusted, Signed(statement(sha256), key, value))


def require(workspace: Workspace, folder: Path, sha256: str, signed_by: str | None, unsigned: bool) -> None:
    """Refuse a back-up whose signature does not do.

    Args:
        unsigned: the user vouches for it otherwise.

    Raises:
        BackupRefused: with the reason, and what may be done.
    """
    if unsigned:
        return
    try:
        found = problem(workspace, folder, sha256, signed_by)
    except KeyProblem as error:
        found = str(error)
    if found is not None:
        raise BackupRefused(
            [
                f"{folder}: {found}",
                "--unsigned restores it all the same: anyone who could write it then decides what this workspace holds "
                "for promoted, and with PostgreSQL what the server executes; use it only where you know that nobody "
                "else could",
            ]
        )

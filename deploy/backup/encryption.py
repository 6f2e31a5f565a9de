"""Files of a back-up encrypted with age (https://age-encryption.org/v1), each by itself, to the keys of its recipients.

The manifest stays readable and signed: it has the name, size and sha256 of every file as it was before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from core import layout
from core.files import private_folder
from core.workspace import Workspace
from deploy.backup.manifest import BackupFailed, BackupRefused, Manifest

SHOWN = 20  # files that a message names


def recipients(given: Sequence[str]) -> list[Any]:
    """The public keys that recipients name: of age (``age1…``) or of SSH (``ssh-ed25519 …``, ``ssh-rsa …``).

    Raises:
        BackupRefused: some are neither; all of them are named.
    """
    import pyrage

    found, problems = [], []
    for text in given:
        kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
        try:
            found.append(kind.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            problems.append(
                f"--encrypt-to {text!r} is no public key of age (age1…, as `age-keygen` prints) or of SSH: {error}"
            )
    if problems:
        raise BackupRefused(problems)
    return found


def identities(path: Path) -> list[Any]:
    """The private keys in a file as `age-keygen` writes it, or the one in a private key file of SSH.

    Raises:
        BackupRefused: the file cannot be read, or holds no such key.
    """
    import pyrage

    try:
        content = path.expanduser().read_bytes()
        if content.startswith(b"-----BEGIN OPENSSH") or content.startswith(b"-----BEGIN RSA"):
            return [pyrage.ssh.Identity.from_buffer(content)]
        lines = [line.strip() for line in content.decode().splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except OSError as error:
        raise BackupRefused([f"--identity {path}: {error.strerror}"]) from None
    except (pyrage.IdentityError, UnicodeDecodeError):
        found = []
    if not found:
        raise BackupRefused(
            [f"--identity {path} holds no private key of age (AGE-SECRET-KEY-1…) or of SSH without a passphrase"]
        )
    return found


def seal(plain: Path, sealed: Path, to: list[Any]) -> None:
    """Write what only the holder of one of these keys can read; the plain file is removed.

    Raises:
        BackupFailed: it could not be written.
    """
    import pyrage

    sealed.parent.mkdir(parents=True, exist_ok=True)
    try:
        pyrage.encrypt_file(str(plain), str(sealed), to)
    except OSError as error:
        raise BackupFailed(f"{sealed}: {error}") from None
    plain.unlink()


def unseal(
    folder: Path, target: Path, manifest: Manifest, keys: list[Any], progress: Callable[[int, int], None]
) -> None:
    """Decrypt all of a back-up in ``folder`` into ``target``; a file that is missing is left out.

    Raises:
        BackupFailed: none of the keys opens it, files are damaged, or there is no room.
    """
    import pyrage

    if manifest.bytes > (free := shutil.disk_usage(target).free):
        raise BackupFailed(f"{target} has {free:,} bytes free; decrypting the back-up needs {manifest.bytes:,}")
    problems, done = [], 0
    for name, entry in sorted(manifest.files.items()):
        progress(done, manifest.bytes)
        sealed, plain = folder / manifest.stored(name), target / name
        plain.parent.mkdir(parents=True, exist_ok=True)
        try:
            if sealed.is_file():
                pyrage.decrypt_file(str(sealed), str(plain), keys)
        except (pyrage.DecryptError, OSError) as error:
            problems.append(f"{name} cannot be decrypted: {error}")
        done += entry.bytes
    progress(done, manifest.bytes)
    if problems:
        head = f"{folder} is encrypted to {', '.join(manifest.encrypted_to)}; nothing was restored:"
        raise BackupFailed("\n".join([head, *(f"  {problem}" for problem in problems[:SHOWN])]))


@contextmanager
def scratch(workspace: Workspace) -> Iterator[Path]:
    """A folder of the workspace's own, gone after the block, for what is not encrypted yet or no more."""
    parent = layout.backups(workspace.home)
    private_folder(parent)
    for left in parent.glob("plain-*-*"):  # of processes that were killed
        if not psutil.pid_exists(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"plain-{os.getpid()}-", dir=parent) as folder:
        yield Path(folder)

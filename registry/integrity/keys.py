"""Keys: this home's own, made at first use and readable by its owner alone, and those whose signatures are trusted.

Trusted are the home's own key, ``<home>/keys/trusted/*.pem``, and what ``STEMMA_TRUSTED_KEYS`` names (files or folders
of PEM files, separated as in ``PATH``). A public key that only the registry's database holds is never trusted: anyone
who can write the database could have put it there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from core import files, layout
from core.locks import FileLock
from core.workspace import Workspace
from registry.errors import KeyProblem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes


def key_path(workspace: Workspace) -> Path:
    """The private key's PEM file: ``STEMMA_SIGNING_KEY``, or one in the home, which may not be there yet.

    Raises:
        KeyProblem: ``STEMMA_SIGNING_KEY`` names no file.
    """
    configured = os.environ.get("STEMMA_SIGNING_KEY")
    if not configured:
        return layout.keys(workspace.home) / "signing.pem"
    path = Path(configured).expanduser()
    if not path.is_file():
        raise KeyProblem(f"STEMMA_SIGNING_KEY names {path}, which does not exist; set it to a PEM file or unset it")
    return path


def signing_key(workspace: Workspace) -> tuple[Path, str]:
    """(path of the private key, public key as PEM); the key is made if there is none.

    The public key is left beside a key of this home as ``signing.pub``, for others to trust.

    Raises:
        KeyProblem: the configured key does not exist, or is not an elliptic-curve key without a password.
    """
    path = key_path(workspace)
    if not path.exists():
        _make(path)
    public = public_key_of(path)
    beside = layout.keys(workspace.home) / "signing.pub"
    if path.parent == beside.parent and not beside.exists():
        files.write_text(beside, public)
    return path, public


def public_key_of(private: Path) -> str:
    """The public key of a private key's PEM file, as PEM.

    Raises:
        KeyProblem: it is not an elliptic-curve key without a password.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    except (ValueError, TypeError, OSError) as error:
        raise KeyProblem(
            f"{private} cannot be used for signing ({error}); name a PEM file without a password"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyProblem(
            f"{private} is not an elliptic-curve key; make one: openssl ecparam -name prime256v1 -genkey -noout"
        )
    return _pem(key.public_key())


def trusted_keys(workspace: Workspace) -> dict[str, str]:
    """Public keys whose signatures are trusted here: id (sha256 of the PEM text) to PEM text.

    Raises:
        KeyProblem: a file among them is not a public key, or a configured path does not exist.
    """
    from cryptography.hazmat.primitives import serialization

    keys: dict[str, str] = {}
    own = key_path(workspace)
    if own.exists():
        public = public_key_of(own)
        keys[key_id(public)] = public
    for path in _trusted_files(workspace):
        try:
            public = _pem(serialization.load_pem_public_key(path.read_bytes()))
        except (ValueError, TypeError, OSError) as error:
            raise KeyProblem(f"{path} is not a public key ({error}); replace it by a PEM file or remove it") from None
        keys[key_id(public)] = public
    return keys


def key_id(public: str) -> str:
    """sha256 of a public key's PEM text, which is also the key's name in a signature bundle."""
    return hashlib.sha256(public.encode()).hexdigest()


def _trusted_files(workspace: Workspace) -> Iterator[Path]:
    yield from sorted(layout.trusted_keys(workspace.home).glob("*.pem"))
    for name in filter(None, os.environ.get("STEMMA_TRUSTED_KEYS", "").split(os.pathsep)):
        path = Path(name).expanduser()
        if not path.exists():
            raise KeyProblem(
                f"STEMMA_TRUSTED_KEYS names {path}, which does not exist; name PEM files or folders of them"
            )
        yield from sorted(path.glob("*.pem")) if path.is_dir() else [path]


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            files.write_bytes(path, pem, private=True)


def _pem(public: PublicKeyTypes) -> str:
    from cryptography.hazmat.primitives import serialization

    encoded = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return str(encoded, "ascii")

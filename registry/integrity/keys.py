"""Keys: this home's own, made at first use and readable by its owner alone, and those whose signatures are believed.

Believed are the home's own key, ``<home>/keys/trusted/*.pem``, and what ``STEMMA_TRUSTED_KEYS`` names (files or folders
of PEM files, separated as in ``PATH``). A public key that only the registry's database holds is never believed: whoever
can write the database could have put it there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from core.workspace import Workspace
from registry.errors import KeyProblem


def key_path(workspace: Workspace) -> Path:
    """The private key's PEM file: ``STEMMA_SIGNING_KEY``, or one in the home, which may not be there yet.

    Raises:
        KeyProblem: ``STEMMA_SIGNING_KEY`` names no file.
    """
    configured = os.environ.get("STEMMA_SIGNING_KEY")
    if not configured:
        return workspace.home / "keys" / "signing.pem"
    path = Path(configured).expanduser()
    if not path.is_file():
        raise KeyProblem(f"STEMMA_SIGNING_KEY names {path}, which is not there; set it to a PEM file or unset it")
    return path


def signing_key(workspace: Workspace) -> tuple[Path, str]:
    """(path of the private key, public key as PEM); the key is made if there is none.

    The public key is left beside a key of this home as ``signing.pub``, for others to believe.

    Raises:
        KeyProblem: the configured key is not there, or is no elliptic-curve key without a password.
    """
    path = key_path(workspace)
    if not path.exists():
        _make(path)
    public = public_key_of(path)
    beside = workspace.home / "keys" / "signing.pub"
    if path.parent == beside.parent and not beside.exists():
        _write(beside, public.encode(), 0o644)
    return path, public


def public_key_of(private: Path) -> str:
    """The public key of a private key's PEM file, as PEM.

    Raises:
        KeyProblem: it is no elliptic-curve key without a password.
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
            f"{private} is no elliptic-curve key; make one: openssl ecparam -name prime256v1 -genkey -noout"
        )
    return _pem(key.public_key())


def trusted_keys(workspace: Workspace) -> dict[str, str]:
    """Public keys whose signatures are believed here: id (sha256 of the PEM text) to PEM text.

    Raises:
        KeyProblem: a file among them is no public key, or a configured path is not there.
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
            raise KeyProblem(f"{path} is no public key ({error}); replace it by a PEM file or remove it") from None
        keys[key_id(public)] = public
    return keys


def key_id(public: str) -> str:
    """sha256 of a public key's PEM text, which is also the key's name in a signature bundle."""
    return hashlib.sha256(public.encode()).hexdigest()


def _trusted_files(workspace: Workspace) -> Iterator[Path]:
    yield from sorted((workspace.home / "keys" / "trusted").glob("*.pem"))
    for name in filter(None, os.environ.get("STEMMA_TRUSTED_KEYS", "").split(os.pathsep)):
        path = Path(name).expanduser()
        if not path.exists():
            raise KeyProblem(f"STEMMA_TRUSTED_KEYS names {path}, which is not there; name PEM files or folders of them")
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
            _write(path, pem, 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others before its mode is set."""
    staging = path.with_suffix(f"{path.suffix}.partial-{os.getpid()}")
    staging.unlink(missing_ok=True)
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staging, path)


def _pem(public) -> str:
    from cryptography.hazmat.primitives import serialization

    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

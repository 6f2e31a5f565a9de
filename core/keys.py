"""Keys: this home's own, made at first use and readable by its owner alone, and those whose signatures are trusted.

Trusted are the home's own key, ``<home>/keys/trusted/*.pem``, and what ``STEMMA_TRUSTED_KEYS`` names (files or folders
of PEM files, separated as in ``PATH``). A public key that only the registry's database holds is never trusted: anyone
who can write the database could have put it there.

A key signs models (:mod:`registry.integrity.signing`) and texts: the receipts of stages, and what the registry's
history rests on. A text's signature is ECDSA over its SHA-256 (FIPS 186-5), on the curve P-256.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files, layout
from core.errors import KeyProblem
from core.git import common_folder, git
from core.locks import FileLock
from core.workspace import Workspace

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

HISTORY = "refs/stemma/promotions"  # the registry's history in git; it was signed by a key that must be somewhere


@dataclass(frozen=True)
class Signed:
    """A text and its signature.

    Attributes:
        key_id: sha256 of the public key's PEM text.
        signature: base64 of the DER signature.
    """

    body: str
    key_id: str
    signature: str

    @property
    def said(self) -> dict[str, Any]:
        """The JSON object that the text is; empty where it is none, as a text that no key signed may be."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def canonical(body: Any) -> str:
    """The one text of a JSON value: what is signed of it."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def sign_text(workspace: Workspace, body: str) -> Signed:
    """Sign a text by the home's own key, which is made if there never was one.

    Raises:
        KeyProblem: as :func:`signing_key`.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = _private(signing_key(workspace)[0])
    signature = key.sign(body.encode(), ec.ECDSA(hashes.SHA256()))
    return Signed(body, key_id(_pem(key.public_key())), base64.b64encode(signature).decode())


def with_signature(workspace: Workspace, body: dict[str, Any]) -> dict[str, Any]:
    """A JSON object with a signature of everything in it, under ``signature``.

    Raises:
        KeyProblem: the key cannot be used.
    """
    body = json.loads(json.dumps(body))  # as it is read back
    made = sign_text(workspace, canonical(body))
    return {**body, "signature": {"key": made.key_id, "value": made.signature}}


def secret(workspace: Workspace, purpose: str) -> bytes:
    """32 bytes that only who has the home's key can know, others for each purpose (HKDF-SHA-256, RFC 5869).

    What is given one of them can neither sign nor learn another.

    Raises:
        KeyProblem: as :func:`signing_key`.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    path, _ = signing_key(workspace)
    number = _private(path).private_numbers().private_value
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"stemma {purpose}".encode())
    return derived.derive(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def fault(trusted: dict[str, str], signed: Signed) -> str | None:
    """Why a text's signature does not hold; ``None`` where it does.

    Args:
        trusted: of :func:`trusted_keys`.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if (public := trusted.get(signed.key_id)) is None:
        return f"its key {signed.key_id[:12]} is not trusted here (trusted: {_listed(trusted)})"
    key = serialization.load_pem_public_key(public.encode())
    does_not_hold = f"its signature by key {signed.key_id[:12]} does not hold"
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return does_not_hold
    try:
        key.verify(base64.b64decode(signed.signature), signed.body.encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return does_not_hold
    return None


def not_trusted(workspace: Workspace, trusted: dict[str, str], wanted: str, what: str) -> str:
    """The message for something signed by a key that is not trusted here."""
    return (
        f"{what} is signed by key {wanted[:12]}, which is not trusted here (trusted: {_listed(trusted)}); if you know "
        f"who owns it, copy their keys/signing.pub as NAME.pem into {layout.trusted_keys(workspace.home)}"
    )


def key_path(workspace: Workspace) -> Path:
    """The private key's PEM file: ``STEMMA_SIGNING_KEY``, or one in the home, which may not be there yet.

    Raises:
        KeyProblem: ``STEMMA_SIGNING_KEY`` names no file.
    """
    configured = os.environ.get("STEMMA_SIGNING_KEY")
    if not configured:
        return layout.signing_key(workspace.home)
    path = Path(configured).expanduser()
    if not path.is_file():
        raise KeyProblem(f"STEMMA_SIGNING_KEY names {path}, which does not exist; set it to a PEM file or unset it")
    return path


def signing_key(workspace: Workspace) -> tuple[Path, str]:
    """(path of the private key, public key as PEM); the key is made if there never was one.

    The public key is left beside a key of this home as ``signing.pub``, for others to trust.

    Raises:
        KeyProblem: others can read or replace the key, it is lost, or it is not an elliptic-curve key without a
            password.
    """
    path = key_path(workspace)
    if not path.exists():
        if (traces := _traces(workspace)) and not path.exists():  # another process may have made both meanwhile
            raise KeyProblem(lost(path, traces))
        with _alone(path):
            if not path.exists():
                _make(path)
    beside = layout.signing_public(workspace.home)
    if path.parent == beside.parent and not beside.exists():
        with _alone(path):
            files.write_text(beside, public_key_of(path))
    return path, public_key_of(path)


def lost(path: Path, traces: str) -> str:
    """The message for a key that was there once."""
    return (
        f"the signing key {path} is missing, and {traces}, so it is not made anew silently; restore it from a back-up, "
        "or make a new one with `stemma keys rotate`: what the old one signed stays valid while its public key is "
        "trusted"
    )


def rotate(workspace: Workspace) -> tuple[str | None, str]:
    """Make a new signing key; the public key of the one before stays trusted here.

    Returns:
        Ids of the key before (``None`` where none was known) and of the new one.

    Raises:
        KeyProblem: the key is not the home's own, or cannot be replaced.
    """
    if os.environ.get("STEMMA_SIGNING_KEY"):
        raise KeyProblem(
            "STEMMA_SIGNING_KEY names the signing key, so it is not this home's to replace; make another PEM file, "
            f"trust the present public key in {layout.trusted_keys(workspace.home)}, and name the new one"
        )
    path, beside = layout.signing_key(workspace.home), layout.signing_public(workspace.home)
    _refuse_open(path.parent)
    with _alone(path):
        before = public_key_of(path) if path.exists() else beside.read_text() if beside.exists() else None
        if before is not None:
            files.private_folder(layout.trusted_keys(workspace.home))
            files.write_text(layout.trusted_keys(workspace.home) / f"rotated-{key_id(before)[:12]}.pem", before)
        beside.unlink(missing_ok=True)  # after a kill it is written anew; it is never that of another key
        _make(path)
        public = public_key_of(path)
        files.write_text(beside, public)
    return key_id(before) if before is not None else None, key_id(public)


def public_key_of(private: Path) -> str:
    """The public key of a private key's PEM file, as PEM.

    Raises:
        KeyProblem: others can read or replace it, or it is not an elliptic-curve key without a password.
    """
    return _pem(_private(private).public_key())


def trusted_keys(workspace: Workspace) -> dict[str, str]:
    """Public keys whose signatures are trusted here: id (sha256 of the PEM text) to PEM text.

    Raises:
        KeyProblem: a file among them is not a public key, others can write it, or a configured path does not exist.
    """
    from cryptography.hazmat.primitives import serialization

    keys: dict[str, str] = {}
    # A key that STEMMA_SIGNING_KEY names now does not make void what the home's own signed before.
    for own in {key_path(workspace), layout.signing_key(workspace.home)}:
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


def key_id_in(pem: bytes) -> str:
    """Id of the key in a PEM file, private or public, wherever the file is from.

    Raises:
        ValueError, TypeError: it is no key, or has a password.
    """
    from cryptography.hazmat.primitives import serialization

    if b"PRIVATE KEY" in pem:
        return key_id(_pem(serialization.load_pem_private_key(pem, None).public_key()))
    return key_id(_pem(serialization.load_pem_public_key(pem)))


def _private(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    _refuse_open(path.parent)
    # One that STEMMA_SIGNING_KEY names may be readable by a group: that is how secrets are mounted into containers.
    others = 0o037 if os.environ.get("STEMMA_SIGNING_KEY") else 0o077
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & others:
        mode = f"{stat.S_IMODE(path.stat().st_mode):04o}"
        raise KeyProblem(
            f"the signing key {path} is open to other accounts (mode {mode}), who could sign as this home; mend it "
            f"with `chmod 600 {path}`, and if others may have read it: stemma keys rotate"
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, OSError) as error:
        raise KeyProblem(f"{path} cannot be used for signing ({error}); name a PEM file without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyProblem(
            f"{path} is not an elliptic-curve key; make one: openssl ecparam -name prime256v1 -genkey -noout"
        )
    return key


def _refuse_open(folder: Path) -> None:
    """Refuse a folder of keys in which other accounts could put their own."""
    if not os.environ.get("STEMMA_SIGNING_KEY"):
        _refuse_writable(folder)


def _refuse_writable(path: Path) -> None:
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o022:
        mode = f"{stat.S_IMODE(path.stat().st_mode):04o}"
        raise KeyProblem(
            f"{path} can be written by other accounts (mode {mode}), who could make this home trust keys of theirs; "
            f"look at the keys in it, then mend it with `chmod go-w {path}`"
        )


def _trusted_files(workspace: Workspace) -> Iterator[Path]:
    folder = layout.trusted_keys(workspace.home)
    _refuse_writable(folder.parent)
    found = sorted(folder.glob("*.pem"))
    if found and stat.S_IMODE(folder.parent.stat().st_mode) & 0o077:  # else nobody gets that far
        for path in (folder, *found):
            _refuse_writable(path)
    yield from found
    for name in filter(None, os.environ.get("STEMMA_TRUSTED_KEYS", "").split(os.pathsep)):
        path = Path(name).expanduser()
        if not path.exists():
            raise KeyProblem(
                f"STEMMA_TRUSTED_KEYS names {path}, which does not exist; name PEM files or folders of them"
            )
        named = sorted(path.glob("*.pem")) if path.is_dir() else [path]
        for each in (path, *named):
            _refuse_writable(each)
        yield from named


def _traces(workspace: Workspace) -> str | None:
    """What shows that this home had a signing key before."""
    beside = layout.signing_public(workspace.home)
    if beside.exists():
        return f"its public key {beside} is there"
    if any(layout.trusted_keys(workspace.home).glob("*.pem")):
        return f"{layout.trusted_keys(workspace.home)} holds keys that are trusted"
    # A reproduction has a home of its own for a while, and a key for it; it is the workspace's that may be lost.
    lasting = workspace.home == common_folder(workspace.root).parent / ".stemma"
    lasting = lasting or layout.registry_database(workspace.home).exists()
    if lasting and git(workspace.root, "rev-parse", "--verify", "--quiet", HISTORY, check=False):
        return f"the history in {HISTORY} was signed by it"
    return None


def _listed(trusted: dict[str, str]) -> str:
    return ", ".join(sorted(each[:12] for each in trusted)) or "none"


def _alone(path: Path) -> FileLock:
    """Held while a home's key, or the public key beside it, is made or replaced."""
    files.private_folder(path.parent)
    return FileLock(path.with_suffix(".lock"))


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.write_bytes(path, pem, private=True)


def _pem(public: PublicKeyTypes) -> str:
    from cryptography.hazmat.primitives import serialization

    encoded = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return str(encoded, "ascii")

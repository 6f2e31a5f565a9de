"""OpenSSF model signatures over a version's files, with a key of this home's own, made at first use."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from sqlalchemy import select

from registry.database import open as open_registry
from registry.errors import InvalidBytes
from registry.materialize import materialize_artifact
from registry.references import resolve
from registry.schema import Signature
from registry.workspace import Workspace

METHOD = "model-signing/elliptic-key"


@dataclass(frozen=True)
class SignedFiles:
    """A signature before it is recorded. ``key_id``: sha256 of the public key; ``bundle``: the signature's JSON."""

    key_id: str
    public_key: str
    bundle: str

    def as_row(self, version_id: int) -> Signature:
        return Signature(
            version_id=version_id,
            method=METHOD,
            key_id=self.key_id,
            public_key=self.public_key,
            bundle=self.bundle,
            created=time.time(),
        )


def sign(workspace: Workspace, files: Path) -> SignedFiles:
    """Sign every file under ``files`` with the home's key (``STEMMA_SIGNING_KEY``: another PEM file)."""
    from model_signing import signing

    private, public_key = signing_key(workspace)
    with tempfile.TemporaryDirectory(prefix="stemma-sign-") as folder:
        signature = Path(folder) / "model.sig"
        signing.Config().use_elliptic_key_signer(private_key=private).sign(files, signature)
        return SignedFiles(hashlib.sha256(public_key.encode()).hexdigest(), public_key, signature.read_text())


def verify(workspace: Workspace, reference: str) -> list[str]:
    """Check a version's files against its digest and against every signature it has.

    Returns:
        The ids of the keys whose signatures hold.

    Raises:
        UnknownReference, MissingBytes: there is nothing to verify.
        InvalidBytes: the files are not what was recorded or signed, or nobody signed them.
    """
    with open_registry(workspace.registry_url) as registry:
        with registry.read() as session:
            version = resolve(session, reference)
            name, artifact = str(version), version.artifact
            signatures = session.scalars(select(Signature).filter_by(version_id=version.id)).all()
            session.expunge_all()
        files = materialize_artifact(workspace, registry, artifact)
    if not signatures:
        raise InvalidBytes(f"{name} is not signed; promoting it signs it: stemma promote {name}")
    for signature in signatures:
        verify_files(files, signature, name)
    return [signature.key_id for signature in signatures]


def verify_files(files: Path, signature: Signature, name: str) -> None:
    """Check one signature over ``files``; ``name`` is for the message.

    Raises:
        InvalidBytes: it does not hold.
    """
    from model_signing import verifying

    if hashlib.sha256(signature.public_key.encode()).hexdigest() != signature.key_id:
        raise InvalidBytes(
            f"{name}: the registry's copy of key {signature.key_id[:12]} was altered; do not use this model"
        )
    with tempfile.TemporaryDirectory(prefix="stemma-verify-") as folder:
        bundle, public = Path(folder) / "model.sig", Path(folder) / "key.pub"
        bundle.write_text(signature.bundle)
        public.write_text(signature.public_key)
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=public).verify(files, bundle)
        except ValueError as error:
            raise InvalidBytes(
                f"{name}: the signature by key {signature.key_id[:12]} does not hold ({error}); do not use this model"
            ) from error


def signing_key(workspace: Workspace) -> tuple[Path, str]:
    """(path of the private key, public key as PEM); the key is made, readable by its owner alone, if there is none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    configured = os.environ.get("STEMMA_SIGNING_KEY")
    path = Path(configured).expanduser() if configured else workspace.home / "keys" / "signing.pem"
    if configured and not path.is_file():
        raise InvalidBytes(f"STEMMA_SIGNING_KEY names {path}, which is not there; set it to a PEM file or unset it")
    if not configured:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                key = ec.generate_private_key(ec.SECP256R1())
                pem = key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                staging = path.with_suffix(".partial")
                staging.unlink(missing_ok=True)
                with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(pem)
                os.rename(staging, path)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return path, public.decode()

"""OpenSSF model signatures over a version's files and its parents: by a key of this home's own, or by Sigstore.

An OpenSSF model signature is an in-toto statement over a list of files. Its predicate may be extended: verifiers of
version 1.0 read ``resources`` and ``serialization`` and ignore the rest. Stemma adds ``lineage``: which version it is,
and the digests of what it was made from. One signature thus covers the bytes and the parents, and ``model_signing
verify key`` checks it without knowing Stemma.
"""

from __future__ import annotations

import base64
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import layout
from core.workspace import Workspace
from registry.db.schema import Artifact, Event, ModelVersion, Signature
from registry.errors import InvalidBytes, KeyProblem
from registry.integrity.keys import key_id, signing_key, trusted_keys
from registry.promotion.parameters import SigningParameters

if TYPE_CHECKING:
    from model_signing.signing import Config

KEY, SIGSTORE = "model-signing/elliptic-key", "model-signing/sigstore"


@dataclass(frozen=True)
class SignedParent:
    """An artifact that a version was made from. ``name`` is its path in the workspace."""

    name: str
    role: str
    hash_algo: str
    digest: str


@dataclass(frozen=True)
class Statement:
    """What is signed about a version besides its files.

    Attributes:
        version: ``model:version``.
        hash_algo, digest: DVC's address of the version's files.
        stage, fingerprint: the execution that made them.
        parents: everything that execution read, by input name.
    """

    version: str
    hash_algo: str
    digest: str
    stage: str
    fingerprint: str
    parents: tuple[SignedParent, ...]

    @classmethod
    def of(cls, session: Session, version: ModelVersion) -> Statement:
        """What the registry knows of a version."""
        rows = session.execute(
            select(Event, Artifact)
            .join(Artifact, Artifact.id == Event.artifact_id)
            .where(Event.execution_id == version.execution_id, Event.direction == "INPUT")
            .order_by(Event.name)
        )
        return cls(
            str(version),
            version.artifact.hash_algo,
            version.artifact.digest,
            version.execution.stage,
            version.execution.fingerprint,
            tuple(
                SignedParent(event.path, event.role, artifact.hash_algo, artifact.digest) for event, artifact in rows
            ),
        )

    def as_dict(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # tuples as lists, as they come back from a bundle
        return body

    def differences(self, signed: dict[str, Any]) -> list[str]:
        """What a signed statement says otherwise, one line each."""
        mine, found = self.as_dict(), []
        for name in ("version", "hash_algo", "digest", "stage", "fingerprint"):
            if mine[name] != signed.get(name):
                found.append(f"{name}: registry {mine[name]}, signed {signed.get(name)}")
        theirs = {(parent["name"], parent["role"]): parent["digest"] for parent in signed.get("parents", [])}
        ours = {(parent.name, parent.role): parent.digest for parent in self.parents}
        for name, role in sorted(ours.keys() | theirs.keys()):
            registered, stated = ours.get((name, role)), theirs.get((name, role))
            if registered != stated:
                found.append(f"parent {name} ({role}): registry {registered or 'none'}, signed {stated or 'none'}")
        return found


@dataclass(frozen=True)
class SignedFiles:
    """A signature before it is recorded.

    Attributes:
        key_id: sha256 of ``public_key``.
        public_key: PEM; for Sigstore, whose keys live minutes, the identity and its issuer.
        bundle: the signature's JSON.
    """

    method: str
    key_id: str
    public_key: str
    bundle: str

    def as_row(self, version_id: int) -> Signature:
        return Signature(
            version_id=version_id,
            method=self.method,
            key_id=self.key_id,
            public_key=self.public_key,
            bundle=self.bundle,
            created=time.time(),
        )


def sign(workspace: Workspace, files: Path, statement: Statement) -> SignedFiles:
    """Sign every file under ``files``, and ``statement`` with them, as ``params.yaml``'s ``signing`` section says.

    Raises:
        KeyProblem: the key cannot be used, or Sigstore cannot be reached or has no identity for this process.
    """
    from model_signing import signing

    parameters = SigningParameters.load(workspace.root)
    config = signing.Config()
    if parameters.method == "key":
        private, public = signing_key(workspace)
        method = KEY
        config.use_elliptic_key_signer(private_key=private)
    else:
        public, method = _identity(parameters), SIGSTORE
        try:
            config.use_sigstore_signer(oidc_issuer=parameters.issuer, use_ambient_credentials=True)
        except Exception as error:  # of the network, of its trust root, of its own configuration
            raise KeyProblem(
                f"Sigstore cannot be reached ({error}); try again, or set signing.method to key"
            ) from error
    _add_lineage(config, statement)
    with tempfile.TemporaryDirectory(prefix="stemma-sign-") as folder:
        signature = Path(folder) / "model.sig"
        try:
            config.sign(files, signature)
        except Exception as error:
            if method == KEY:
                raise
            raise KeyProblem(f"Sigstore did not sign ({error}); try again, or set signing.method to key") from error
        return SignedFiles(method, key_id(public), public, signature.read_text())


def check_signature(workspace: Workspace, files: Path, signature: Signature, statement: Statement) -> None:
    """Check that a signature is by a trusted key, over exactly these files, and names the parents that are recorded.

    Raises:
        InvalidBytes: it does not hold.
        KeyProblem: its key is not trusted here.
    """
    from model_signing import verifying

    version, name = statement.version, signature.key_id[:12]
    config = verifying.Config()
    with tempfile.TemporaryDirectory(prefix="stemma-verify-") as folder:
        bundle, public = Path(folder) / "model.sig", Path(folder) / "key.pub"
        bundle.write_text(signature.bundle)
        if signature.method == KEY:
            public.write_text(_trusted(workspace, signature.key_id, version))
            config.use_elliptic_key_verifier(public_key=public)
        else:
            parameters = SigningParameters.load(workspace.root)
            if signature.public_key != _identity(parameters):
                raise KeyProblem(
                    f"{version} was signed as {signature.public_key}, and this workspace trusts "
                    f"{_identity(parameters)}; if that is right, change signing.identity and signing.issuer"
                )
            config.use_sigstore_verifier(identity=parameters.identity, oidc_issuer=parameters.issuer)
        try:
            config.verify(files, bundle)
            lineage = lineage_in(signature.bundle)
        except Exception as error:  # a damaged bundle fails in many ways, all of which mean that it does not hold
            raise InvalidBytes(
                f"{version}: the signature by key {name} does not hold ({_first_line(error)}); do not use this model"
            ) from error
    # Signatures of the first release name no parents; over the files they hold all the same.
    if lineage is not None and (differences := statement.differences(lineage)):
        raise InvalidBytes(
            f"{version}: what key {name} signed is not what the registry says ({'; '.join(differences)}); do not trust "
            "this registry's lineage"
        )


def lineage_in(bundle: str) -> dict[str, Any] | None:
    """The lineage that a bundle states; ``None`` where it was signed without. Only for a bundle that was verified.

    Raises:
        InvalidBytes: it is not a bundle.
    """
    try:
        payload = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
        lineage: dict[str, Any] | None = payload["predicate"].get("lineage")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidBytes(f"the signature is not a signature bundle ({error})") from error
    return lineage


def _trusted(workspace: Workspace, wanted: str, version: str) -> str:
    keys = trusted_keys(workspace)
    if wanted not in keys:
        known = ", ".join(sorted(each[:12] for each in keys)) or "none"
        raise KeyProblem(
            f"{version} is signed by key {wanted[:12]}, which is not trusted here (trusted: {known}); if you know "
            f"who owns it, copy their keys/signing.pub as NAME.pem into {layout.trusted_keys(workspace.home)}"
        )
    return keys[wanted]


def _identity(parameters: SigningParameters) -> str:
    return f"{parameters.identity} by {parameters.issuer}"


def _add_lineage(config: Config, statement: Statement) -> None:
    """Make the configured signer sign the lineage too. The library offers no hook, so its signer is wrapped."""
    signer = config._signer

    class WithLineage:
        def sign(self, payload: Any) -> Any:
            payload.statement.pb.predicate.update({"lineage": statement.as_dict()})
            return signer.sign(payload)

    config._signer = WithLineage()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__

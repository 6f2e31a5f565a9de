"""OpenSSF model signatures over a version's files and its parents: by a key of this home's own, or by Sigstore.

An OpenSSF model signature is an in-toto statement over a list of files. Its predicate may be extended: verifiers of
version 1.0 read ``resources`` and ``serialization`` and ignore the rest. Stemma adds ``lineage``: which version it is,
and the digests of what it was made from. One signature thus covers the bytes and the parents, and ``model_signing
verify key`` checks it without knowing Stemma.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import KeyProblem
from core.keys import key_id, not_trusted, signing_key, trusted_keys
from core.workspace import Workspace
from registry.db.schema import Artifact, Event, Execution, ModelVersion, Signature, SignedReceipt
from registry.errors import InvalidBytes, NotCheckable
from registry.integrity.statements import execution_body, metrics_of
from registry.lineage.traversal import upstream
from registry.promotion.parameters import SigningParameters

if TYPE_CHECKING:
    from model_signing import verifying
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
        executions: that one and all it descends from: parameters (by digest), seed, git commit, and the digest of the
            receipt that each left.
        metrics: every metric of the version when it was signed, with its evaluation set; later ones may come.
    """

    version: str
    hash_algo: str
    digest: str
    stage: str
    fingerprint: str
    parents: tuple[SignedParent, ...]
    executions: tuple[dict[str, Any], ...] = ()
    metrics: tuple[dict[str, Any], ...] = ()

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
            tuple(_executions(session, version)),
            tuple(metrics_of(session, version)),
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
        # Signatures of earlier releases state neither; equal bytes made again and metrics measured since may be more.
        present = {each["key"]: each for each in mine["executions"]}
        for each in signed.get("executions", []):
            here = present.get(each["key"], {})
            for name in each:
                if here.get(name) != each[name]:
                    now = here.get(name, "none")
                    found.append(f"{name} of {each['stage']}: registry {now}, signed {each[name]}")
        measured = {(each["execution"], each["name"]): each for each in mine["metrics"]}
        for each in signed.get("metrics", []):
            here = measured.get((each["execution"], each["name"]), {})
            for name in each:
                if here.get(name) != each[name]:
                    title = f"{each['stage']}.{each['name']}"
                    found.append(f"{name} of {title}: registry {here.get(name, 'none')}, signed {each[name]}")
        return found


def _executions(session: Session, version: ModelVersion) -> list[dict[str, Any]]:
    """The execution that made a version and all it descends from, as they are signed."""
    rows = session.scalars(
        select(Execution).where(Execution.id.in_(upstream(session, version.execution_id))).order_by(Execution.id)
    ).all()
    kept = session.execute(
        select(SignedReceipt.execution_id, SignedReceipt.body).where(
            SignedReceipt.execution_id.in_([row.id for row in rows])
        )
    )
    digests = {row_id: hashlib.sha256(body.encode()).hexdigest() for row_id, body in kept}
    return [{**execution_body(row), "receipt": digests.get(row.id)} for row in rows]


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
        NotCheckable: it is Sigstore's, whose trust root cannot be had now.
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
            _use_sigstore(workspace, config, signature, version)
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
        raise KeyProblem(not_trusted(workspace, keys, wanted, version))
    return keys[wanted]


def _use_sigstore(workspace: Workspace, config: verifying.Config, signature: Signature, version: str) -> None:
    parameters = SigningParameters.load(workspace.root)
    trusted = _identity(parameters) if parameters.identity and parameters.issuer else None
    if signature.method != SIGSTORE or trusted is None or signature.public_key != trusted:
        raise KeyProblem(
            f"{version} was signed as {signature.public_key}, and this workspace trusts {trusted or 'no identity'}; "
            "if that is right, set signing.identity and signing.issuer in params.yaml"
        )
    try:
        config.use_sigstore_verifier(identity=parameters.identity, oidc_issuer=parameters.issuer)
    except Exception as error:  # of the network, of its trust root: nothing was checked
        raise NotCheckable(
            f"{version}: the signature as {trusted} cannot be checked offline ({_first_line(error)}); try again where "
            "Sigstore can be reached"
        ) from error


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

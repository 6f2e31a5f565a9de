"""The signatures beside an exported folder, and how anyone checks them without Stemma.

Two are written: the version's own, which covers the files as they were registered; and one over the exported folder,
which covers what the export added or converted as well (the model card, GGUF files, merged weights). Both are OpenSSF
model signatures and name the version and its lineage.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.workspace import Workspace
from registry.db.schema import Signature
from registry.integrity.signing import KEY, SignedFiles, Statement, sign

SIGNATURE, PUBLIC = "model.sig", "model.pub"
REGISTERED, REGISTERED_PUBLIC = "registered.sig", "registered.pub"


@dataclass(frozen=True)
class Attestation:
    """What stands behind an exported folder.

    Attributes:
        registered: the version's newest signature; ``None``: it is not signed, and the folder is not either.
        statement: what the registry says of the version.
        unchanged: the folder holds the registered files byte for byte, so the version's signature covers them.
    """

    registered: Signature | None
    statement: Statement
    unchanged: bool

    def explain(self) -> list[str]:
        """The model card's section, in Markdown."""
        if self.registered is None:
            return [
                f"{self.statement.version} is not signed. Promoting it signs it (`stemma promote "
                f"{self.statement.version}`); export it again then."
            ]
        lines = [
            f"`{SIGNATURE}` is an [OpenSSF model signature](https://github.com/sigstore/model-transparency) over every "
            "other file of this folder. It also states the version, its digest, its parents and its metrics. Check it "
            "in this folder, with nothing but the package `model-signing`:",
            "", "```sh", "pip install model-signing pyopenssl",
            _command(self.registered.method, SIGNATURE, PUBLIC, self.registered.public_key), "```", "",
        ]  # fmt: skip
        if self.unchanged:
            lines += [
                f"`{REGISTERED}` is the signature that the version got when it was promoted. It covers the model's "
                "files, which are here as they were registered, byte for byte:",
                "", "```sh",
                f"{_command(self.registered.method, REGISTERED, REGISTERED_PUBLIC, self.registered.public_key)} "
                "--ignore_unsigned_files",
                "```", "",
            ]  # fmt: skip
        else:
            lines.append(
                f"`{REGISTERED}` is the signature that the version got when it was promoted. The files here were "
                "converted from those that it covers, so it names their digests and does not hold over this folder."
            )
        if self.registered.method == KEY:
            lines.append("Compare the public key with one that you have from the sender by another way.")
        return lines

    def write(self, workspace: Workspace, folder: Path) -> bool:
        """Write the signatures and public keys into ``folder``; the last thing that is written there.

        Returns:
            Whether the folder is signed.

        Raises:
            KeyProblem: the key cannot be used.
        """
        if self.registered is None:
            return False
        (folder / REGISTERED).write_text(self.registered.bundle)
        if self.registered.method == KEY:
            (folder / REGISTERED_PUBLIC).write_text(self.registered.public_key)
        signed = _sign(workspace, folder, self.statement)
        (folder / SIGNATURE).write_text(signed.bundle)
        return True


def _sign(workspace: Workspace, folder: Path, statement: Statement) -> SignedFiles:
    """Sign the folder with the public key in it, so that the key is covered as well."""
    from core.keys import signing_key
    from registry.promotion.parameters import SigningParameters

    if SigningParameters.load(workspace.root).method == "key":
        (folder / PUBLIC).write_text(signing_key(workspace)[1])
    return sign(workspace, folder, statement)


def _command(method: str, signature: str, public: str, identity: str) -> str:
    if method == KEY:
        return f"model_signing verify key . --signature {signature} --public_key {public}"
    who, _, issuer = identity.partition(" by ")
    return f"model_signing verify sigstore . --signature {signature} --identity {who} --identity_provider {issuer}"

"""What an audit finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["wrong", "behind", "missing", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        part: chain, verdict, signature, bytes or mirror.
        subject: what it is about, such as ``promotion 2`` or ``base:1``.
        state: ``wrong``: it is not what was recorded; ``behind``: MLflow does not show it yet; ``missing``: its bytes
            are not on this machine, so nothing can be said; ``unchecked``: MLflow does not answer.
        detail: what was found, and what to do.
    """

    part: str
    subject: str
    state: State
    detail: str


@dataclass
class AuditReport:
    """Everything that was looked at, and what was found.

    Attributes:
        promotions, signatures, artifacts, aliases: how many were looked at.
        bytes: how many were hashed.
        findings: in the order of :func:`registry.integrity.audit.audit`: the first broken one is the first broken link.
    """

    promotions: int = 0
    signatures: int = 0
    artifacts: int = 0
    bytes: int = 0
    aliases: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def broken(self) -> list[Finding]:
        """What does not hold. Missing bytes and a server that does not answer prove nothing."""
        return [finding for finding in self.findings if finding.state in ("wrong", "behind")]

    @property
    def sound(self) -> bool:
        return not self.broken

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sound": self.sound, "first_broken": asdict(self.broken[0]) if self.broken else None}

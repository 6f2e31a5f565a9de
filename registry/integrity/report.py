"""What an audit found, and how many things it looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["wrong", "behind", "missing", "unchecked", "unsigned"]


@dataclass(frozen=True)
class AuditFinding:
    """Something that is not as it should be.

    Attributes:
        part: chain, statement, anchor, verdict, receipt, signature, bytes or mirror.
        subject: where, such as ``promotion 2`` or ``base:1``.
        state: ``wrong``: it is not what was recorded; ``behind``: MLflow or the repository does not have it yet;
            ``missing``: its bytes are not on this machine, so it cannot be checked; ``unchecked``: MLflow or Sigstore
            does not answer; ``unsigned``: it is older than signatures, and is what it was when they began.
        detail: what was found, and what to do.
    """

    part: str
    subject: str
    state: State
    detail: str


@dataclass
class AuditReport:
    """What was checked, and what was found.

    Attributes:
        promotions, receipts, signatures, artifacts, aliases: how many were checked.
        bytes: how many were hashed.
        findings: in the order of :func:`audit`: the first broken one is the first broken link.
    """

    promotions: int = 0
    receipts: int = 0
    signatures: int = 0
    artifacts: int = 0
    bytes: int = 0
    aliases: int = 0
    findings: list[AuditFinding] = field(default_factory=list)

    @property
    def broken(self) -> list[AuditFinding]:
        """What is wrong or behind. Missing bytes, what is older, and a server that does not answer prove nothing."""
        return [finding for finding in self.findings if finding.state in ("wrong", "behind")]

    @property
    def sound(self) -> bool:
        return not self.broken

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sound": self.sound, "first_broken": asdict(self.broken[0]) if self.broken else None}

    def add(self, part: str, subject: str, state: State, detail: str) -> None:
        self.findings.append(AuditFinding(part, subject, state, detail))

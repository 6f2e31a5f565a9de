"""The gate's verdict as a table."""

from __future__ import annotations

from registry.promotion.gate import Verdict


def print_verdict(verdict: Verdict) -> None:
    """One line a check: whether it passed, what was looked at, what was seen."""
    from cli.output import print_table

    rows = [("pass" if check.passed else "FAIL", check.name, check.detail) for check in verdict.checks]
    print_table(("", "check", "what the gate saw"), rows)

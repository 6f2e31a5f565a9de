"""The demonstration task: questions about function signatures of the running interpreter's standard library."""

from __future__ import annotations

VERIFIER = "closed_answer"
"""How a record names the verifier of its answers."""

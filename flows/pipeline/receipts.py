"""What a stage's last execution left: its receipt, read for the screen, the report and the status."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.numbers import figure
from flows.pipeline.graph import slug


@dataclass(frozen=True)
class Headline:
    """A stage's key metric and the honest baselines on the same observations."""

    name: str
    value: float
    stderr: float | None = None
    baselines: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        spread = f" ± {self.stderr:.2g}" if self.stderr else ""
        return f"{self.name} {figure(self.value)}{spread}"

    @property
    def beside(self) -> str:
        """The baselines in words, empty where there are none."""
        return ", ".join(f"{name} {figure(value)}" for name, value in self.baselines.items())


def read(root: Path, stage: str) -> dict[str, Any] | None:
    """The stage's receipt, or ``None`` where there is none that can be read."""
    try:
        receipt = json.loads((root / "receipts" / f"{slug(stage)}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return receipt if isinstance(receipt, dict) else None


def headline(receipt: dict[str, Any] | None) -> Headline | None:
    """The receipt's headline metric, or ``None``."""
    for metric in (receipt or {}).get("metrics", []):
        if metric.get("name") == receipt.get("headline"):
            return Headline(metric["name"], metric["value"], metric.get("stderr"), dict(metric.get("baselines") or {}))
    return None

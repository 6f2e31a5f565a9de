"""A trained classifier: one file, checked before anything of it is used.

The file is safetensors: the weights as whole numbers (fixed point), and a manifest in the metadata that says what it
was trained on and how well it did. Whole numbers are added exactly, so a text has the same score in whatever batch and
on whatever machine; no part of the file is code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from components import text_models
from components.text_classifier.features import BUCKETS, Features, extract, totals
from core import files

FORMAT = "stemma-text-classifier-1"
SCALE = 1 << 16  # of the weights' fixed point
_LARGEST = 4 * BUCKETS + (4 << 20)  # bytes of a file: the weights, and room for the manifest
_HEADER = 4 << 20


@dataclass(frozen=True)
class TextClassifier:
    """A linear classifier of texts.

    Attributes:
        weights: of the buckets, times :data:`SCALE`; int32 ``[buckets]``.
        bias: the logit of a text without a feature.
        threshold: score from which a text counts as good, chosen when it was trained.
        manifest: what it was trained on, how, and its metrics.
        digest: SHA-256 of its file.
    """

    weights: np.ndarray[Any, Any]
    bias: float
    threshold: float
    manifest: Mapping[str, Any]
    digest: str = ""

    def scores(self, texts: Sequence[str]) -> list[float]:
        """For each text the probability that it is like the good examples, 0 to 1."""
        return self.of(extract(texts)) if texts else []

    def of(self, features: Features) -> list[float]:
        """The same of features that are known already."""
        sums, counts = totals(features, self.weights).tolist(), features.counts.tolist()
        return [
            round(_logistic(self.bias + total / SCALE / math.sqrt(max(count, 1))), 6)
            for total, count in zip(sums, counts, strict=True)
        ]

    @property
    def measured(self) -> dict[str, float] | None:
        """How well it did when it was trained, as far as the manifest says so: n, precision, recall, share_of_good."""
        metrics = self.manifest.get("metrics")
        if not isinstance(metrics, dict) or not isinstance(metrics.get("baselines"), dict):
            return None
        found: dict[str, Any] = {name: metrics.get(name) for name in ("n", "precision", "recall")}
        found["share_of_good"] = metrics["baselines"].get("share_of_good")
        numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in found.values())
        return found if numbers else None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        from safetensors.numpy import save

        body = {**self.manifest, "format": FORMAT, "bias": self.bias, "threshold": self.threshold}
        content = save({"weights": self.weights}, {"manifest": json.dumps(body, sort_keys=True, ensure_ascii=True)})
        files.write_bytes(path, content)

    @classmethod
    def read(cls, path: Path, name: str) -> Self:
        """The classifier in a file; ``name`` stands for it in messages.

        Raises:
            InputProblem: it is not there, or it is no such file.
        """
        what = "classifier that `stemma data train-classifier` has written"
        return text_models.read(path, name, _LARGEST, cls._of, what)

    @classmethod
    def _of(cls, content: bytes) -> Self:
        """Every size and type is checked before it is relied on. Raises ValueError."""
        length = int.from_bytes(content[:8], "little")
        if not 0 < length <= min(_HEADER, len(content) - 8):
            raise ValueError("its header has a wrong length")
        header = json.loads(content[8 : 8 + length])
        if not isinstance(header, dict) or set(header) != {"__metadata__", "weights"}:
            raise ValueError("it must hold weights and a manifest alone")
        expected = {"dtype": "I32", "shape": [BUCKETS], "data_offsets": [0, 4 * BUCKETS]}
        if header["weights"] != expected or len(content) != 8 + length + 4 * BUCKETS:
            raise ValueError(f"its weights must be {BUCKETS} whole numbers")
        manifest = text_models.manifest(header["__metadata__"], FORMAT)
        for key, least, most in (("bias", -1e6, 1e6), ("threshold", 0.0, 1.0)):
            value = manifest.get(key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError(f"its {key} must be a number from {least:g} to {most:g}")
        weights = np.frombuffer(content, "<i4", BUCKETS, 8 + length)
        digest = hashlib.sha256(content).hexdigest()
        return cls(weights, float(manifest["bias"]), float(manifest["threshold"]), manifest, digest)


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -500 else 0.0

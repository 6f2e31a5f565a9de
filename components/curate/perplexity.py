"""Documents that pass the quality rules go into buckets by how well an n-gram model predicts them (CCNet)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.curate.ledger import Ledger
from components.curate.quality import Finding
from components.perplexity.parameters import PerplexityParameters
from core.errors import InputProblem

if TYPE_CHECKING:
    from components.perplexity.model import PerplexityModel

RULE = "perplexity"
COLUMN = "bits_per_byte"
BINS, WIDTH = 24, 0.25  # of the histogram, and bits per byte of each; the last one has what is beyond, too
_BUCKETS = ("head", "middle", "tail")


@dataclass(frozen=True)
class PerplexityBuckets:
    """``curate.quality.perplexity`` with its model."""

    parameters: PerplexityParameters
    model: PerplexityModel

    def finding(self, bits: float) -> Finding | None:
        """The rule that a text breaks."""
        bucket = self.model.bucket(bits)
        if bucket in self.parameters.keep:
            return None
        low, high = self.model.cutoffs
        where = {"head": f"under {low:.3f}", "middle": f"{low:.3f} to {high:.3f}", "tail": f"{high:.3f} or more"}
        return RULE, f"{bucket}: {bits:.3f} bits per byte ({where[bucket]})"


def load(asked: PerplexityParameters | None, workspace: Path) -> PerplexityBuckets | None:
    """The buckets with their model. Raises InputProblem where its file cannot be used."""
    if asked is None:
        return None
    try:
        return PerplexityBuckets(asked, _read(workspace / asked.model, asked.model))
    except InputProblem as problem:
        raise InputProblem([f"curate.quality.perplexity: {line}" for line in problem.problems]) from None


def _read(path: Path, name: str) -> PerplexityModel:
    """The model; kept, since each chunk asks for it, until its file is another one."""
    try:
        found = path.stat()
    except OSError:
        return _read_anew(path, name, 0, 0)
    return _read_anew(path, name, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1)
def _read_anew(path: Path, name: str, size: int, changed: int) -> PerplexityModel:
    from components.perplexity.model import PerplexityModel  # numba, only where it is used

    return PerplexityModel.read(path, name)


def judge(
    texts: Sequence[str], findings: list[Finding | None], buckets: PerplexityBuckets | None, ledger: Ledger
) -> list[float | None]:
    """Bits per byte of the texts that break no rule yet; ``findings`` gets what these break."""
    found: list[float | None] = [None] * len(texts)
    if buckets is None:
        return found
    left = [place for place, finding in enumerate(findings) if finding is None]
    for place, bits in zip(left, buckets.model.bits_per_byte([texts[place] for place in left]), strict=True):
        found[place], findings[place] = bits, buckets.finding(bits)
        ledger.scores[f"{RULE} {min(int(bits / WIDTH), BINS - 1):02d}"] += 1
        ledger.scores[f"{RULE} {buckets.model.bucket(bits)}"] += 1
    return found


def report(buckets: PerplexityBuckets | None, scores: Counter[str], dropped: Counter[str]) -> dict[str, Any] | None:
    """For the data card: the model, the buckets, and the histogram."""
    if buckets is None:
        return None
    return {
        "model": buckets.parameters.model,
        "digest": buckets.model.digest,
        "cutoffs": list(buckets.model.cutoffs),
        "keep": list(buckets.parameters.keep),
        "buckets": {name: scores[f"{RULE} {name}"] for name in _BUCKETS},
        "dropped": dropped[RULE],
        "bin_width": WIDTH,
        "histogram": [scores[f"{RULE} {place:02d}"] for place in range(BINS)],
    }

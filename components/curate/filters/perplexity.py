"""Documents that pass the quality rules go into buckets by how well an n-gram model predicts them (CCNet)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.curate.filters.quality import Finding
from components.curate.ledger import Ledger
from components.curate.text.language_parameters import LANGUAGES
from components.perplexity.parameters import PerplexityParameters
from core.errors import InputProblem

if TYPE_CHECKING:
    from components.perplexity.model import PerplexityModel

RULE = "perplexity"
COLUMN = "bits_per_byte"
BINS, WIDTH = 24, 0.25  # of the histogram, and bits per byte of each; the last one has what is beyond, too
UNJUDGED = "unjudged"  # texts in a language that has no model
_BUCKETS = ("head", "middle", "tail")


@dataclass(frozen=True)
class PerplexityBuckets:
    """``curate.quality.perplexity`` with its models, by language; that of ``None`` judges the others."""

    parameters: PerplexityParameters
    models: Mapping[str | None, PerplexityModel]

    @property
    def files(self) -> dict[str | None, str]:
        """The models' files."""
        return files_of(self.parameters)

    @property
    def digests(self) -> list[str]:
        return [model.digest for model in self.models.values()]

    def model_of(self, language: str | None) -> PerplexityModel | None:
        """Texts of a language without one are not judged: another language's would say nothing of their quality."""
        return self.models.get(language, self.models.get(None))

    def finding(self, model: PerplexityModel, bits: float) -> Finding | None:
        """The rule that a text breaks."""
        bucket = model.bucket(bits)
        if bucket in self.parameters.keep:
            return None
        low, high = model.cutoffs
        where = {"head": f"under {low:.3f}", "middle": f"{low:.3f} to {high:.3f}", "tail": f"{high:.3f} or more"}
        return RULE, f"{bucket}: {bits:.3f} bits per byte ({where[bucket]})"


def files_of(asked: PerplexityParameters) -> dict[str | None, str]:
    """The file of each language's model; of ``None`` that for all others."""
    found: dict[str | None, str] = {} if asked.model is None else {None: asked.model}
    found.update(asked.languages)
    return found


def load(asked: PerplexityParameters | None, workspace: Path) -> PerplexityBuckets | None:
    """The buckets with their models. Raises InputProblem with every file that cannot be used."""
    if asked is None:
        return None
    models, problems = dict[str | None, "PerplexityModel"](), list[str]()
    for language, name in files_of(asked).items():
        try:
            models[language] = _read(workspace / name, name)
        except InputProblem as problem:
            problems += [f"curate.quality.perplexity: {line}" for line in problem.problems]
    if problems:
        raise InputProblem(problems)
    return PerplexityBuckets(asked, models)


def _read(path: Path, name: str) -> PerplexityModel:
    """The model; kept, since each chunk asks for it, until its file is another one."""
    try:
        found = path.stat()
    except OSError:
        return _read_anew(path, name, 0, 0)
    return _read_anew(path, name, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=len(LANGUAGES) + 1)
def _read_anew(path: Path, name: str, size: int, changed: int) -> PerplexityModel:
    from components.perplexity.model import PerplexityModel  # numba, only where it is used

    return PerplexityModel.read(path, name)


def judge(
    texts: Sequence[str],
    findings: list[Finding | None],
    buckets: PerplexityBuckets | None,
    ledger: Ledger,
    languages: Sequence[str] | None = None,
) -> list[float | None]:
    """Bits per byte of the texts that break no rule yet; ``findings`` gets what these break."""
    found: list[float | None] = [None] * len(texts)
    if buckets is None:
        return found
    left: dict[str | None, list[int]] = {}
    for place, finding in enumerate(findings):
        if finding is None:
            left.setdefault(languages[place] if languages else None, []).append(place)
    for language, places in left.items():
        model = buckets.model_of(language)
        if model is None:
            ledger.scores[f"{RULE} {UNJUDGED}"] += len(places)
            continue
        for place, bits in zip(places, model.bits_per_byte([texts[place] for place in places]), strict=True):
            found[place], findings[place] = bits, buckets.finding(model, bits)
            ledger.scores[f"{RULE} {min(int(bits / WIDTH), BINS - 1):02d}"] += 1
            ledger.scores[f"{RULE} {model.bucket(bits)}"] += 1
    return found


def report(buckets: PerplexityBuckets | None, scores: Counter[str], dropped: Counter[str]) -> dict[str, Any] | None:
    """For the data card: the model, the buckets, and the histogram."""
    if buckets is None:
        return None
    return {
        "models": [
            {
                "language": language,
                "file": buckets.files[language],
                "digest": model.digest,
                "cutoffs": list(model.cutoffs),
            }
            for language, model in buckets.models.items()
        ],
        UNJUDGED: scores[f"{RULE} {UNJUDGED}"],
        "keep": list(buckets.parameters.keep),
        "buckets": {name: scores[f"{RULE} {name}"] for name in _BUCKETS},
        "dropped": dropped[RULE],
        "bin_width": WIDTH,
        "histogram": [scores[f"{RULE} {place:02d}"] for place in range(BINS)],
    }

"""HTML extraction: what each extractor takes out of pages whose text is known, and how fast.

`python -m bench.html FOLDER` wants a copy of https://github.com/scrapinghub/article-extraction-benchmark (MIT), which
holds 181 news pages with the body of their article. Score: that set's own, precision and recall over shingles of four
words, each page counting alike. Rounds take turns; speed is pages a processor second of one process. After ± stands
the standard deviation over 1000 resamplings of the pages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from components.curate.files.markup import strip_html, text_of

EXTRACTORS: dict[str, Callable[[str], str]] = {
    "tags removed (fragments)": strip_html,
    "resiliparse (default)": lambda html: text_of(html, "resiliparse"),
    "trafilatura": lambda html: text_of(html, "trafilatura"),
}
_SHINGLE = 4
_RESAMPLINGS = 1000
Scores = tuple[float, float]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.html", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    truth = json.loads((given.folder / "ground-truth.json").read_text())
    pages = {name: gzip.open(given.folder / f"html/{name}.html.gz", "rt", encoding="utf-8").read() for name in truth}
    seconds: dict[str, list[float]] = {name: [] for name in EXTRACTORS}
    texts: dict[str, dict[str, str]] = {}
    for number in range(given.rounds):
        for name in list(EXTRACTORS) if number % 2 == 0 else list(EXTRACTORS)[::-1]:
            began = time.process_time()
            texts[name] = {page: EXTRACTORS[name](html) for page, html in pages.items()}
            seconds[name].append(time.process_time() - began)
    print(f"{len(pages)} pages, {sum(map(len, pages.values())) / 1e6:.1f} million characters\n")
    print("| extractor | F1 | precision | recall | pages a processor second (least to most) |\n|---|---|---|---|---|")
    for name, found in texts.items():
        scores = [score(truth[page]["articleBody"], text) for page, text in found.items()]
        speeds = [len(pages) / each for each in seconds[name]]
        precision, recall = (statistics.mean(each) for each in zip(*scores, strict=True))
        print(f"| {name} | {f1(scores):.3f} ± {_spread(scores):.3f} | {precision:.3f} | {recall:.3f} | "
              f"{statistics.median(speeds):.0f} ({min(speeds):.0f} to {max(speeds):.0f}) |")  # fmt: skip


def score(true: str, found: str) -> Scores:
    """Precision and recall of ``found``, over shingles."""
    wanted, given = _shingles(true), _shingles(found)
    common = sum((wanted & given).values())
    return common / max(given.total(), 1), common / max(wanted.total(), 1)


def f1(scores: Sequence[Scores]) -> float:
    """F1 of the mean precision and the mean recall."""
    precision, recall = (statistics.mean(each) for each in zip(*scores, strict=True))
    return 2 * precision * recall / (precision + recall)


def _spread(scores: Sequence[Scores]) -> float:
    draw = random.Random(0)
    return statistics.stdev(f1(draw.choices(scores, k=len(scores))) for _ in range(_RESAMPLINGS))


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1)) if words)


if __name__ == "__main__":
    main()

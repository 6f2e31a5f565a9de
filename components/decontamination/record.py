"""What a comparison leaves in the report of a stage: the counts, which the promotion gate reads, and the passages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.decontamination.overlap import SharedPassage

SUMMARY, LISTED = "contamination.json", "contamination.jsonl"
FORMAT = 1  # of the summary
WARNED = 0.02  # share of an evaluation set; phrases that texts of one kind share are as much


def write_record(
    report: Path, summary: Mapping[str, Any], overlaps: Iterable[SharedPassage], **also: Any
) -> dict[str, Any]:
    """Write both files into the folder ``report``; the summary as it was written.

    Args:
        also: further fields of every listed passage.
    """
    written = {"format": FORMAT, **summary}
    (report / SUMMARY).write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with open(report / LISTED, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps({**asdict(each), **also}, ensure_ascii=False) + "\n" for each in overlaps)
    return written

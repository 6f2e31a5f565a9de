"""Labelled texts for the classifier: writes train, validation and test.parquet and labels.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.curate.labels.parameters import LabelsParameters
from components.tasks.curation import make_labels

SCHEMA = pa.schema([("text", pa.string()), ("label", pa.string()), ("group", pa.string())])


def build(
    parameters: LabelsParameters,
    documents: Iterable[Mapping],
    seed: int,
    output_dir: Path,
    workspace: Path = Path(),
) -> dict:
    """Write the labelled splits (columns text, label, group) and return the report.

    Source ``none`` writes empty tables, so that the stages downstream can say that there is nothing to learn.
    ``documents`` are corpus rows after filtering and deduplication; only a task reads them.
    ``workspace`` is where the files' globs start. Raises InputProblem with every problem of the user's files.
    """
    shares = {"validation": parameters.validation_share, "test": parameters.test_share}
    rows: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
    report: dict = {}
    if parameters.source == "files":
        from components.curate.labels.files import read_labels

        rows, report = read_labels(parameters, shares, seed, workspace)
    elif parameters.source != "none":
        rows, report = make_labels(parameters.source, parameters, documents, shares, seed)

    names = sorted({row["label"] for found in rows.values() for row in found})
    (output_dir / "labels.json").write_text(json.dumps(names, ensure_ascii=False) + "\n", encoding="utf-8")
    for split, found in rows.items():
        pq.write_table(pa.Table.from_pylist(found, schema=SCHEMA), output_dir / f"{split}.parquet")
    splits = {
        split: {
            "texts": len(found),
            "groups": len({row["group"] for row in found}),
            "labels": {name: counts[name] for name in names},
        }
        for split, found in rows.items()
        for counts in [Counter(row["label"] for row in found)]
    }
    return {"source": parameters.source, "labels": names, "splits": splits, **report}

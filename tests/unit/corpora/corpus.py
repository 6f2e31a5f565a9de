"""Small corpora on disk."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.corpora.shards import Corpus
from components.curate.documents import identifier


def document(text: str, origin: str, source: str = "files", **columns: str) -> dict[str, str]:
    return {"id": identifier(text), "text": text, "source": source, "origin": origin, "license": "MIT", **columns}


def write(folder: Path, splits: dict[str, list[dict]], rows_in_a_group: int = 2) -> Corpus:
    """A corpus of these documents, two shards a split."""
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        half = len(rows) // 2
        for shard, part in enumerate((rows[:half], rows[half:])):
            path = folder / f"{split}-{shard:05d}-of-00002.parquet"
            table = pa.Table.from_pylist(part, schema=pa.schema([(name, pa.string()) for name in rows[0]]))
            pq.write_table(table, path, row_group_size=rows_in_a_group)
    return Corpus("corpus", {path.name: path for path in folder.glob("*.parquet")})

"""Near-duplicates of a file's texts, by us or a peer: `python duplicates.py WHO TEXTS.jsonl RESULT.json FOLDER`.

Runs in the environment of its own side. Writes the processor seconds, the largest resident set, and the numbers of the
texts that are dropped. A few texts are compared once before the clock starts: compilers and tables are loaded then.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from marks import peak

WARM_UP = 50


def main() -> None:
    who, texts_path, result_path, folder = sys.argv[1:]
    texts = [json.loads(line) for line in open(texts_path)]
    drop: Callable[[list[str], Path], list[int]] = {
        "stemma": stemma, "stemma, threshold 0.72": partial(stemma, threshold=0.72),
        "rensa, words": rensa_words, "rensa, shingles": rensa_shingles, "datatrove": datatrove,
    }[who]  # fmt: skip
    for part in (texts[:WARM_UP], texts):
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(parents=True)
        began = time.process_time()
        dropped = drop(part, Path(folder))
        seconds = time.process_time() - began
    Path(result_path).write_text(json.dumps({"seconds": seconds, "peak": peak(), "dropped": dropped}))


def stemma(texts: list[str], folder: Path, threshold: float = 0.8) -> list[int]:
    """Signatures, a file of judged documents, and the decisions over it, as the stage makes them in one process."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from components.curate.deduplication import decisions
    from components.curate.deduplication.signatures import signatures
    from components.curate.documents import identifier
    from components.curate.parameters import DeduplicationParameters

    parameters = DeduplicationParameters(threshold=threshold)
    schema = pa.schema([("id", pa.string()), ("rule", pa.string()), ("signature", pa.binary(512))])
    with pq.ParquetWriter(folder / "judged.parquet", schema, write_page_checksum=True) as writer:
        for begin in range(0, len(texts), 1024):
            part = texts[begin : begin + 1024]
            signed = signatures(part, parameters, 1, compiled=True)
            rows = {
                "id": [identifier(text) for text in part],
                "rule": [None] * len(part),
                "signature": [each.astype("<u4").tobytes() for each in signed],
            }
            writer.write_table(pa.table(rows, schema=schema))
    found = decisions.decide([folder / "judged.parquet"], parameters, folder / "work")
    return np.flatnonzero(found.outcome != decisions.KEPT).tolist()


def rensa_words(texts: list[str], folder: Path) -> list[int]:
    """As its documentation has it: the words of each text."""
    return _rensa((str(number), text.split()) for number, text in enumerate(texts))


def rensa_shingles(texts: list[str], folder: Path) -> list[int]:
    """Fed with the same shingles of three words, made by Python."""
    from components.curate.deduplication.signatures import shingles

    return _rensa((str(number), list(shingles(text, 3))) for number, text in enumerate(texts))


def _rensa(pairs) -> list[int]:
    from rensa import RMinHashDeduplicator

    kept = RMinHashDeduplicator(threshold=0.8, num_perm=128, use_lsh=True).add_pairs(pairs)
    return [number for number, stays in enumerate(kept) if not stays]


def datatrove(texts: list[str], folder: Path) -> list[int]:
    """Its four steps with their published values (14 buckets of 8), over shingles of three words."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )

    def documents():
        return (Document(text=text, id=str(number)) for number, text in enumerate(texts))

    config = MinhashConfig(n_grams=3)
    signed, met, removed = (str(folder / name) for name in ("signatures", "buckets", "removed"))
    MinhashDedupSignature(signed, config).run(documents(), 0, 1)
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(signed, met, config=config).run(None, bucket, config.num_buckets)
    MinhashDedupCluster(met, removed, config=config).run(None, 0, 1)
    kept = {int(document.id) for document in MinhashDedupFilter(removed).run(documents(), 0, 1)}
    return [number for number in range(len(texts)) if number not in kept]


if __name__ == "__main__":
    main()

"""A real corpus for tests: docstrings of the running interpreter's standard library, as curate lays it out."""

from __future__ import annotations

import ast
import sysconfig
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def docstrings(limit: int | None = None) -> list[dict[str, str]]:
    """Up to ``limit`` documents, modules in the order of their names; with a limit, few of each module."""
    most = limit // 50 if limit else None
    documents = []
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root)
        if {"test", "tests", "site-packages", "idlelib", "lib2to3"} & set(module.parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        before = len(documents)
        for node in ast.walk(tree):
            if most and len(documents) - before >= most:
                break
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) > 40:
                    name = f"{module}:{getattr(node, 'name', '')}:{len(documents)}"
                    documents.append({"id": name, "text": text, "kind": "docstring", "group": str(module)})
                    if limit and len(documents) >= limit:
                        return documents
    return documents


def write_corpus(folder: Path, limit: int | None = None) -> Path:
    """Write ``train-*.parquet``, ``validation-*.parquet`` and ``test-*.parquet``; modules are not divided."""
    folder.mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}
    for document in docstrings(limit):
        bucket = zlib.crc32(document["group"].encode()) % 20
        splits["validation" if bucket == 0 else "test" if bucket == 1 else "train"].append(document)
    for split, documents in splits.items():
        write_shard(folder / f"{split}-00000-of-00001.parquet", documents)
    return folder


def write_shard(path: Path, documents: list[dict[str, str]]) -> None:
    """Write one parquet shard with curate's columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ("id", "text", "source", "kind", "group", "license", "origin")
    rows = [{"source": "python_docs", "license": "PSF-2.0", "origin": d["id"], **d} for d in documents]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in columns])), path)


def write_parts(workspace: Path) -> None:
    """Write a corpus of small row groups, which ``PART_BYTES`` of 20,000 makes several parts of."""
    texts = [document["text"] for document in docstrings(240)]
    (workspace / "data/corpus").mkdir(parents=True)
    for split, mine in (("train", texts[40:]), ("validation", texts[:40])):
        table = pa.table({"text": mine, "kind": ["docstring"] * len(mine)})
        pq.write_table(table, workspace / f"data/corpus/{split}-00000-of-00001.parquet", row_group_size=20)


def made_by_tokenize(workspace: Path) -> dict[str, bytes]:
    """The bytes of all files that the stage made."""
    folders = ("models/tokenizer", "data/tokens", "reports/tokenize")
    return {str(path.relative_to(workspace)): path.read_bytes() for f in folders for path in (workspace / f).iterdir()}
